"""Valid tarballs, of any program, order and compression, give the packed tree."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import subprocess
import tarfile
from pathlib import Path

import pytest
import zstandard

from rootfs.errors import BuildError
from rootfs.tarball.errors import TarballRefused
from rootfs.tarball.sanitize import device_rules
from rootfs.tree.normalize import normalize, tree_epoch
from tests.support.elves import ARM64, elf
from tests.support.hostile import CAPABILITY, END, base256, file, folder, hardlink, header, pax, symlink
from tests.support.trees import grown, shown

TREE = [
    folder(b"./"),
    symlink(b"./bin", b"usr/bin"),
    folder(b"./usr/"),
    folder(b"./usr/bin/"),
    file(b"./usr/bin/tool", b"#!/bin/sh\n", mode=0o755, mtime=1000),
    hardlink(b"./usr/bin/also", b"./usr/bin/tool"),
    file(b"./etc/motd", b"hello\n", uid=7, gid=8, mtime=2000),
]
PLAIN = b"".join(TREE) + END
FOUND = {
    ".": None,
    "bin": "-> usr/bin",
    "etc": None,
    "etc/motd": b"hello\n",
    "usr": None,
    "usr/bin": None,
    "usr/bin/also": b"#!/bin/sh\n",
    "usr/bin/tool": "= usr/bin/also",
}


def tree(data: bytes | Path, place: Path, **keys):
    place.mkdir(exist_ok=True)
    with grown(data, place, **keys) as members:
        return {member.path: shown(member) for member in members}


def compressions() -> dict[str, bytes]:
    half = len(PLAIN) // 2
    halves = PLAIN[:half], PLAIN[half:]
    skipped = b"\x50\x2a\x4d\x18\x04\x00\x00\x00skip"
    return {
        "tar": PLAIN,
        "gz": gzip.compress(PLAIN),
        "bz2": bz2.compress(PLAIN),
        "xz": lzma.compress(PLAIN, preset=9),
        "zst": zstandard.compress(PLAIN, 19),
        "gz of two": b"".join(map(gzip.compress, halves)),
        "bz2 of two": b"".join(map(bz2.compress, halves)),
        "xz of two": b"".join(map(lzma.compress, halves)),
        "xz with padding": lzma.compress(halves[0]) + bytes(8) + lzma.compress(halves[1]) + bytes(4),
        "zst of two": b"".join(map(zstandard.compress, halves)),
        "zst behind a frame that is skipped": skipped + zstandard.compress(PLAIN),
        "zst in parts": b"".join(zstandard.compress(PLAIN[at : at + 999]) for at in range(0, len(PLAIN), 999)),
        "padded to a record": PLAIN.ljust(10240, b"\0"),
    }


@pytest.mark.parametrize("name", compressions())
def test_the_content_says_how_it_is_compressed(name, tmp_path):
    assert tree(compressions()[name], tmp_path) == FOUND


@pytest.mark.parametrize("order", [TREE[::-1], TREE[3:] + TREE[:3], TREE[4:]])
def test_the_order_of_members_means_nothing(order, tmp_path):
    found = tree(b"".join(order) + END, tmp_path)
    assert list(found) == sorted(found)
    assert found.items() <= FOUND.items()
    assert {"usr", "usr/bin", "etc"} <= found.keys()


def members(data: bytes, place: Path, **keys):
    with grown(data, place, **keys) as found:
        return {member.path: member for member in found}


def test_owners_modes_and_times_stay_and_hard_links_have_those_of_their_file(tmp_path):
    found = members(PLAIN, tmp_path)
    motd, tool, also = found["etc/motd"], found["usr/bin/tool"], found["usr/bin/also"]
    assert (motd.uid, motd.gid, motd.mode, motd.mtime) == (7, 8, 0o644, 2000)
    assert [(each.mode, each.mtime) for each in (tool, also)] == [(0o755, 1000)] * 2
    assert (found["."].mode, found["."].uid) == (0o755, 0)


TIMES = [
    ((10, 30, 20), 30),
    ((-5,), 0),
    ((40, 1 << 40), 40),  # nobody knows how old that is
    ((40, (1 << 32) - 1), (1 << 32) - 1),
]


@pytest.mark.parametrize(("times", "epoch"), TIMES)
def test_a_tree_is_as_new_as_its_newest_member(times, epoch, tmp_path):
    data = b"".join(file(b"f%d" % time, mtime=base256(time, 12)) for time in times) + END
    with grown(data, tmp_path) as found:
        clean, newest = tree_epoch(found, None)
        assert newest == epoch
        assert all(0 <= member.mtime <= epoch for member in normalize(clean, epoch))


def test_the_time_of_the_root_counts_too_and_a_recipe_may_say_another(tmp_path):
    data = folder(b"./", mtime=50) + file(mtime=20) + END
    assert members(data, tmp_path)["."].mtime == 50
    (tmp_path / "b").mkdir()
    assert members(data, tmp_path / "b", epoch=9)["."].mtime == 9


def test_attributes_and_capabilities_are_kept(tmp_path):
    said = (b"SCHILY.xattr.security.capability", CAPABILITY), (b"LIBARCHIVE.xattr.user.a%3Db", b"/wA")
    found = members(pax(*said) + file(b"ping") + END, tmp_path)["ping"]
    assert found.xattrs == {"security.capability": CAPABILITY, "user.a=b": b"\xff\x00"}


def test_files_of_a_running_container_are_left_out(tmp_path):
    data = file(b"run/lock/x") + file(b"dev/shm/x") + file(b"etc/hostname") + header(b"dev/null", b"3", device=(1, 3))
    assert tree(data + file() + END, tmp_path) == {".": None, "f": b"x"}


def test_folders_below_run_stay(tmp_path):
    data = header(b"run/lock", b"5", mode=0o1777) + file(b"run/lock/x")
    found = members(data + file() + END, tmp_path)
    assert (found["run/lock"].mode, "run/lock/x" in found) == (0o1777, False)


def test_usual_devices_stay_where_they_are_asked_for(tmp_path):
    devices = b"".join(
        header(b"dev/" + name, b"3", device=(1, number)) for name, number in [(b"null", 3), (b"kmsg", 11)]
    )
    with grown(devices + END, tmp_path, devices=True) as found:
        kept = {member.path: shown(member) for member in normalize(found, 0, device_rules())}
    assert kept == {".": None, "dev": None, "dev/null": "1:3"}


def test_the_machine_of_the_programs_must_be_that_of_the_image(tmp_path):
    data = file(b"a", elf(machine=ARM64)) + file(b"b", elf(machine=ARM64)) + file(b"c", elf()) + END
    with pytest.raises(BuildError, match="for arm64, and the image is for amd64"):
        tree(data, tmp_path / "amd64", architecture="amd64")
    assert tree(data, tmp_path / "arm64", architecture="arm64")
    assert tree(file() + END, tmp_path / "none", architecture="s390x")


def made(place: Path) -> Path:
    """A folder with everything that an ordinary user can make."""
    root = place / "root"
    (root / "usr/lib").mkdir(parents=True)
    (root / "usr/bin").mkdir()
    (root / "lib").symlink_to("usr/lib")
    (root / "usr/bin/tool").write_text("x" * 1000)
    os.link(root / "usr/bin/tool", root / "usr/bin/also")
    (root / ("n" * 200)).write_text("long")
    (root / "/".join(["d" * 60] * 4)).mkdir(parents=True)
    (root / os.fsdecode(b"caf\xe9")).write_text("odd")
    (root / "link").symlink_to("t" * 200)
    with (root / "usr/lib/sparse").open("wb") as sparse:
        for piece in range(20):
            sparse.seek(piece * 65536)
            sparse.write(b"data")
        sparse.truncate(3 << 20)
    return root


def expected(root: Path) -> dict[str, bytes | str | None]:
    found: dict[str, bytes | str | None] = {".": None}
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        found[name] = f"-> {path.readlink()}" if path.is_symlink() else None if path.is_dir() else path.read_bytes()
    return found | {"usr/bin/tool": "= usr/bin/also"}


WAYS = [
    ["--format=gnu"],
    ["--format=gnu", "--sparse"],
    ["--format=posix"],
    *(["--format=posix", "--sparse", f"--sparse-version={version}"] for version in ("0.0", "0.1", "1.0")),
    ["--format=posix", "--xattrs", "--acls", "--selinux", "--label=it"],
    ["--format=gnu", "--one-file-system"],
]


@pytest.mark.parametrize("options", WAYS, ids=" ".join)
def test_every_way_of_gnu_tar(options, tmp_path):
    root = made(tmp_path)
    subprocess.run(["tar", *options, "-cf", tmp_path / "a.tar", "-C", root, "."], check=True, capture_output=True)
    assert tree(tmp_path / "a.tar", tmp_path) == expected(root)


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_way_of_python(form, tmp_path):
    root = made(tmp_path)
    with tarfile.open(tmp_path / "a.tar", "w:gz", format=form, errors="surrogateescape") as archive:
        archive.add(root, arcname="./")
    assert tree(tmp_path / "a.tar", tmp_path) == expected(root)


def test_an_old_tar_without_magic(tmp_path):
    out = io.BytesIO()
    for piece in (header(b"d/", b"\0", magic=bytes(8)), file(b"d/f", kind=b"\0", magic=bytes(8))):
        out.write(piece)
    assert tree(out.getvalue() + END, tmp_path) == {".": None, "d": None, "d/f": b"x"}


def test_a_refusal_has_a_hint(tmp_path):
    with pytest.raises(
        TarballRefused, match=r"(?s)rootfs.tar: etc/sda is a device .*`leave_out` with a pattern of /etc/sda"
    ):
        tree(header(b"etc/sda", b"4", device=(8, 0)) + END, tmp_path)
