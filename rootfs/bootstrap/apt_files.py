"""The files of apt and dpkg in a tree: settings, where packages come from, and which versions apt prefers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from debian_inspector.version import compare_versions

from rootfs.apt import pins
from rootfs.apt.keyring import own_file_name
from rootfs.apt.sources import distribution_of, has_ended, known_suites, pocket_suite
from rootfs.bootstrap.bootstrapper import Job
from rootfs.lock.lock import Lock, Release
from rootfs.recipe.base import Packaged
from rootfs.recipe.debootstrap import DebootstrapRecipe
from rootfs.recipe.sections import Repository
from rootfs.tree.filters import dpkg_rules, filter_lines

# Settings of the official images of Debian and Ubuntu, under the same names: Dockerfiles refer to them.
APT_SETTINGS = Path(__file__).parent / "apt_settings"
FILTER_SETTINGS = "/etc/dpkg/dpkg.cfg.d/baseforge-paths"
UNSAFE_IO = "# A container's files are thrown away when something goes wrong: no need to sync each.\nforce-unsafe-io\n"
SOURCES_LIST = "/etc/apt/sources.list"
WITHOUT_POCKETS = ("sid", "experimental")  # suites that no other suites belong to


@dataclass(frozen=True)
class Distribution:
    """What apt may use in the distribution's own images, and the form in which they say so.

    From the first suite in `signed_by` on, the sources are a file of their own in deb822 form. `signed_by` maps a suite
    to the path of the keyring that they name from there on, which the package `keyring` brings. `slash` ends an
    address. `moved` is then the text of sources.list.
    """

    pockets: tuple[str, ...]
    components: tuple[str, ...]
    keyring: str
    signed_by: dict[str, str]
    slash: str = ""
    moved: str = ""


DISTRIBUTIONS = {
    "debian": Distribution(
        pockets=("updates", "security"),
        components=("main",),
        keyring="debian-archive-keyring",
        signed_by={
            "bookworm": "/usr/share/keyrings/debian-archive-keyring.gpg",
            "trixie": "/usr/share/keyrings/debian-archive-keyring.pgp",
        },
    ),
    "ubuntu": Distribution(
        pockets=("updates", "backports", "security"),
        components=("main", "universe", "restricted", "multiverse"),
        keyring="ubuntu-keyring",
        signed_by={"noble": "/usr/share/keyrings/ubuntu-archive-keyring.gpg"},
        slash="/",
        moved="# The sources of this system are in /etc/apt/sources.list.d/ubuntu.sources (see sources.list(5)).\n",
    ),
}
PGP_SINCE = "2025.1"  # the first version of Debian's keyring with the ending .pgp


def base_files(job: Job, recipe: DebootstrapRecipe) -> Iterator[tuple[str, str]]:
    """Path and text of dpkg's files, and of apt's where it is installed; they also hold for later installations."""
    if rules := dpkg_rules(filter_lines(recipe.filters)):
        yield FILTER_SETTINGS, rules
    if not _version(job.lock, "apt"):
        return
    yield "/etc/dpkg/dpkg.cfg.d/docker-apt-speedup", UNSAFE_IO
    own = own_sources(recipe, job.lock)
    yield from source_files(own)
    for path in sorted(APT_SETTINGS.iterdir()):
        yield f"/etc/apt/apt.conf.d/{path.name}", path.read_text()
    yield from _recipe_files(job, recipe, own)


def added_files(job: Job, recipe: Packaged) -> Iterator[tuple[str, str]]:
    """Path and text of the files that a layer adds to those of its base image."""
    if own_lines := filter_lines(recipe.filters):
        before = [line for each in job.base_recipes for line in filter_lines(each.filters)]
        yield FILTER_SETTINGS, dpkg_rules([*before, *own_lines])
    base = next(each for each in job.base_recipes if isinstance(each, DebootstrapRecipe))
    layers = [each for each in job.base_recipes if isinstance(each, Packaged)]
    own = own_sources(base, job.lock, tuple(name for each in layers for name in each.further_components))
    further = tuple(name for name in recipe.further_components if name not in own.components)
    if further and own.suites:
        path = f"/etc/apt/sources.list.d/{own.distribution}-{len(layers)}.sources"
        yield path, own.stanzas(further)
    yield from _recipe_files(job, recipe, replace(own, components=(*own.components, *further)))


def keyring_path(path: Path) -> str:
    """The path of a further archive's keyring in the image, by what is in it: no two archives share one by its name.

    Raises InputError.
    """
    return f"/etc/apt/keyrings/{own_file_name(path)}"


@dataclass(frozen=True)
class OwnSources:
    """apt's sources of the distribution in an image: suites with their public addresses, components, and the keyring.

    `keyring` is empty where the image has none, or its sources do not name it as they have no `deb822` form.
    """

    distribution: str
    suites: tuple[tuple[str, str], ...]
    components: tuple[str, ...]
    keyring: str
    deb822: bool

    def stanzas(self, components: tuple[str, ...]) -> str:
        """Entries of all suites in deb822 form, one for each address, with these components."""
        slash = DISTRIBUTIONS[self.distribution].slash
        addresses = dict.fromkeys(address for _, address in self.suites)
        named = {address: [suite for suite, at in self.suites if at == address] for address in addresses}
        entries = [_stanza(f"{address}{slash}", named[address], components, self.keyring) for address in addresses]
        return "\n".join(entries)

    def split(self, repository: Repository) -> tuple[list[str], list[str]]:
        """The suites of a further archive that are not among these, and those that are."""
        own = [suite for suite in repository.suites if (suite, repository.uri.rstrip("/")) in self.suites]
        return [suite for suite in repository.suites if suite not in own], own


def own_sources(recipe: DebootstrapRecipe, lock: Lock, further: tuple[str, ...] = ()) -> OwnSources:
    """The public archives of the recipe's suite, wherever the packages of the lock were fetched from.

    `further` are components that layers on the recipe's image use.
    """
    name = distribution_of(recipe.suite)
    order, known = known_suites(name), DISTRIBUTIONS[name]
    default = (*known.components, *recipe.components)
    rings = [ring for since, ring in known.signed_by.items() if order.index(since) <= order.index(recipe.suite)]
    return OwnSources(
        distribution=name,
        suites=tuple(_own_suites(recipe, lock)),
        components=tuple(dict.fromkeys((*(recipe.apt_sources.components or default), *further))),
        keyring=_keyring(rings, known.keyring, lock),
        deb822=bool(rings),
    )


def source_files(sources: OwnSources) -> Iterator[tuple[str, str]]:
    """Path and text of the files of a distribution's sources, in the form of its own images."""
    known = DISTRIBUTIONS[sources.distribution]
    if not sources.deb822:
        components = " ".join(sources.components)
        lines = [f"deb {address}{known.slash} {suite} {components}\n" for suite, address in sources.suites]
        yield SOURCES_LIST, "".join(lines)
        return
    if known.moved:
        yield SOURCES_LIST, known.moved
    yield f"/etc/apt/sources.list.d/{sources.distribution}.sources", sources.stanzas(sources.components)


def _own_suites(recipe: DebootstrapRecipe, lock: Lock) -> Iterator[tuple[str, str]]:
    """The suites that apt in the image may use, each with the address of its public archive.

    A lock names the suites of the distribution before those of further archives, which may have the same names.
    """
    known: dict[str, str] = {}
    for release in lock.releases:
        known.setdefault(release.suite, release.address)
    if (main := known.get(recipe.suite)) is None:
        return
    yield recipe.suite, main
    name = distribution_of(recipe.suite)
    usual = recipe.pockets if has_ended(main) else DISTRIBUTIONS[name].pockets  # archives of old suites lack some
    pockets = usual if recipe.apt_sources.pockets is None else recipe.apt_sources.pockets
    for pocket in () if recipe.suite in WITHOUT_POCKETS else pockets:
        suite = pocket_suite(recipe.suite, pocket)
        address = known.get(suite, main)
        yield suite, _beside(main, address) if (name, pocket) == ("debian", "security") else address


def _beside(main: str, security: str) -> str:
    """The address of Debian's security archive: beside the main one, as in Debian's images, unless it is elsewhere."""
    beside = f"{main}-security"
    return beside if security == main or urlsplit(security).path == urlsplit(beside).path else security


def _version(lock: Lock, name: str) -> str:
    """The version of a package of the lock; empty where it has none."""
    return next((package.version for package in lock.packages if package.name == name), "")


def _keyring(rings: list[str], package: str, lock: Lock) -> str:
    """The last of these keyrings that the image has; empty where it has none.

    The lock of a layer, which has no apt, does not tell what is in its base image: there the suite decides.
    """
    version = _version(lock, package)
    if version and compare_versions(version, PGP_SINCE) < 0:
        rings = rings[:1]
    return rings[-1] if rings and (version or not _version(lock, "apt")) else ""


def _stanza(
    address: str, suites: list[str], components: tuple[str, ...], keyring: str, architectures: tuple[str, ...] = ()
) -> str:
    """One entry in deb822 form (sources.list(5)), without empty fields."""
    fields = {
        "Types": "deb",
        "URIs": address,
        "Suites": " ".join(suites),
        "Components": " ".join(components),
        "Architectures": " ".join(architectures),
        "Signed-By": keyring,
    }
    return "".join(f"{name}: {value}\n" for name, value in fields.items() if value)


def _recipe_files(job: Job, recipe: Packaged, own: OwnSources) -> Iterator[tuple[str, str]]:
    """apt's files of the recipe's further archives and pins, numbered after those of its base images."""
    before = [each.added_packages for each in job.base_recipes if each.added_packages]
    for number, each in enumerate(recipe.repositories, 1 + sum(len(below.repositories) for below in before)):
        if text := "\n".join(_further(each, own, job.files)):
            yield f"/etc/apt/sources.list.d/further-{number}.sources", text
    if text := _preferences(recipe, job.lock.releases):
        yield f"/etc/apt/preferences.d/baseforge-{1 + len(before):02}", text


def _further(repository: Repository, own: OwnSources, files: Path) -> Iterator[str]:
    """The entries of a further archive, whose keyring is in the folder `files`.

    apt refuses one suite with two keyrings, so the image's own keyring counts.
    """
    others, shared = own.split(repository)
    if others:
        path, components = keyring_path(files / repository.keyring), repository.components_of(others[0])
        yield _stanza(repository.uri, others, components, path, repository.architectures)
    components = tuple(each for each in repository.components if each not in own.components)
    if shared and components:
        yield _stanza(repository.uri, shared, components, own.keyring, repository.architectures)


def _preferences(recipe: Packaged, releases: Sequence[Release]) -> str:
    """apt_preferences(5) of an image: the recipe's pins, and the priorities of its further archives."""
    entries = [(" ".join(pin.packages), pin.pin, pin.priority) for pin in recipe.pins if pin.in_image]
    entries += [
        ("*", rule, each.priority)
        for each in recipe.repositories
        if each.priority is not None
        for rule in _repository_rules(each, releases)
    ]
    return pins.written(entries)


def _repository_rules(repository: Repository, releases: Sequence[Release]) -> list[str]:
    """The rules that select an archive: its host, or its suites where others have the same host."""
    host, own = urlsplit(repository.uri).hostname, repository.uri.rstrip("/")
    names = [repository.release] if repository.release else [each for each in repository.suites if each[-1] != "/"]
    others = [each.address for each in releases if (each.address, each.suite in repository.suites) != (own, True)]
    if not names or all(urlsplit(each).hostname != host for each in others):
        return [f'origin "{host}"']
    return [f"release {letter}={name}" for name in names for letter in "na"]
