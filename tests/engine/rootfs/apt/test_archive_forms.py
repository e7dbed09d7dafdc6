"""The forms of archives that sources.list(5) allows: paths, suites with slashes, detached signatures, architectures."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rootfs.apt.errors import InvalidRelease, PackagesConflict, SuiteError
from rootfs.apt.resolve import Apt
from rootfs.apt.sources import Site
from rootfs.errors import BuildError
from rootfs.lock.lock import Lock
from rootfs.lock.lockfile import read_locks, write_locks
from tests.support.debian import POCKETS, SUITE, Archive, Deb, Served, served
from tests.support.small_archive import SHELF, Scene, recipe

TOOL, ALIKE = Deb("tool", depends="libapt"), Deb("tool", "0.1")
NAMED = "Origin: Test\nSuite: stable\nCodename: soft\n"


@pytest.fixture
def vendor(tmp_path, stranger, scene):
    """A further archive; its key is in the recipe's folder."""
    (scene.files / "key").write_bytes(stranger.keyring.read_bytes())
    archive = Archive(tmp_path / "vendor", stranger)
    archive.folder.mkdir()
    with served(archive.folder) as server:
        yield archive, server


def lock(
    scene: Scene, server: Served, suite: str, architecture: str = "amd64", offline: bool = False, **keys: Any
) -> Lock:
    entry = {"uri": server.address, "suites": (suite,), "keyring": "key", **keys}
    asked = recipe(repositories=(entry,), include=("tool",) if architecture == "amd64" else ())
    return scene.apt(offline=offline).lock(asked, scene.files, architecture)


def tool(lock: Lock) -> tuple[str, str, str]:
    [found] = [package for package in lock.packages if package.name == "tool"]
    return found.version, found.suite, found.path


@pytest.mark.parametrize("suite", ["./", "/", "a/path-1/", "./sub/"])
@pytest.mark.parametrize("detached", [False, True])
def test_an_archive_without_dists_is_taken(scene, vendor, suite, detached):
    archive, server = vendor
    archive.publish_at(suite.strip("/"), TOOL, detached=detached)
    found = lock(scene, server, suite)
    assert tool(found) == ("1", suite, TOOL.path)
    assert tool(lock(scene, server, suite, offline=True)) == ("1", suite, TOOL.path)
    write_locks({"linux/amd64": found}, scene.files / "lock.json")
    assert read_locks(scene.files / "lock.json")[""] == found


def test_an_archive_without_dists_and_changed_packages_is_refused(scene, vendor):
    archive, server = vendor
    archive.publish_at(".", TOOL)
    (archive.folder / "Packages").write_text((archive.folder / "Packages").read_text().replace("tool", "evil"))
    with pytest.raises(BuildError, match="not those that its signed Release file names"):
        lock(scene, server, "./")


def test_suites_whose_names_begin_alike_stay_apart(scene, vendor):
    archive, server = vendor
    for suite, deb in {"stable": TOOL, "stable/updates": ALIKE, "stable-extra": ALIKE}.items():
        archive.publish(deb, suite=suite)
    assert tool(lock(scene, server, "stable")) == ("1", "stable", TOOL.path)
    assert tool(lock(scene, server, "stable/updates")) == ("0.1", "stable/updates", ALIKE.path)
    assert tool(lock(scene, server, "stable", offline=True))[0] == "1"


def detach(archive: Archive, suite: str, head: str = NAMED) -> Path:
    """Sign a suite with Release.gpg instead of InRelease."""
    archive.publish(TOOL, suite=suite)
    (archive.folder / f"dists/{suite}/InRelease").unlink()
    archive.sign_at(f"dists/{suite}", f"{head}Date: Sat, 15 Nov 2025 10:00:00 UTC\nComponents: main\n", detached=True)
    return archive.folder / f"dists/{suite}"


def test_a_detached_signature_is_checked(scene, vendor):
    archive, server = vendor
    folder = detach(archive, "stable")
    assert lock(scene, server, "stable").releases[-1].signer
    (folder / "Release").write_text((folder / "Release").read_text().replace("Test", "Evil"))
    with pytest.raises(BuildError, match="the signature is not one of") as caught:
        lock(scene, server, "stable")
    assert "changed after it was signed" in caught.value.hint


@pytest.mark.parametrize(
    ("names", "error"),
    [
        (["Release.gpg"], "neither InRelease nor Release.gpg"),
        (["Release", "Release.gpg"], "neither InRelease nor Release"),
    ],
)
def test_what_was_looked_for_is_said_where_no_signature_is_found(scene, vendor, names, error):
    archive, server = vendor
    folder = detach(archive, "stable")
    for name in names:
        (folder / name).unlink()
    with pytest.raises(BuildError if len(names) == 1 else SuiteError, match=error):
        lock(scene, server, "stable")


def test_a_binary_signature_which_apt_does_not_read_is_refused(scene, vendor):
    archive, server = vendor
    folder = detach(archive, "stable")
    (folder / "Release.gpg").write_bytes(archive.signer.gpg("--detach-sign", data=(folder / "Release").read_bytes()))
    with pytest.raises(BuildError, match="apt reads armored ones only"):
        lock(scene, server, "stable")


def test_a_release_file_of_another_name_needs_the_key_release(scene, vendor):
    archive, server = vendor
    archive.publish(TOOL, suite="rolling", Suite="stable", Codename="soft")
    with pytest.raises(InvalidRelease, match="of soft or stable, not of rolling") as caught:
        lock(scene, server, "rolling")
    assert "`release: soft`" in caught.value.hint
    assert tool(lock(scene, server, "rolling", release="stable"))[1] == "rolling"
    with pytest.raises(InvalidRelease, match="not of hard"):
        lock(scene, server, "rolling", release="hard")


def test_a_release_file_without_names_is_taken(scene, vendor):
    archive, server = vendor
    archive.publish(TOOL, suite="rolling", Suite="", Codename="", Label="", Origin="Vendor")
    assert tool(lock(scene, server, "rolling"))[1] == "rolling"
    with pytest.raises(PackagesConflict, match="'tool' has no installation candidate"):
        lock(scene, server, "rolling", priority=-1)


def test_an_archive_for_one_architecture_is_left_out_of_others(scene, vendor):
    archive, server = vendor
    archive.publish(TOOL, suite="stable")
    scene.archive.architecture = "arm64"
    scene.archive.publish(*SHELF)
    for pocket in POCKETS:
        scene.archive.publish(suite=f"{SUITE}-{pocket}")
    with pytest.raises(SuiteError, match="has no packages for arm64, only for amd64") as caught:
        lock(scene, server, "stable", "arm64")
    assert "architectures: [amd64]" in caught.value.hint
    releases = lock(scene, server, "stable", "arm64", architectures=("amd64",)).releases
    assert server.address not in {each.address for each in releases}
    scene.archive.architecture = "amd64"
    scene.archive.publish(*SHELF)
    assert tool(lock(scene, server, "stable", architectures=("amd64",)))[1] == "stable"


MOVES = {"http://deb.debian.org/debian": "/gone", "http://security.debian.org/debian-security": "/gone"}
ENDED = {"http://archive.debian.org/debian": "/old", "http://archive.debian.org/debian-security": "/old-security"}


def suite_lock(suite: str, site: Site, folder: Path, *, offline: bool) -> Lock:
    apt = Apt(folder / "cache", site, offline=offline, log=print)
    return apt.lock(recipe(suite=suite, pockets=("updates", "security")), folder, "amd64")


def test_a_suite_without_support_is_taken_from_where_it_moved(tmp_path, key):
    for name, suites in {"old": ("buster", "buster-updates"), "old-security": ("buster/updates",)}.items():
        for suite in suites:
            debs = SHELF if suite == "buster" else ()
            Archive(tmp_path / "www" / name, key).publish(*debs, suite=suite, until=datetime(2023, 1, 1, tzinfo=UTC))
    with served(tmp_path / "www") as server:
        mirrors = {address: server.address + path for address, path in (MOVES | ENDED).items()}
        site = Site(mirrors, {"debian": key.keyring})
        locks = [suite_lock("buster", site, tmp_path, offline=offline) for offline in (False, True)]
    assert locks[0] == locks[1]
    assert [(each.address, each.suite) for each in locks[0].releases] == [
        ("http://archive.debian.org/debian", "buster"),
        ("http://archive.debian.org/debian", "buster-updates"),
        ("http://archive.debian.org/debian-security", "buster/updates"),
    ]


def test_an_ubuntu_release_without_support_is_taken_from_old_releases(tmp_path, key):
    for suite in ("kinetic", "kinetic-updates", "kinetic-security"):
        until = datetime(2023, 8, 1, tzinfo=UTC)
        Archive(tmp_path / "www/old", key).publish(*(SHELF if suite == "kinetic" else ()), suite=suite, until=until)
    gone = dict.fromkeys(("http://archive.ubuntu.com/ubuntu", "http://security.ubuntu.com/ubuntu"), "/gone")
    old = "http://old-releases.ubuntu.com/ubuntu"
    with served(tmp_path / "www") as server:
        mirrors = {address: server.address + path for address, path in {**gone, old: "/old"}.items()}
        found = suite_lock("kinetic", Site(mirrors, {"ubuntu": key.keyring}), tmp_path, offline=False)
    assert [each.address for each in found.releases] == [old] * 3
    assert {each.archive for each in found.packages} == {old}


def test_a_suite_without_support_is_taken_from_its_own_archive_while_it_is_there(tmp_path, key):
    for suite in ("focal", "focal-updates", "focal-security"):
        Archive(tmp_path / "www", key).publish(*(SHELF if suite == "focal" else ()), suite=suite)
    addresses = ("http://archive.ubuntu.com/ubuntu", "http://security.ubuntu.com/ubuntu")
    with served(tmp_path / "www") as server:
        site = Site(dict.fromkeys(addresses, server.address), {"ubuntu": key.keyring})
        found = suite_lock("focal", site, tmp_path, offline=False)
    assert [each.address for each in found.releases] == [addresses[0], addresses[0], addresses[1]]


def test_the_key_that_a_recipe_lacks_is_named(scene, vendor, key):
    archive, server = vendor
    archive.publish(TOOL, suite="stable")
    (scene.files / "key").write_bytes(key.keyring.read_bytes())
    with pytest.raises(BuildError, match=r"signed by [0-9A-F]{40}\)") as caught:
        lock(scene, server, "stable")
    assert "add it to the recipe's file" in caught.value.hint
