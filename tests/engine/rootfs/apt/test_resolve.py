"""apt resolves recipes: packages, caches, signatures, locks and snapshots."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from rootfs.apt import indexes
from rootfs.apt.errors import (
    AccessDenied,
    ArchiveUnreachable,
    InvalidRelease,
    PackageMissing,
    PackagesConflict,
    PinUnused,
)
from rootfs.apt.release import fetch_releases
from rootfs.apt.resolve import Apt
from rootfs.apt.root import AptRoot
from rootfs.apt.sources import Site, Source
from rootfs.apt.transfer import Transfers
from rootfs.errors import BuildError, InputError, NetworkFailure
from rootfs.lock.lockfile import write_locks
from rootfs.recipe.base import AptRequest
from rootfs.system.errors import FormatNewer
from tests.support.debian import POCKETS, SUITE, Archive, Deb, served
from tests.support.small_archive import SHELF, recipe

ESSENTIAL = {"base", "libbase", "mawk"}
APT = ESSENTIAL | {"apt", "libapt"}
MINBASE = APT | {"needed"}
NOW = datetime.now(UTC)
DAY = timedelta(days=1)

MEANS = {
    "essential": ({"variant": "essential"}, ESSENTIAL),
    "apt": ({"variant": "apt"}, APT),
    "minbase": ({}, MINBASE),
    "buildd": ({"variant": "buildd"}, MINBASE | {"build-essential", "gcc"}),
    "important": ({"variant": "important"}, MINBASE | {"wished"}),
    "standard": ({"variant": "standard"}, MINBASE | {"wished", "usual"}),
    "recommends": ({"recommends": True}, MINBASE | {"trust"}),
    "include": ({"include": ("build-essential",)}, MINBASE | {"build-essential", "gcc"}),
    "exclude what the variant has": ({"exclude": ("needed",)}, MINBASE - {"needed"}),
    "exclude what is recommended": ({"recommends": True, "exclude": ("trust",)}, MINBASE),
    "exclude one alternative": ({"exclude": ("mawk",)}, MINBASE - {"mawk"} | {"gawk"}),
    "include another alternative": ({"include": ("gawk",), "variant": "essential"}, {"base", "libbase", "gawk"}),
    "exclude apt": ({"exclude": ("apt",)}, MINBASE - {"apt", "libapt"}),
    "a name with signs of patterns": ({"include": ("libstdc++6",)}, MINBASE | {"libstdc++6"}),
}


BASE = {
    "nothing included": ({}, MINBASE),
    "something included": ({"include": ("build-essential",)}, MINBASE),
    "with recommends": ({"include": ("gcc",), "recommends": True}, MINBASE | {"trust"}),
    "what is included replaces one of the base": ({"include": ("gawk",)}, set()),
}


@pytest.mark.parametrize("what", BASE)
def test_the_base_is_what_the_recipe_is_without_its_include(still, what):
    keys, base = BASE[what]
    assert {package.name for package in still.lock(**keys).packages if package.base} == base


def test_the_next_recipe_uses_apts_cache_of_all_packages(scene):
    scene.lock()
    [cache] = scene.cache.glob("roots/*/pkgcache.bin")
    before = cache.stat().st_mtime_ns
    scene.lock(include=("gcc",))
    assert cache.stat().st_mtime_ns == before


@pytest.mark.parametrize("what", MEANS)
def test_a_recipe_is_resolved_to_its_packages(still, what):
    keys, names = MEANS[what]
    assert still.names(**keys) == names


def test_a_lock_describes_each_package(still):
    lock = still.lock(pockets=POCKETS, include=("gcc", "gawk"))
    known = {package.name: package for package in lock.packages}
    assert [package.name for package in lock.packages] == sorted(known)
    assert [known["gcc"].source, known["gcc"].architecture, known["apt"].source] == ["gcc-src", "amd64", "apt"]
    assert (known["libbase"].version, known["libbase"].path) == ("1:2.0+x~1", "pool/libbase_2.0+x~1_all.deb")
    deb = (still.archive.folder / known["libbase"].path).read_bytes()
    assert (known["libbase"].size, known["libbase"].file_name) == (len(deb), "libbase_1%3a2.0+x~1_all.deb")
    assert {package.archive for package in lock.packages} < set(still.site.mirrors)
    assert {package.name for package in lock.packages if package.auto} == {"libapt", "libbase"}
    assert {package.name for package in lock.packages if package.essential} == {"base", "libbase", "gawk"}
    assert [release.suite for release in lock.releases] == [SUITE, f"{SUITE}-updates", f"{SUITE}-security"]
    assert all(release.valid_until and len(release.signer) == 40 for release in lock.releases)


def test_pockets_have_the_newer_packages(scene):
    scene.archive.publish(Deb("libapt", "1.1"), suite=f"{SUITE}-updates")
    scene.archive.publish(Deb("needed", "1.2", priority="required"), suite=f"{SUITE}-security")
    found = {package.name: (package.version, package.suite) for package in scene.lock(pockets=POCKETS).packages}
    assert (found["libapt"], found["needed"]) == (("1.1", "trixie-updates"), ("1.2", "trixie-security"))
    found = {package.name: package.version for package in scene.lock(pockets=()).packages}
    assert (found["libapt"], found["needed"]) == ("1", "1")


IMPOSSIBLE = {
    "unknown": ({"include": ("nosuch",)}, PackageMissing, "'nosuch'"),
    "unknown, to be left out": ({"exclude": ("nosuch",)}, PackageMissing, "'nosuch'"),
    "apt would take it for a pattern": ({"include": ("libst.c",)}, PackageMissing, "'libst.c'"),
    "apt would leave it out": ({"include": ("trust-",)}, PackageMissing, "'trust-'"),
    "apt would take it for an order": ({"include": ("trust+",)}, PackageMissing, r"'trust\+'"),
    "in no component": ({"include": ("trust",), "components": ("extra",)}, InputError, "component 'extra'"),
    "conflicting": ({"include": ("mail-a", "mail-b")}, PackagesConflict, r"mail-a : Conflicts: mta|mail-b : Conflicts"),
    "conflicting with the variant": ({"include": ("quarrel",)}, PackagesConflict, "quarrel : Conflicts: needed"),
    "its dependency is nowhere": ({"include": ("broken",)}, PackagesConflict, "broken : Depends: nowhere"),
    "needed, but left out": ({"exclude": ("libapt",)}, PackagesConflict, "apt : Depends: libapt"),
    "asked for and left out": ({"include": ("gcc",), "exclude": ("gcc",)}, PackagesConflict, "gcc: excluded, but"),
    "several provide it": ({"include": ("mta",)}, PackagesConflict, "virtual package provided by:"),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_an_impossible_recipe_is_refused_with_apts_explanation(still, what):
    keys, kind, said = IMPOSSIBLE[what]
    with pytest.raises(kind, match=said) as caught:
        still.lock(**keys)
    assert caught.value.status == 2
    assert "Reading package lists" not in str(caught.value)


def sends(ending, change):
    """Damage to the files whose path ends so."""
    return lambda path, body: change(body) if path.endswith(ending) else body


REFUSED = {
    "expired": ({"until": NOW - DAY}, InvalidRelease, f"expired on {NOW - DAY:%a, %d %b %Y}.* clock says"),
    "from a future": ({"date": NOW + DAY}, InvalidRelease, f"{NOW + DAY:%a, %d %b %Y}.*is yet to come.*clock says"),
    "of another suite": ({"Codename": "sid", "Suite": "unstable"}, InvalidRelease, "of sid or unstable, not of trixie"),
    "without a date": ({"Date": ""}, InvalidRelease, "no readable date"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_release_file_that_is_signed_but_not_usable(scene, what):
    keys, kind, said = REFUSED[what]
    scene.archive.publish(*SHELF, **keys)
    with pytest.raises(kind, match=said):
        scene.lock()
    assert not list(scene.cache.glob("locks/*"))


def test_a_release_file_with_an_unknown_signature_is_refused_with_key_and_keyring(scene, stranger):
    scene.archive.publish(*SHELF, signer=stranger)
    with pytest.raises(BuildError, match=r"ring\.gpg \(it is signed by [0-9A-F]{40}\)"):
        scene.lock()


DAMAGED = {
    "Release file changed": ("/InRelease", lambda body: body.replace(b"Test", b"Evil"), BuildError),
    "Release file not signed": ("/InRelease", lambda body: body.replace(b"-----", b"*****"), BuildError),
    "Release file cut off": ("/trixie/InRelease", lambda body: body[:-50], ArchiveUnreachable),
    "no such suite": ("/trixie/InRelease", lambda body: None, InputError),
    "Packages of another state": ("/Packages", lambda body: body.replace(b": 1\n", b": 2\n"), NetworkFailure),
    "Packages longer": ("/trixie/main/binary-amd64/Packages", lambda body: body + b"\n", NetworkFailure),
    "Packages cut off": ("/trixie/main/binary-amd64/Packages", lambda body: body[:-50], NetworkFailure),
    "Packages not there": ("/trixie/main/binary-amd64/Packages", lambda body: None, ArchiveUnreachable),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_download_is_noticed_and_fetched_again(scene, what):
    ending, change, kind = DAMAGED[what]
    scene.server.damage = sends(ending, change)
    with pytest.raises(kind) as caught:
        scene.lock()
    assert scene.server.address in caught.value.where
    scene.server.damage = sends("", lambda body: body)
    assert scene.names() == MINBASE


def test_indexes_without_the_sums_of_debs(scene):
    scene.archive.sums = "sha512"
    scene.archive.publish(*SHELF)
    with pytest.raises(InvalidRelease, match="no sha256 of this file") as caught:
        scene.lock()
    assert caught.value.where.endswith(".deb")


def test_an_archive_that_is_not_there(scene):
    gone = Site(dict.fromkeys(scene.site.mirrors, "http://127.0.0.1:9"), scene.site.keyrings)
    with pytest.raises(ArchiveUnreachable, match=r"127\.0\.0\.1:9"):
        scene.apt(gone).lock(recipe(), scene.files, "amd64")


@pytest.fixture
def private(scene, tmp_path):
    """An archive for those who know its password, and the file that has it."""
    scene.server.wanted = "joe:pass/w+rd"
    file = tmp_path / "auth.conf"
    file.write_text(f"machine {scene.server.address}/ login joe password pass/w+rd\n")
    file.chmod(0o600)
    return file


def test_an_archive_is_told_the_password_of_the_settings_file(scene, private):
    scene.archive.publish(*SHELF, suite=f"{SUITE}-updates")
    night = scene.apt(replace(scene.site, auth=private))
    lock = night.lock(recipe(pockets=POCKETS), scene.files, "amd64")
    assert {package.name for package in lock.packages} == MINBASE
    assert {status for _, status in scene.server.asked} == {200}  # ours and apt's
    scene.server.wanted = ""
    assert lock == Apt(scene.cache.with_name("another"), scene.site, log=print).lock(
        recipe(pockets=POCKETS), scene.files, "amd64"
    )
    assert not [path for path in scene.cache.rglob("*") if path.is_file() and b"pass/w" in path.read_bytes()]


def test_apt_sends_a_password_only_below_the_path_that_it_is_for(mirror, tmp_path):
    file = tmp_path / "auth.conf"
    file.write_text(f"machine {mirror.address}/debian login joe password one\n")
    file.chmod(0o600)
    folders = ("debian", "debian-security", "debian/below")
    sources = "".join(f"deb [trusted=yes] {mirror.address}/{name} ./\n" for name in folders)
    root = AptRoot(tmp_path / "root", "", ("amd64",), site=Site(auth=file))
    (tmp_path / "root/etc/sources.list.d/it.list").write_text(sources)
    root.run("apt-get", "update", check=False)
    told = {path.partition("/./")[0]: "Authorization" in headers for path, headers in mirror.asked}
    assert told == {"/debian": True, "/debian-security": False, "/debian/below": True}


def test_an_archive_that_refuses_a_password_is_asked_once(scene, private):
    scene.server.wanted = "joe:other"
    with pytest.raises(AccessDenied, match="password for it are refused") as caught:
        scene.apt(replace(scene.site, auth=private)).lock(recipe(pockets=POCKETS), scene.files, "amd64")
    assert scene.server.address in caught.value.where
    assert "auth.conf.d" in caught.value.hint
    assert "pass/w" not in str(caught.value)
    asked = [path for path, _ in scene.server.asked]  # the first refusal may come before other suites are asked
    assert {status for _, status in scene.server.asked} == {401}
    assert len(asked) == len(set(asked)) <= 1 + len(POCKETS)


def test_lists_for_which_apt_has_no_password_say_so(scene):
    scene.server.wanted, scene.server.guarded = "joe:pass", "/Packages"
    with pytest.raises(AccessDenied, match="401 Unauthorized") as caught:
        scene.lock()
    assert caught.value.where.startswith(scene.server.address)


def test_a_release_file_that_comes_byte_by_byte_is_given_up(scene):
    scene.server.pause = lambda path: 0.05
    source = Source(scene.server.address, scene.server.address, SUITE, ("main",), scene.archive.signer.keyring)
    with pytest.raises(
        ArchiveUnreachable, match=r"it sent \d+ bytes in 0.5 s, and 1000 a second are the least"
    ) as caught:
        fetch_releases((source,), {}, Transfers(rate=1000, window=0.5))
    assert caught.value.where == f"{source.folder}/InRelease"
    assert "name a mirror" in caught.value.hint


def test_an_archive_that_sends_lists_byte_by_byte_is_given_up(scene, monkeypatch):
    monkeypatch.setattr(indexes, "GRACE", 2.0)
    scene.server.pause = lambda path: 0.5 if path.endswith("/Packages") else 0
    began = time.monotonic()
    with pytest.raises(ArchiveUnreachable, match="it is slow: its lists did not come within 2 s") as caught:
        scene.lock()
    assert scene.server.address in caught.value.where
    assert time.monotonic() - began < 20


def test_an_older_release_file_than_the_last_nights_is_refused(scene):
    scene.archive.publish(*SHELF, date=NOW - timedelta(hours=2))
    before = scene.lock()
    scene.archive.publish(*SHELF, date=NOW - timedelta(hours=5))
    for _ in range(2):  # and not taken for the newest the time after
        with pytest.raises(BuildError, match="has been seen; nothing was built from it") as caught:
            scene.lock()
    for hours in (2, 5):
        assert f"{NOW - timedelta(hours=hours):%d %b %Y %H:%M:%S} UTC" in str(caught.value)
    scene.archive.publish(*SHELF, date=NOW - timedelta(hours=1))
    assert scene.lock().releases[0].date > before.releases[0].date


def test_the_note_of_an_earlier_version_is_read(scene):
    before = scene.lock()
    notes = {}
    for note in (scene.cache / "releases").iterdir():
        head, _, content = note.read_bytes().partition(b"\n")
        said = json.loads(head)
        assert said["format"] == 1
        notes[note] = f"{said['address']} {said['tag']}\n".encode() + content
        note.write_bytes(notes[note])
    scene.server.asked.clear()
    assert scene.lock() == before
    assert (f"/dists/{SUITE}/InRelease", 304) in scene.server.asked
    assert {note: note.read_bytes() for note in notes} == notes
    scene.archive.publish(*SHELF, date=NOW - 9 * DAY)
    with pytest.raises(BuildError, match="has been seen; nothing was built from it"):
        scene.lock()


def test_the_note_of_a_release_file_of_a_newer_version_is_refused(scene):
    scene.lock()
    for note in (scene.cache / "releases").iterdir():
        note.write_bytes(b'{"format": 2}\n')
    with pytest.raises(FormatNewer, match=r"releases/.*has format 2"):
        scene.lock()


def test_an_older_one_can_be_taken_as_the_error_says(scene):
    scene.server.modified = "Tue, 24 Nov 2026 01:00:00 GMT"  # of both, as when they follow each other quickly
    scene.lock()
    scene.archive.publish(*SHELF, date=NOW - 3 * DAY)
    with pytest.raises(BuildError, match="has been seen; nothing was built from it") as caught:
        scene.lock()
    memory = caught.value.hint.partition("rm '")[2].partition("'")[0]
    scene.cache.joinpath(memory).unlink()
    assert scene.lock().releases[0].date == int((NOW - 3 * DAY).timestamp())


def test_a_night_asks_each_archive_once_for_all_recipes(scene):
    night = scene.apt()
    for keys in ({}, {"variant": "standard"}, {"include": ("gcc",)}, {}):
        night.lock(recipe(**keys), scene.files, "amd64")
    assert scene.server.times(f"/{SUITE}/InRelease") == 2  # ours, and apt's
    assert scene.server.times(f"/{SUITE}/main/binary-amd64/Packages") == 1


def test_the_next_night_fetches_only_what_has_changed(scene):
    scene.lock(pockets=POCKETS)
    scene.archive.publish(Deb("libapt", "1.1"), suite=f"{SUITE}-updates")
    scene.server.asked.clear()
    assert "1.1" in {package.version for package in scene.lock(pockets=POCKETS).packages}
    assert (f"/dists/{SUITE}/InRelease", 304) in scene.server.asked
    assert scene.server.times(f"/{SUITE}/main/binary-amd64/Packages") == 0
    scene.server.asked.clear()
    scene.lock(pockets=POCKETS, include=("gcc",))
    assert {status for _, status in scene.server.asked} == {304}


def test_a_resolved_recipe_is_remembered_until_something_changes(scene):
    first = scene.lock()
    for path in scene.cache.glob("lists/*Packages"):
        path.unlink()
    assert scene.lock() == first
    [cached] = scene.cache.glob("locks/*")
    for spoilt in (cached.read_text().replace('"libapt"', '"libopt"'), "{", "[]", '{"lock": 1}', ""):
        cached.write_text(spoilt)
        assert scene.lock() == first
    assert json.loads(cached.read_text())["digest"] == first.digest


def test_lists_that_were_damaged_are_fetched_anew(scene):
    scene.lock()
    [index] = scene.cache.glob(f"lists/*_{SUITE}_main_binary-amd64_Packages")
    good = index.read_bytes()
    index.write_bytes(good.replace(b"gcc", b"gxx"))
    assert "gcc" in scene.names(include=("gcc",))
    assert index.read_bytes() == good


def test_an_archive_that_changes_while_it_is_read_is_noticed(scene):
    moved = []

    def move(path, body):
        if path.endswith(f"/{SUITE}/InRelease") and not moved:
            moved.append(path)
            scene.archive.publish(*SHELF[:-1], Deb("needed", "7", priority="required"))
        return body

    scene.server.damage = move
    lock = scene.lock()
    assert "7" in {package.version for package in lock.packages}
    served_now = (scene.archive.folder / f"dists/{SUITE}/InRelease").read_bytes()
    assert lock.releases[0].sha256 == hashlib.sha256(served_now).hexdigest()


def test_an_additional_component_is_fetched_when_a_recipe_needs_it(scene):
    scene.archive.publish(Deb("unfree"), component="extra")
    night = scene.apt()
    night.lock(recipe(), scene.files, "amd64")
    lock = night.lock(recipe(components=("main", "extra"), include=("unfree",)), scene.files, "amd64")
    assert "unfree" in {package.name for package in lock.packages}
    assert scene.server.times(f"/{SUITE}/main/binary-amd64/Packages") == 1


def test_an_architecture_that_the_suite_lacks(scene):
    shutil.rmtree(scene.archive.folder / f"dists/{SUITE}")
    scene.archive.architecture = "i386"
    scene.archive.publish(*SHELF)
    with pytest.raises(InputError, match="no packages for amd64, only for i386"):
        scene.lock()


def test_a_misspelt_component_is_refused_with_the_nearest(still):
    with pytest.raises(InputError, match="has no component") as caught:
        still.lock(components=("mian",))
    assert "'main'" in caught.value.hint


def test_offline_resolves_from_what_is_kept(scene):
    scene.lock()
    scene.server.damage = sends("", lambda body: None)
    scene.server.asked.clear()
    night = scene.apt(offline=True)
    for keys, names in ({}, MINBASE), ({"include": ("gcc",)}, MINBASE | {"gcc"}):
        assert {each.name for each in night.lock(recipe(**keys), scene.files, "amd64").packages} == names
    assert scene.server.asked == []


def test_offline_with_nothing_kept(scene):
    with pytest.raises(BuildError, match="trixie"):
        scene.apt(offline=True).lock(recipe(), scene.files, "amd64")
    scene.lock()
    [index] = scene.cache.glob(f"lists/*_{SUITE}_main_binary-amd64_Packages")
    index.write_bytes(index.read_bytes()[:-1])
    with pytest.raises(BuildError, match="trixie"):
        scene.apt(offline=True).lock(recipe(include=("gcc",)), scene.files, "amd64")


def test_offline_still_checks_signatures(scene):
    scene.lock()
    for path in scene.cache.glob("releases/*"):
        path.write_bytes(path.read_bytes().replace(b"Origin: Test", b"Origin: Evil"))
    with pytest.raises(BuildError, match="the signature is not one of"):
        scene.apt(offline=True).lock(recipe(), scene.files, "amd64")


def test_a_committed_lock_needs_no_archive(scene):
    lock = scene.lock()
    write_locks({"linux/amd64": lock}, scene.files / "it.lock")
    scene.server.asked.clear()
    assert scene.lock(lock="it.lock") == lock
    assert scene.server.asked == []


UNFIT = {
    "suite": ({"suite": "bookworm"}, "amd64", "of trixie, trixie-security, trixie-updates, the recipe of bookworm"),
    "pockets": ({"pockets": ()}, "amd64", r"the recipe of trixie\n"),
    "architecture": ({}, "arm64", "for amd64, and arm64 is built"),
}


@pytest.mark.parametrize("what", UNFIT)
def test_a_committed_lock_of_something_else_is_refused(still, what):
    keys, architecture, said = UNFIT[what]
    write_locks({"linux/amd64": still.lock(pockets=POCKETS, include=("gcc",))}, still.files / "it.lock")
    with pytest.raises(InputError, match=said):
        still.apt().lock(recipe(lock="it.lock", **{"pockets": POCKETS, **keys}), still.files, architecture)


def test_a_snapshot_may_be_old_but_must_be_signed(scene, stranger, tmp_path):
    old = Archive(tmp_path / "snapshots/20250101T000000Z", scene.archive.signer)
    old.publish(*SHELF, date=NOW - 300 * DAY, until=NOW - 290 * DAY)
    with served(tmp_path / "snapshots") as server:
        snapshots = dict.fromkeys(scene.site.mirrors, f"{server.address}/")
        site = Site(scene.site.mirrors, scene.site.keyrings, snapshots)
        lock = scene.apt(site).lock(recipe(snapshot="20250101T000000Z"), scene.files, "amd64")
        assert {package.name for package in lock.packages} == MINBASE
        assert {package.archive for package in lock.packages} == {f"{server.address}/20250101T000000Z"}
        assert {release.address for release in lock.releases} < set(scene.site.mirrors)  # whose state it is
        old.publish(*SHELF, date=NOW - 300 * DAY, signer=stranger)
        with pytest.raises(BuildError, match="the signature is not one of"):
            scene.apt(site).lock(recipe(snapshot="20250101T000000Z"), scene.files, "amd64")


def test_a_snapshot_without_an_archive_of_snapshots(still):
    with pytest.raises(
        InputError, match="the recipe names a snapshot, but no setting says where snapshots of"
    ) as caught:
        still.lock(snapshot="20250101T000000Z")
    assert "[snapshots]" in caught.value.hint


@pytest.fixture
def further(tmp_path, stranger):
    """A further archive with a key of its own, which has a newer apt and a package that nobody else has."""
    archive = Archive(tmp_path / "further", stranger)
    archive.publish(Deb("tool", depends="libapt"), Deb("libapt", "9"), suite="stable", Origin="Further", Label="")
    with served(archive.folder) as server:
        yield server


def repository(server, **keys):
    return {"uri": f"{server.address}/", "suites": ("stable",), "keyring": "key", **keys}


def test_a_further_archive_has_its_own_keyring(scene, further, stranger):
    for keyring in (stranger.keyring, stranger.armoured):
        (scene.files / "key").write_bytes(keyring.read_bytes())
        lock = scene.lock(repositories=(repository(further),), include=("tool",))
        tool = next(package for package in lock.packages if package.name == "tool")
        assert (tool.archive, tool.suite, lock.releases[-1].suite) == (further.address, "stable", "stable")
        assert "9" in {package.version for package in lock.packages}


def test_the_key_of_another_archive_is_refused(scene, further):
    (scene.files / "key").write_bytes(scene.archive.signer.keyring.read_bytes())
    with pytest.raises(BuildError, match="files/key"):
        scene.lock(repositories=(repository(further),))


@pytest.mark.parametrize("content", [b"no key", b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n!\n-----END", b"\x00\x00"])
def test_a_file_that_is_no_keyring(scene, further, content):
    (scene.files / "key").write_bytes(content)
    with pytest.raises(InputError, match="not a keyring"):
        scene.lock(repositories=(repository(further),))


PREFERRED = {
    "repository's priority": ({"priority": 100}, (), "1"),
    "a pin by release": ({}, ({"packages": ("lib*",), "pin": "release n=trixie", "priority": 900},), "1"),
    "a pin by version": ({}, ({"packages": ("libapt",), "pin": "version 1", "priority": 900},), "1"),
    "another package's pin": ({}, ({"packages": ("gcc",), "pin": "version 1", "priority": 900},), "9"),
    "pin against the priority": (
        {"priority": 100},
        ({"packages": ("libapt",), "pin": "release o=Further", "priority": 900},),
        "9",
    ),
}


@pytest.mark.parametrize("what", PREFERRED)
def test_priorities_and_pins(scene, further, stranger, what):
    keys, pins, version = PREFERRED[what]
    (scene.files / "key").write_bytes(stranger.keyring.read_bytes())
    lock = scene.lock(repositories=(repository(further, **keys),), pins=pins)
    assert next(package.version for package in lock.packages if package.name == "libapt") == version


def test_a_pin_by_an_archives_host_holds_for_its_mirror(still):
    host = next(iter(still.site.mirrors)).partition("//")[2].partition("/")[0]
    pins = ({"packages": ("trust",), "pin": f"origin {host}", "priority": -1},)
    with pytest.raises(PackagesConflict):
        still.lock(include=("trust",), pins=pins)


UNUSED = {
    "no such package": ({"packages": ("gcc", "gccc"), "pin": "version 1"}, "'gccc'.* no such package", "'gcc'"),
    "no such package, as a pattern": (
        {"packages": ("x*y",), "pin": "version 1"},
        r"'x\*y'.* no such package",
        "Correct",
    ),
    "no such version": ({"packages": ("gcc",), "pin": "version 2*"}, r"'gcc'.* is of version 2\*", "There is gcc 1."),
    "no such release": (
        {"packages": ("gcc",), "pin": "release n=sid"},
        "is of release n=sid",
        "n=trixie,a=trixie,o=Test",
    ),
    "no such release, for all": ({"packages": ("*",), "pin": "release a=sid"}, "is of release a=sid", "`repositories`"),
    "no such host": ({"packages": ("*",), "pin": "origin other.test"}, "is of origin other.test", "Hosts are: "),
    "all packages by version": ({"packages": ("*",), "pin": "version 1"}, "of all packages by version", "by release"),
}


@pytest.mark.parametrize("what", UNUSED)
def test_a_pin_that_selects_nothing_is_an_error_that_names_it_and_what_there_is(still, what):
    pin, reason, hint = UNUSED[what]
    good = {"packages": ("lib*", "gcc"), "pin": "version 1*", "priority": 900}
    still.lock(include=("gcc",), pins=(good,))
    with pytest.raises(PinUnused, match=reason) as caught:
        still.lock(include=("gcc",), pins=(good, {**pin, "priority": 900}))
    assert hint in caught.value.hint
    assert (caught.value.index, caught.value.status) == (1, 2)


def test_only_what_is_named_or_needed_by_no_other_package_is_not_marked_automatic(scene):
    """Libraries can have the priority `required`, as on Ubuntu: they stay dependencies."""
    required = {"priority": "required"}
    more = [Deb("lib-a", "1", depends="lib-b | lib-c, lib-d", **required), Deb("lib-b", "1", **required)]
    more += [Deb("lib-e", "1", fields={"Provides": "lib-d"}, **required), Deb("lib-f", "1", **required)]
    more += [Deb("core", "1", essential=True, depends="lib-a", **required)]
    more += [Deb("alone", "1", depends="lib-f", **required)]
    scene.archive.publish(*SHELF, *more)
    automatic = {package.name for package in scene.lock(include=("lib-b",)).packages if package.auto}
    assert automatic == {"libapt", "libbase", "mawk", "lib-a", "lib-e", "lib-f"}


def test_many_at_once_share_a_cache(scene):
    def ask(number):
        return Apt(scene.cache, scene.site, log=print).lock(recipe(include=SETS[number % 2]), scene.files, "amd64")

    with ThreadPoolExecutor(6) as pool:
        locks = list(pool.map(ask, range(6)))
    assert len({lock.digest for lock in locks}) == 2
    assert {len(lock.packages) for lock in locks} == {len(MINBASE), len(MINBASE) + 1}


SETS = ((), ("trust",))


def test_nothing_of_the_machines_own_apt_is_used(tmp_path):
    root = AptRoot(tmp_path / "root", "", ("amd64",))
    folders = [line for line in root.run("apt-config", "dump").stdout.splitlines() if line.startswith("Dir")]
    shown = root.run("apt-config", "shell", "A", "Dir::Etc::main/f", "B", "Dir::State::lists/d", "C", "Dir::Cache/d")
    assert folders
    assert shown.stdout.count(str(tmp_path)) == 3
    machines = [line for line in root.run("apt-config", "dump").stdout.splitlines() if "/etc/apt" in line]
    assert machines == []


def test_packages_asked_without_dependencies_bring_no_others(still):
    wanted = AptRequest(suite=SUITE, include=("apt",))
    lock = still.apt().lock(wanted, still.files, "amd64", without_dependencies=("base", "libapt"))
    assert {package.name: package.auto for package in lock.packages} == {"apt": False, "libapt": True, "base": False}
    with pytest.raises(PackageMissing, match="nothing-like-it"):
        still.apt().lock(wanted, still.files, "amd64", without_dependencies=("nothing-like-it",))
