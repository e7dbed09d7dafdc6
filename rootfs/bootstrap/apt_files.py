"""The files of apt and dpkg in a tree: settings, where packages come from, and which versions apt prefers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from debian_inspector.version import compare_versions

from rootfs.apt.sources import distribution_of, has_ended, pocket_suite
from rootfs.bootstrap.bootstrapper import Job
from rootfs.lock.lock import Lock
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

    From the version `deb822_since` of apt on, the sources are a file of their own in deb822 form, in which
    `signed_by` maps the first version of the package `keyring` to the path of its keyring. `slash` ends an address.
    `moved` is then the text of sources.list.
    """

    pockets: tuple[str, ...]
    components: tuple[str, ...]
    deb822_since: str
    keyring: str
    signed_by: dict[str, str]
    slash: str = ""
    moved: str = ""


DISTRIBUTIONS = {
    "debian": Distribution(
        pockets=("updates", "security"),
        components=("main",),
        deb822_since="2.3",
        keyring="debian-archive-keyring",
        signed_by={
            "0": "/usr/share/keyrings/debian-archive-keyring.gpg",
            "2025.1": "/usr/share/keyrings/debian-archive-keyring.pgp",
        },
    ),
    "ubuntu": Distribution(
        pockets=("updates", "backports", "security"),
        components=("main", "universe", "restricted", "multiverse"),
        deb822_since="2.7.14",
        keyring="ubuntu-keyring",
        signed_by={"0": "/usr/share/keyrings/ubuntu-archive-keyring.gpg"},
        slash="/",
        moved="# The sources of this system are in /etc/apt/sources.list.d/ubuntu.sources (see sources.list(5)).\n",
    ),
}


def base_files(job: Job, recipe: DebootstrapRecipe) -> Iterator[tuple[str, str]]:
    """Path and text of dpkg's files, and of apt's where it is installed; they also hold for later installations."""
    if rules := dpkg_rules(filter_lines(recipe.filters)):
        yield FILTER_SETTINGS, rules
    if not _version(job.lock, "apt"):
        return
    yield "/etc/dpkg/dpkg.cfg.d/docker-apt-speedup", UNSAFE_IO
    own = own_sources(recipe, job.lock)
    yield from source_files(own, distribution_of(recipe.suite), _version(job.lock, "apt"))
    for path in sorted(APT_SETTINGS.iterdir()):
        yield f"/etc/apt/apt.conf.d/{path.name}", path.read_text()
    yield from _recipe_files(job, recipe, own)


def added_files(job: Job, recipe: Packaged) -> Iterator[tuple[str, str]]:
    """Path and text of the files that a layer adds to those of its base image."""
    if own_lines := filter_lines(recipe.filters):
        before = [line for each in job.base_recipes for line in filter_lines(each.filters)]
        yield FILTER_SETTINGS, dpkg_rules([*before, *own_lines])
    own = next(own_sources(each, job.lock) for each in job.base_recipes if isinstance(each, DebootstrapRecipe))
    yield from _recipe_files(job, recipe, own)


def keyring_path(path: str) -> str:
    """The path of a further archive's keyring in the image."""
    return f"/etc/apt/keyrings/{Path(path).name}"


@dataclass(frozen=True)
class OwnSources:
    """apt's sources of the distribution in an image: suites with their public addresses, components, and the keyring.

    `keyring` is empty where the image has none.
    """

    suites: tuple[tuple[str, str], ...]
    components: tuple[str, ...]
    keyring: str

    def split(self, repository: Repository) -> tuple[list[str], list[str]]:
        """The suites of a further archive that are not among these, and those that are."""
        own = [suite for suite in repository.suites if (suite, repository.uri.rstrip("/")) in self.suites]
        return [suite for suite in repository.suites if suite not in own], own


def own_sources(recipe: DebootstrapRecipe, lock: Lock) -> OwnSources:
    """The public archives of the recipe's suite, wherever the packages of the lock were fetched from."""
    distribution = DISTRIBUTIONS[distribution_of(recipe.suite)]
    components = recipe.apt_sources.components or tuple(dict.fromkeys((*distribution.components, *recipe.components)))
    return OwnSources(tuple(_own_suites(recipe, lock)), components, _signed_by(distribution, lock))


def source_files(sources: OwnSources, name: str, apt_version: str) -> Iterator[tuple[str, str]]:
    """Path and text of the files of a distribution's sources, in the form of its own images."""
    distribution = DISTRIBUTIONS[name]
    if not _has_deb822(distribution, apt_version):
        components = " ".join(sources.components)
        lines = [f"deb {address}{distribution.slash} {suite} {components}\n" for suite, address in sources.suites]
        yield SOURCES_LIST, "".join(lines)
        return
    if distribution.moved:
        yield SOURCES_LIST, distribution.moved
    stanzas = [
        _stanza(
            f"{address}{distribution.slash}",
            [suite for suite, at in sources.suites if at == address],
            sources.components,
            sources.keyring,
        )
        for address in dict.fromkeys(address for _, address in sources.suites)
    ]
    yield f"/etc/apt/sources.list.d/{name}.sources", "\n".join(stanzas)


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


def _has_deb822(distribution: Distribution, apt_version: str) -> bool:
    return bool(compare_versions(apt_version, distribution.deb822_since) >= 0)


def _signed_by(distribution: Distribution, lock: Lock) -> str:
    """The path of the distribution's keyring; empty where the image has none, or its sources do not name it.

    The lock of a layer does not say what its base image has, which is taken for a current one.
    """
    version, apt = _version(lock, distribution.keyring), _version(lock, "apt")
    if not apt:
        return list(distribution.signed_by.values())[-1]
    if not version or not _has_deb822(distribution, apt):
        return ""
    return [path for since, path in distribution.signed_by.items() if compare_versions(version, since) >= 0][-1]


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
        if text := "\n".join(_further(each, own)):
            yield f"/etc/apt/sources.list.d/further-{number}.sources", text
    if text := _preferences(recipe, [release.address for release in job.lock.releases]):
        yield f"/etc/apt/preferences.d/baseforge-{1 + len(before):02}", text


def _further(repository: Repository, own: OwnSources) -> Iterator[str]:
    """The entries of a further archive. apt refuses one suite with two keyrings, so the image's own keyring counts."""
    others, shared = own.split(repository)
    if others:
        path, components = keyring_path(repository.keyring), repository.components_of(others[0])
        yield _stanza(repository.uri, others, components, path, repository.architectures)
    components = tuple(each for each in repository.components if each not in own.components)
    if shared and components:
        yield _stanza(repository.uri, shared, components, own.keyring, repository.architectures)


def _preferences(recipe: Packaged, addresses: list[str]) -> str:
    """apt_preferences(5) of an image: the recipe's pins, and the priorities of its further archives."""
    entries = [(" ".join(pin.packages), pin.pin, pin.priority) for pin in recipe.pins if pin.in_image]
    entries += [
        ("*", rule, each.priority)
        for each in recipe.repositories
        if each.priority is not None
        for rule in _repository_rules(each, addresses)
    ]
    return "\n".join(f"Package: {packages}\nPin: {rule}\nPin-Priority: {at}\n" for packages, rule, at in entries)


def _repository_rules(repository: Repository, addresses: list[str]) -> list[str]:
    """The rules that select an archive: its host, or its suites where another archive has the same host."""
    host, own = urlsplit(repository.uri).hostname, repository.uri.rstrip("/")
    names = [repository.release] if repository.release else [each for each in repository.suites if each[-1] != "/"]
    if not names or all(urlsplit(each).hostname != host for each in addresses if each != own):
        return [f'origin "{host}"']
    return [f"release {letter}={name}" for name in names for letter in "na"]
