"""Archives that are wrong, interrupted or missing: the build ends and publishes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.debian import Archive, Deb, Served, Signer, own_addresses, served, signer
from tests.support.factory import Done, Factory
from tests.support.outcome import complains
from tests.support.services.registry import free_port

SUITE = "bookworm"  # which no other test asks the real archive for: an older state than that would be refused
RECIPE = f"kind: debootstrap\nsuite: {SUITE}\npockets: []\n"
NOW = datetime.now(UTC)
DEBS = (
    Deb("base", essential=True, priority="required", depends="libbase"),
    Deb("libbase", files={"usr/share/data": "x" * 9000}),
    Deb("apt"),
    Deb("quarrel", fields={"Conflicts": "base"}),
)


@dataclass(frozen=True)
class Shop:
    """A site with a recipe of packages, and the archive that it takes them from."""

    site: Factory
    archive: Archive
    server: Served

    def build(self, command: str = "build", address: str = "", keyring: Path | None = None) -> Done:
        mirrors = dict.fromkeys(own_addresses(SUITE), address or self.server.address)
        keyrings = {"debian": str(keyring or self.archive.signer.keyring)}
        said = {"BASEFORGE_MIRRORS": json.dumps(mirrors), "BASEFORGE_KEYRINGS": json.dumps(keyrings)}
        return self.site.run(command, "packages", env=said)

    def damage(self, ending: str, old: bytes, new: bytes) -> None:
        """Files whose path ends so come with other bytes; where those are fewer, they break off."""
        self.server.damage = lambda path, body: body.replace(old, new) if path.endswith(ending) else body

    @property
    def release(self) -> str:
        return f"{self.server.address}/dists/{SUITE}/InRelease"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signer]:
    with signer(tmp_path_factory.mktemp("key")) as made:
        yield made


@pytest.fixture
def shop(site: Factory, tmp_path: Path, key: Signer) -> Iterator[Shop]:
    site.recipe("packages", RECIPE)
    archive = Archive(tmp_path / "archive", key)
    archive.publish(*DEBS, suite=SUITE)
    with served(archive.folder) as server:
        yield Shop(site, archive, server)


def test_a_keyring_that_does_not_match(shop, tmp_path):
    other = tmp_path / "other.gpg"
    other.write_bytes(b"")
    done = shop.build(keyring=other)
    complains(done, 1, f"{shop.release}: the signature is not one of {other} (it is signed by")
    assert done.stderr.count("✗ resolve") == 1


def test_a_keyring_that_is_not_there(shop):
    complains(shop.build(keyring=Path("/nowhere.gpg")), 3, "there is no keyring for debian at /nowhere.gpg")


def test_a_release_file_that_somebody_changed(shop):
    shop.damage("/InRelease", b"\nOrigin: ", b"\nOrigin: not ")
    complains(shop.build(), 1, f"{shop.release}: the signature is not", "do not trust this mirror")


CLOCK = "this machine's clock says "
SIGNED_BUT = {
    "expired": ({"until": NOW - timedelta(days=365)}, "it expired on", CLOCK),
    "from a year to come": ({"date": NOW + timedelta(days=365)}, "is yet to come", CLOCK),
    "of another suite": ({"Codename": "sid", "Suite": "sid"}, f"of sid, not of {SUITE}", ""),
}


@pytest.mark.parametrize("what", SIGNED_BUT)
def test_a_release_file_that_is_signed_but_not_to_build_from(shop, what):
    keys, *words = SIGNED_BUT[what]
    shop.archive.publish(*DEBS, suite=SUITE, **keys)
    begun = datetime.now(UTC)
    done = shop.build()
    complains(done, 1, f"{shop.release}: the Release file cannot be used", *words)
    if CLOCK in words:  # and says when that was, also if it has been midnight since
        assert any(f"{CLOCK}{day:%a, %d %b %Y}" in done.stderr for day in (begun, datetime.now(UTC)))
    assert done.stderr.count("✗ resolve") == 1


def test_a_release_file_older_than_the_last(shop):
    assert shop.build("lock").status == 0
    shop.archive.publish(*DEBS, suite=SUITE, date=NOW - timedelta(days=2))
    complains(shop.build(), 1, f"{shop.release}: the Release file is of", "has been seen", "rm '")


def test_an_archive_that_cannot_be_reached(shop):
    address = f"http://127.0.0.1:{free_port()}"
    done = shop.build(address=address)
    complains(done, 1, f"{address}/dists/{SUITE}/InRelease: the archive does not answer", "[mirrors]")
    assert done.stderr.count("✗ resolve") == 3


def test_an_archive_that_breaks_off_at_once(shop):
    shop.damage("/InRelease", b"-----END PGP SIGNATURE-----", b"")
    done = shop.build()
    complains(done, 1, f"{shop.release}: the archive does not answer", "[mirrors]")
    assert done.stderr.count("✗ resolve") == 3


def test_indexes_that_differ_from_the_signed_ones_are_refused(shop):
    shop.damage("/Packages", b"Package: base", b"Package: evil")
    done = shop.build()
    complains(done, 1, "the indexes it serves are not those", "It may be being updated")
    assert done.stderr.count("✗ resolve") == 3


def test_interrupted_downloads_are_reported(shop):
    shop.damage(".deb", b"x" * 9000, b"")
    done = shop.build()
    complains(done, 1, f"{shop.server.address}/pool/libbase_1_all.deb", "the archive does not answer as it should")
    assert "✓ look-up" in done.stderr


def test_packages_that_somebody_changed(shop):
    shop.damage(".deb", b"x" * 9000, b"y" * 9000)
    complains(shop.build(), 1, "this is not libbase 1: ", "the mirror serves something else")


def test_packages_that_exclude_each_other(shop):
    shop.site.recipe("packages", f"{RECIPE}include: [quarrel]\n")
    complains(shop.build(), 2, "apt finds no set of packages", "  | ", "quarrel : Conflicts: base")


def test_an_unknown_package_is_named(shop):
    shop.site.recipe("packages", f"{RECIPE}include: [nosuch]\n")
    complains(shop.build(), 2, f"{SUITE} (main) has no package 'nosuch'")


def test_a_package_with_an_impossible_dependency_is_named(shop):
    shop.archive.publish(*(replace(deb, depends="nowhere") for deb in DEBS), suite=SUITE)
    complains(shop.build(), 2, "apt finds no set of packages", "base : Depends: nowhere")
