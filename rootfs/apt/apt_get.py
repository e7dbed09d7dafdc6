"""Turn a recipe into arguments of apt-get, and apt-get's answer into packages."""

from __future__ import annotations

import posixpath
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

from debian_inspector.debcon import Debian822

from rootfs.apt.errors import InvalidRelease, PackageMissing, PackagesConflict
from rootfs.apt.pins import preferences
from rootfs.apt.release import SuiteState
from rootfs.apt.root import AptRoot, index_file_name
from rootfs.apt.sources import Source
from rootfs.lock.lock import Package
from rootfs.network.addresses import without_userinfo
from rootfs.process.run import Outcome
from rootfs.recipe.base import AptRequest

PRIORITIES = {
    "minbase": ("required",),
    "buildd": ("required",),
    "important": ("required", "important"),
    "standard": ("required", "important", "standard"),
}
# Every variant but `essential` has apt, as debootstrap's have; Ubuntu does not call it required.
NAMED: dict[str, tuple[str, ...]] = {"essential": (), "buildd": ("apt", "build-essential")}
URI = re.compile(r"^'(\S+)' ([^_\s]+)_([^_\s]+)_([^_\s]+)\.deb \d+ SHA256:([0-9a-f]{64})$", re.MULTILINE)
DEPENDENCIES = re.compile(r"^The following additional packages will be installed:\n((?:  .*\n)*)", re.MULTILINE)
NOISE = re.compile(r"^(Reading package lists|Building dependency tree|Package '\S+' is not installed, so|[WN]: )")
LOCKED = "http://locked"  # not a real address: its indexes are written here, never fetched


@dataclass(frozen=True)
class ResolvedPackage:
    """A package that apt chose, its address and its control stanza.

    `auto`: it is only a dependency of others; `foreign`: it is of a foreign architecture.
    """

    address: str
    name: str
    version: str
    architecture: str
    sha256: str
    auto: bool
    stanza: str
    foreign: bool = False

    @property
    def label(self) -> str:
        """The name by which apt's tools list it: with its architecture if that is a foreign one."""
        return f"{self.name}:{self.architecture}" if self.foreign else self.name

    @property
    def key(self) -> tuple[str, str]:
        """The name and version by which apt's tools list it."""
        return self.label, self.version


@dataclass(frozen=True)
class Stages:
    """Names of packages by stage: the essential ones, and all of the recipe's variant."""

    essential: set[str]
    base: set[str]


def resolve(
    root: AptRoot,
    recipe: AptRequest,
    states: Sequence[SuiteState],
    without_dependencies: Sequence[str] = (),
    optional: Sequence[str] = (),
    *,
    variant_packages: Sequence[Package] | None = None,
) -> list[Package]:
    """The packages that a recipe resolves to, sorted by name.

    Packages named in `without_dependencies` are added without theirs, those in `optional` only if the suite has them.
    `variant_packages` are the packages of the recipe
    without its `include`, None if it has none. Raises PackageMissing, PackagesConflict.
    """
    options = (
        *root.preferences(preferences(recipe, states)),
        f"-oAPT::Install-Recommends={'true' if recipe.recommends else 'false'}",
    )
    resolved_packages = list(
        parse_answers(root, simulate_apt(root, recipe, ("install", *options, *_install_arguments(root, recipe))))
    )
    if unknown := [
        name
        for name in recipe.included(root.architecture)
        if not any(provides_name(resolved, name) for resolved in resolved_packages)
    ]:
        raise PackageMissing(unknown[0], recipe.suite, recipe.components)
    if unwanted := sorted(set(recipe.exclude) & {resolved.name for resolved in resolved_packages}):
        raise PackagesConflict(f"{', '.join(unwanted)}: excluded, but asked for as well")
    stages = _stages(root, recipe, resolved_packages, variant_packages)
    missing = {name for name in optional if root.run("apt-cache", "-q", "show", name, check=False).status}
    chosen = {resolved.name for resolved in resolved_packages}
    if additional := sorted(set(without_dependencies) - missing - chosen):
        resolved_packages += parse_answers(root, simulate_apt(root, recipe, ("download", *options, *additional)))
    locations = package_locations(root, resolved_packages)
    dependencies = _dependencies(recipe.included(root.architecture), recipe.variant, resolved_packages)
    packages = [
        to_package(replace(resolved, auto=resolved.auto or resolved.label in dependencies), stages, locations, states)
        for resolved in resolved_packages
    ]
    return sorted(packages, key=lambda package: (package.name, package.architecture))


def _install_arguments(root: AptRoot, recipe: AptRequest) -> tuple[str, ...]:
    """What apt has to install and leave out. Essential packages and priorities are those of the recipe's suite, and of
    the native architecture.
    """
    suite, include = recipe.suite.replace(".", "[.]"), recipe.included(root.architecture)
    if recipe.variant == "none":
        return include
    kinds = ["?essential", *(f"?priority({name})" for name in PRIORITIES.get(recipe.variant, ()))]
    conditions = [f"?or(?archive(^{suite}$),?codename(^{suite}$))", f"?or({','.join(kinds)})"]
    conditions += [f"?not(?exact-name({name}))" for name in recipe.exclude]
    conditions += [f"?not(?architecture({name}))" for name in root.architectures[1:]]
    named = (name for name in NAMED.get(recipe.variant, ("apt",)) if name not in recipe.exclude)
    return f"?narrow({','.join(conditions)})", *named, *include, *(f"{name}-" for name in recipe.exclude)


def simulate_apt(root: AptRoot, recipe: AptRequest, arguments: tuple[str, ...]) -> Outcome:
    """What apt-get prints for these arguments, without doing it. Raises PackageMissing, PackagesConflict."""
    result = root.run("apt-get", "-q", "--print-uris", *arguments, check=False)
    if missing := re.search(r"^E: (?:Unable to locate|Can't select .* from) package '?([^\s']+)", result.stderr, re.M):
        known = root.run("apt-cache", "pkgnames", check=False).stdout.split()
        raise PackageMissing(missing[1], recipe.suite, recipe.components, known)
    if result.status:
        raise PackagesConflict(_explanation(result.stdout + result.stderr))
    return result


def parse_answers(root: AptRoot, result: Outcome) -> Iterator[ResolvedPackage]:
    """The packages that apt would fetch. Raises InvalidRelease if one has no sha256."""
    if unsummed := [line for line in result.stdout.splitlines() if line.startswith("'") and not URI.fullmatch(line)]:
        raise InvalidRelease(unsummed[0].split("'")[1], "its indexes have no sha256 of this file")
    found = [(unquote(uri), name, unquote(version), *rest) for uri, name, version, *rest in URI.findall(result.stdout)]
    auto = {name for block in DEPENDENCIES.findall(result.stdout) for name in block.split()}
    labels = [f"{name}:{word}" if word in root.architectures[1:] else name for _, name, _, word, _ in found]
    shown = _stanzas(root, [f"{label}={version}" for label, (_, _, version, _, _) in zip(labels, found, strict=True)])
    for label, (uri, name, version, architecture, sha256) in zip(labels, found, strict=True):
        stanza = shown[name, version, sha256]
        yield ResolvedPackage(uri, name, version, architecture, sha256, label in auto, stanza, label != name)


def provides_name(resolved: ResolvedPackage, name: str) -> bool:
    """Whether a package has or provides this name, perhaps with a foreign architecture.

    apt takes a name that it does not know as a pattern.
    """
    name, _, architecture = name.partition(":")
    if architecture and architecture != resolved.architecture:
        return False
    provided = Debian822.from_string(resolved.stanza).get("provides", "")
    return name in (resolved.name, *(each.split()[0] for each in provided.split(",") if each.strip()))


def _dependencies(include: Sequence[str], variant: str, resolved_packages: Sequence[ResolvedPackage]) -> set[str]:
    """The packages that others depend on, and that are neither essential nor named.

    apt itself counts packages as named that the variant has because of their priority, which on Ubuntu many libraries
    have. Those of them that no other package needs stay named, so that `autoremove` removes nothing.
    """
    stanzas = {resolved.label: Debian822.from_string(resolved.stanza) for resolved in resolved_packages}
    architectures = {each.label: each.architecture if each.foreign else "" for each in resolved_packages}
    providers: dict[str, set[str]] = {}
    for name, fields in stanzas.items():
        for provided in (name.partition(":")[0], *_names(fields.get("provides", ""))):
            providers.setdefault(provided, set()).add(name)

    def found_for(name: str, word: str) -> set[str]:
        """What a package finds under a name: packages of its own architecture, else of another."""
        every = providers.get(word, set())
        return {each for each in every if architectures[each] == architectures[name]} or every

    needs = {
        name: {each for word in _relations(fields) for each in found_for(name, word)} - {name}
        for name, fields in stanzas.items()
    }
    named = {*include, *NAMED.get(variant, ("apt",))}
    kept = {
        name
        for name, fields in stanzas.items()
        if name in named or (fields.get("essential") == "yes" and ":" not in name)
    }
    found = _reached(kept, needs)
    left = needs.keys() - found
    tops = left - {each for name in left for each in needs[name]}
    return _reached(found | tops, needs) - kept - tops


def _reached(start: set[str], needs: Mapping[str, set[str]]) -> set[str]:
    """The packages of `start`, and all that they depend on."""
    found, left = set(start), list(start)
    while left:
        more = needs.get(left.pop(), set()) - found
        found |= more
        left += more
    return found


def _relations(fields: Mapping[str, str]) -> list[str]:
    return _names(f"{fields.get('pre-depends', '')},{fields.get('depends', '')}")


def _names(relations: str) -> list[str]:
    """The names of packages in a field of relations, such as `Depends`; alternatives are alike."""
    return re.findall(r"(?:^|[,|])\s*([a-z0-9][a-z0-9+.-]*)", relations)


def _explanation(output: str) -> str:
    """apt's error message, without the lines that it always prints."""
    message = "\n".join(line for line in output.splitlines() if not NOISE.match(line))
    return (
        message[message.find("The following packages have unmet") :]
        if "have unmet dependencies" in message
        else message
    )


def _stanzas(root: AptRoot, packages: list[str]) -> dict[tuple[str, str, str], str]:
    """The control stanzas of these packages, by name, version and sha256."""
    if not packages:
        return {}
    texts = re.split(r"\n\n+", root.run("apt-cache", "show", *packages).stdout.strip())
    parsed = [(Debian822.from_string(text), text) for text in texts]
    return {(fields["package"], fields["version"], fields.get("sha256", "")): text for fields, text in parsed}


def _stages(
    root: AptRoot,
    recipe: AptRequest,
    resolved_packages: list[ResolvedPackage],
    variant_packages: Sequence[Package] | None,
) -> Stages:
    if recipe.variant == "none":
        return Stages(set(), set())
    return Stages(_essential(root, recipe, resolved_packages), _base(resolved_packages, variant_packages))


def _essential(root: AptRoot, recipe: AptRequest, resolved_packages: list[ResolvedPackage]) -> set[str]:
    """The essential set as apt computes it from the resolved packages alone."""
    architecture = root.architecture
    sources = f"Types: deb\nURIs: {LOCKED}\nSuites: {recipe.suite}\nComponents: main\nTrusted: yes\n"
    with tempfile.TemporaryDirectory(prefix="baseforge-") as folder:
        locked = AptRoot(Path(folder), sources, (architecture,))
        start = locked.lists / index_file_name(f"{LOCKED}/dists/{recipe.suite}")
        Path(f"{start}_Release").write_text(f"Suite: {recipe.suite}\nCodename: {recipe.suite}\n")
        stanzas = "\n\n".join(resolved.stanza for resolved in resolved_packages if not resolved.foreign)
        Path(f"{start}_main_binary-{architecture}_Packages").write_text(f"{stanzas}\n")
        result = locked.run("apt-get", "install", "-q", "--print-uris", "--no-install-recommends", "?essential")
    return {name for _, name, *_ in URI.findall(result.stdout)}


def _base(resolved_packages: list[ResolvedPackage], variant_packages: Sequence[Package] | None) -> set[str]:
    """The names of the variant's packages; empty if the resolved packages do not contain all of them."""
    if variant_packages is None:
        return {resolved.name for resolved in resolved_packages if not resolved.foreign}
    locked = {(resolved.name, resolved.version, resolved.sha256) for resolved in resolved_packages}
    found = {(package.name, package.version, package.sha256) for package in variant_packages}
    return {name for name, _, _ in found} if found <= locked else set()


def package_locations(
    root: AptRoot, resolved_packages: list[ResolvedPackage]
) -> dict[tuple[str, str], set[tuple[str, str]]]:
    """Where apt finds each package: pairs of archive, and suite with component, by name and version."""
    locations: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for name, version, location in _versions(root, [resolved.label for resolved in resolved_packages]):
        locations.setdefault((name, version), set()).add(location)
    return locations


def _versions(root: AptRoot, names: Sequence[str]) -> Iterator[tuple[str, str, tuple[str, str]]]:
    """All versions of packages: name, version, and archive, and suite with component."""
    shown = root.run("apt-cache", "madison", *names).stdout if names else ""
    for line in shown.splitlines():
        name, version, location = (part.strip() for part in line.split(" | "))
        archive, _, suite = location.removesuffix("Packages").partition(" ")
        yield name, version, (archive, suite.partition(" ")[0])


def versions_in(root: AptRoot, names: Sequence[str], states: Iterable[SuiteState]) -> Iterator[tuple[str, str]]:
    """The versions of packages in some suites, by name."""
    locations = frozenset[tuple[str, str]]().union(*(state.source.locations for state in states))
    for name, version, location in _versions(root, names):
        if location in locations:
            yield name.partition(":")[0], version  # a package that only a foreign architecture has is named with it


def to_package(
    resolved: ResolvedPackage,
    stages: Stages,
    locations: dict[tuple[str, str], set[tuple[str, str]]],
    states: Sequence[SuiteState],
) -> Package:
    """The package as it is written to a lock. Raises InvalidRelease."""
    fields = Debian822.from_string(resolved.stanza)
    source = _source_of(resolved, fields["filename"], locations.get(resolved.key, set()), states)
    return Package(
        name=resolved.name,
        version=resolved.version,
        architecture=resolved.architecture,
        sha256=resolved.sha256,
        size=int(fields["size"]),
        source=fields.get("source", resolved.name).split()[0],
        archive=source.snapshot or source.address,
        suite=source.suite,
        path=posixpath.normpath(fields["filename"]),  # archives without dists/ have ./ at its beginning
        essential=resolved.label in stages.essential,
        base=resolved.label in stages.base,
        auto=resolved.auto,
    )


def _source_of(
    resolved: ResolvedPackage, path: str, locations: set[tuple[str, str]], states: Sequence[SuiteState]
) -> Source:
    """The first source that has the package at the address that apt would fetch it from."""
    for state in states:
        address = f"{without_userinfo(state.source.mirror)}/{path}"
        if state.source.locations & locations and without_userinfo(resolved.address) == address:
            return state.source
    raise InvalidRelease(resolved.address, f"no index of this recipe's has {resolved.name} {resolved.version}")
