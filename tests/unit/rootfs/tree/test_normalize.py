"""Normalization removes the traces of a build, and nothing else."""

import io
import os
import py_compile
import struct
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from rootfs.tree.filters import included
from rootfs.tree.java_keystore import keystore, trusted_certificate
from rootfs.tree.member import Member
from rootfs.tree.normalize import clamp_shadow, date_folders, normalize

EPOCH = 1_700_000_000


def file(path, data=b"x", mtime=0):
    return Member(path, size=len(data), mtime=mtime, content=io.BytesIO(data))


GONE = [
    "var/log/dpkg.log",
    "var/log/apt/history.log",
    "var/log/bootstrap.log",
    "var/cache/ldconfig/aux-cache",
    "var/cache/apt/pkgcache.bin",
    "var/cache/apt/archives/a.deb",
    "var/lib/apt/lists/x_InRelease",
    "etc/passwd-",
    "etc/shadow-",
    "var/lib/dpkg/status-old",
    "var/lib/dpkg/lock",
    "run/lock/x",
    "dev/null",
    "proc/1",
    "sys/x",
    "tmp/x",
    "etc/resolv.conf",
    "etc/hostname",
    "var/lib/dbus/machine-id",
    "etc/.pwd.lock",
    "var/cache/debconf/config.dat-old",
]
STAYS = [
    "etc/passwd",
    "usr/sbin/policy-rc.d",
    "var/log/lastlog",
    "var/lib/dpkg/status",
    "etc/hosts",
    "usr/share/doc/a/copyright",
    "var/cache/debconf/config.dat",
    "dev",
    "run",
    "tmp",
    "var/lib/apt/lists",
    "var/log/apt",
    "var/cache/apt",
    "etc/fstab",
]


@pytest.mark.parametrize("path", GONE)
def test_traces_of_the_build_are_removed(path):
    assert list(normalize([file(path)], EPOCH)) == []


RUN = [
    Member("run", kind=tarfile.DIRTYPE, mode=0o755),
    Member("run/baseforge", kind=tarfile.DIRTYPE),
    Member("run/lock", kind=tarfile.DIRTYPE, mode=0o1777),
    Member("run/secrets", kind=tarfile.DIRTYPE),
    Member("run/sshd", kind=tarfile.DIRTYPE, mode=0o700, uid=7, gid=8),
    Member("run/app.socket", kind=tarfile.FIFOTYPE),
    Member("run/sshd/link", kind=tarfile.SYMTYPE, link="x"),
]


def test_folders_below_run_stay_with_owner_and_mode_and_files_of_the_build_go():
    found = [
        (each.path, each.mode, each.uid, each.gid)
        for each in normalize([*RUN, file("run/app.pid"), file("run/baseforge/x")], EPOCH)
    ]
    assert found == [("run", 0o755, 0, 0), ("run/lock", 0o1777, 0, 0), ("run/sshd", 0o700, 7, 8)]


def test_what_a_recipe_names_stays_wherever_it_is():
    members = [file("etc/hostname"), file("run/[a].conf"), file("run/a.conf")]
    kept = normalize(members, EPOCH, included(["/run/[a].conf", "/etc/hostname"]))
    assert [member.path for member in kept] == ["etc/hostname", "run/[a].conf"]


@pytest.mark.parametrize("path", STAYS)
def test_other_files_stay(path):
    assert [member.path for member in normalize([file(path)], EPOCH)] == [path]


@pytest.mark.parametrize(("before", "after"), [(0, 0), (EPOCH, EPOCH), (EPOCH + 1, EPOCH)])
def test_times_after_the_epoch_are_clamped(before, after):
    [member] = normalize([file("a", mtime=before)], EPOCH)
    assert member.mtime == after


def test_folders_get_one_time_and_nothing_else_does():
    members = [Member("etc", kind=tarfile.DIRTYPE, mtime=EPOCH - 7), file("etc/a", mtime=3), file("etc/b")]
    assert [member.mtime for member in date_folders(members, 5)] == [5, 3, 0]


def test_the_machine_id_is_emptied():
    [member] = normalize([file("etc/machine-id", b"abc\n")], EPOCH)
    assert (member.size, member.content.read(), member.mtime) == (0, b"", EPOCH)


SHADOW = [
    (b"root:*:19000:0:99999:7:::\n", b"root:*:19000:0:99999:7:::\n"),
    (b"root:*:20000:0:99999:7:::\n", b"root:*:19675:0:99999:7:::\n"),
    (b"a:!::0:::::\n", b"a:!::0:::::\n"),
    (b"", b""),
    (b"a:x:0018000:", b"a:x:0018000:"),
    (b"a:x:" + b"9" * 5000 + b":", b"a:x:19675:"),
    (b"strange\nb:x:30000:", b"strange\nb:x:19675:"),
]


@pytest.mark.parametrize(("before", "after"), SHADOW)
def test_dates_of_password_changes_are_clamped(before, after):
    assert clamp_shadow(before, EPOCH // 86_400) == after


def test_links_and_folders_pass():
    members = [Member("bin", kind=tarfile.SYMTYPE, link="usr/bin"), Member("etc", kind=tarfile.DIRTYPE)]
    assert [member.path for member in normalize(members, EPOCH)] == ["bin", "etc"]


def bytecode(flags, mtime, magic=3571):
    return struct.pack("<H2sIII", magic, b"\r\n", flags, mtime, 9) + b"code"


BYTECODE = [
    (bytecode(0, EPOCH + 7), bytecode(0, EPOCH)),
    (bytecode(0, EPOCH - 7), bytecode(0, EPOCH - 7)),
    (bytecode(3, EPOCH + 7), bytecode(3, EPOCH + 7)),  # by hash
    (bytecode(0, EPOCH + 7, 62211), bytecode(0, EPOCH + 7, 62211)),  # of Python 2
    (b"short", b"short"),
]


@pytest.mark.parametrize(("before", "after"), BYTECODE)
def test_bytecode_names_the_time_that_its_source_gets(before, after):
    [member] = normalize([file("a/__pycache__/b.cpython-313.pyc", before)], EPOCH)
    assert member.content.read() == after


def test_python_uses_bytecode_whose_source_was_dated_back(tmp_path):
    """Both are dated by the clock, as pip leaves them; in the image Python must not compile them again."""
    source = tmp_path / "it.py"
    source.write_text("x = 1\n")
    made = Path(py_compile.compile(str(source), doraise=True))
    for each in normalize([file("it.py", source.read_bytes(), EPOCH + 7), file(made.name, made.read_bytes())], EPOCH):
        place = made if each.path == made.name else source
        place.write_bytes(each.content.read())
        os.utime(place, (each.mtime, each.mtime))
    before = made.stat().st_ino
    words = [sys.executable, "-v", "-c", "import it"]
    said = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True).stderr
    assert f"matches {source}" in said.replace(str(tmp_path) + "/./", str(tmp_path) + "/")
    assert made.stat().st_ino == before


def test_dates_in_a_keystore_are_clamped():
    entries = [[trusted_certificate("a", b"A", EPOCH + seconds)] for seconds in (5, 0)]
    [member] = normalize([file("etc/ssl/certs/java/cacerts", keystore(entries[0]))], EPOCH)
    assert member.content.read() == keystore(entries[1])
