"""What is built: the newest lock, but an earlier one where that has the same packages."""

import pytest

from flows.inputs import Inputs, settled
from flows.publish.publication import keep_record
from flows.publish.record import Record
from flows.session import session
from flows.settings import Settings
from rootfs.archive import Release
from rootfs.lock import Lock, Package
from rootfs.recipe import read
from rootfs.whole import lineage_of

ARCHIVE = "http://archive.test/debian"


def lock(date=1, version="1", suites=("trixie", "trixie-security")):
    said = dict.fromkeys(("name", "architecture", "source", "suite", "path"), "a")
    packages = (Package(version=version, size=1, sha256="0" * 64, archive=ARCHIVE, **said),)
    releases = [Release(address=ARCHIVE, suite=suite, sha256=f"{date}", date=date, signer="F") for suite in suites]
    return Lock(releases=tuple(releases), packages=packages)


@pytest.fixture
def built(tmp_path, monkeypatch):
    monkeypatch.setenv("BASEFORGE_HOME", str(tmp_path))
    with session(Settings(store=str(tmp_path / "store"))) as here:
        record = Record(image="trixie", build="20261101T000000Z-1", status="published", input_digest="i", lock=lock())
        keep_record(here.store, record)
        yield here


@pytest.mark.parametrize("same", [lock(), lock(date=2)])
def test_the_same_packages_are_the_same_lock_however_often_the_archive_signs_them(built, same):
    assert settled(same, "trixie") == lock(date=1)


@pytest.mark.parametrize("other", [lock(version="2"), lock(date=2, suites=("trixie",))])
def test_other_packages_or_suites_are_another_lock(built, other):
    assert settled(other, "trixie") == other


def test_an_image_without_a_build_has_the_newest_lock(built):
    assert settled(lock(date=2), "noble") == lock(date=2)


def test_the_image_names_the_archives_themselves_and_not_those_that_a_recipe_adds(tmp_path):
    file = tmp_path / "trixie.yaml"
    (tmp_path / "trixie").mkdir()
    (tmp_path / "trixie/key.gpg").touch()
    file.write_text(
        "kind: debootstrap\nsuite: trixie\ncomponents: [main, contrib]\n"
        "repositories:\n  - {uri: 'http://other.test', suites: [stable], keyring: key.gpg}\n"
    )
    own, other = lock(), Release(address="http://other.test", suite="stable", sha256="a", date=1, signer="F")
    known = own.model_copy(update={"releases": (*own.releases, other)})
    recipe = read(file)
    state = {"newest": known, "lock": known, "tools": {}, "recipe_digest": ""}
    wanted = Inputs(recipe=recipe, file=file, architecture="amd64", lineage=lineage_of(recipe, file), **state)
    assert wanted.sources_list == (f"deb {ARCHIVE} trixie main contrib\ndeb {ARCHIVE} trixie-security main contrib\n")
