"""What apt prefers, of which archives' packages it takes which version (apt_preferences(5))."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from rootfs.apt.release import SuiteState
from rootfs.apt.sources import Source
from rootfs.recipe.base import Origin


def preferences(recipe: Origin, states: Sequence[SuiteState]) -> str:
    """apt_preferences(5): the priorities of the recipe's repositories, and its pins."""
    sources = [state.source for state in states]
    entries = [("*", _release_rule(each), each.source.priority) for each in states if each.source.priority is not None]
    entries += [
        (" ".join(pin.packages), rule, pin.priority) for pin in recipe.pins for rule in _rules(pin.pin, sources)
    ]
    return "\n".join(f"Package: {names}\nPin: {rule}\nPin-Priority: {at}\n" for names, rule, at in entries)


def _release_rule(state: SuiteState) -> str:
    """What tells a repository from others: what its Release file says of itself, else its host."""
    said = {letter: state.field(name) for letter, name in (("o", "Origin"), ("l", "Label"))}
    known = [f"{letter}={value}" for letter, value in said.items() if value and "," not in value]
    if not known:
        return f'origin "{urlsplit(state.source.mirror).hostname}"'
    return "release " + ",".join([*known, f"n={state.field('Codename') or state.field('Suite')}"])


def _rules(rule: str, sources: Sequence[Source]) -> list[str]:
    """A pin's rule; one that names an archive's host means the mirrors that stand for it."""
    kind, _, host = rule.partition(" ")
    meant = [source for source in sources if urlsplit(source.address).hostname == host.strip('"')]
    if kind != "origin" or not meant:
        return [rule]
    return sorted({f'origin "{urlsplit(source.mirror).hostname}"' for source in meant})
