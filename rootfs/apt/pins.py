"""apt_preferences(5) of a recipe: priorities of its repositories, and its pins, each of which must select something."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from rootfs.apt.errors import PinUnused
from rootfs.apt.release import SuiteState
from rootfs.apt.root import AptRoot
from rootfs.apt.sources import Source
from rootfs.errors import AMONG_MANY, nearest
from rootfs.recipe.base import AptRequest
from rootfs.recipe.sections import Pin

ALL_PACKAGES = "*"
MARK = 32100  # a priority that nothing else has: apt shows it for what a pin selects
SELECTED_SUITE = re.compile(rf"^ *{MARK} \S+ \S+ \S+ Packages$", re.MULTILINE)
SELECTED_VERSION = re.compile(rf"^ +(\S+) -> \S+ with priority {MARK}$", re.MULTILINE)
SHOWN = 5  # versions or suites in a hint


def preferences(recipe: AptRequest, states: Sequence[SuiteState]) -> str:
    """apt_preferences(5) for a recipe: the priorities of its repositories, and its pins."""
    entries = [("*", _release_rule(each), each.source.priority) for each in states if each.source.priority is not None]
    entries += [(packages, rule, pin.priority) for pin in recipe.pins for packages, rule in _rules(pin, states)]
    return written(entries)


def check_pins(root: AptRoot, recipe: AptRequest, states: Sequence[SuiteState]) -> None:
    """Check that each pin selects at least one version of each of its packages. Raises PinUnused."""
    for index, pin in enumerate(recipe.pins):
        text = written([(packages, rule, MARK) for packages, rule in _rules(pin, states)])
        shown = root.run("apt-cache", *root.preferences(text), "policy").stdout
        selected = set(SELECTED_VERSION.findall(shown))
        for word in pin.packages:
            found = SELECTED_SUITE.search(shown) if word == ALL_PACKAGES else _matches(word, selected)
            if not found:
                raise PinUnused(index, *_reason(root, pin, word, states))


def _rules(pin: Pin, states: Sequence[SuiteState]) -> list[tuple[str, str]]:
    rules = _pin_rules(pin.pin, [state.source for state in states])
    return [(" ".join(pin.packages), rule) for rule in rules]


def written(entries: Iterable[tuple[str, str, int | None]]) -> str:
    """The text of apt_preferences(5) for entries of packages, rule and priority."""
    return "\n".join(f"Package: {packages}\nPin: {rule}\nPin-Priority: {at}\n" for packages, rule, at in entries)


def _matches(word: str, names: Iterable[str]) -> bool:
    return any(fnmatchcase(name, word) for name in names)


def _reason(root: AptRoot, pin: Pin, word: str, states: Sequence[SuiteState]) -> tuple[str, str]:
    """Why a pin selects no version of a package, and what to do."""
    suites = ", ".join(dict.fromkeys(state.source.suite for state in states))
    known = root.run("apt-cache", "pkgnames").stdout.split()
    if word != ALL_PACKAGES and not _matches(word, known):
        return f"the pin of {word!r} has no effect: {suites} have no such package", nearest(word, known, AMONG_MANY)
    kind, _, rule = pin.pin.partition(" ")
    if kind == "version" and word == ALL_PACKAGES:
        return "the pin of all packages by version has no effect", "Name packages, or pin `*` by release or origin."
    hints = {"version": _versions, "release": _releases, "origin": _hosts}
    message = f"the pin of {word!r} has no effect: no version in {suites} is of {kind} {rule}"
    return message, hints[kind](root, word, states)


def _versions(root: AptRoot, word: str, states: Sequence[SuiteState]) -> str:  # noqa: ARG001
    """The versions that there are of a package."""
    known = [name for name in root.run("apt-cache", "pkgnames").stdout.split() if fnmatchcase(name, word)]
    lines = root.run("apt-cache", "madison", *sorted(known)[:SHOWN]).stdout.splitlines()
    found = (line.split(" | ") for line in lines)
    versions = dict.fromkeys(f"{name.strip()} {version.strip()}" for name, version, *_ in found)
    return f"There is {', '.join(list(versions)[:SHOWN])}."


def _releases(root: AptRoot, word: str, states: Sequence[SuiteState]) -> str:  # noqa: ARG001
    """The names that a pin by release can have."""
    names = ("n", "Codename"), ("a", "Suite"), ("o", "Origin"), ("l", "Label")
    known = [",".join(f"{key}={each.field(name)}" for key, name in names if each.field(name)) for each in states]
    return f"Releases are: {'; '.join(known[:SHOWN])}. Others need an entry in `repositories`."


def _hosts(root: AptRoot, word: str, states: Sequence[SuiteState]) -> str:  # noqa: ARG001
    """The names that a pin by origin can have."""
    hosts = dict.fromkeys(urlsplit(state.source.address).hostname or "" for state in states)
    return f"Hosts are: {', '.join(hosts)}. Others need an entry in `repositories`."


def _release_rule(state: SuiteState) -> str:
    """The rule that selects a repository: the names in its Release file, or its host if it has none."""
    names = {letter: state.field(name) for letter, name in (("o", "Origin"), ("l", "Label"))}
    known = [f"{letter}={value}" for letter, value in names.items() if value and "," not in value]
    if not known:
        return f'origin "{urlsplit(state.source.mirror).hostname}"'
    name = state.field("Codename") or state.field("Suite")
    return "release " + ",".join([*known, *([f"n={name}"] if name else [])])


def _pin_rules(rule: str, sources: Sequence[Source]) -> list[str]:
    """The rules of a pin. One with an archive's host becomes rules with the hosts of its mirrors."""
    kind, _, host = rule.partition(" ")
    matching = [source for source in sources if urlsplit(source.address).hostname == host.strip('"')]
    if kind != "origin" or not matching:
        return [rule]
    return sorted({f'origin "{urlsplit(source.mirror).hostname}"' for source in matching})
