"""The hooks that mmdebstrap runs while it makes a tree."""

import os
import subprocess

import pytest

from rootfs.bootstrap import local_repository
from rootfs.bootstrap.mmdebstrap import HOOKS, _contents
from rootfs.packages import deb
from rootfs.packages.decompressed import DecompressedDeb
from tests.support.debs import a_deb, ar, package


@pytest.fixture
def unpack(tmp_path):
    """Unpacks debs of these files into the folder `tree`; returns the exit status and what was said."""

    def run(*debs, gone=()):
        (tmp_path / local_repository.POOL).mkdir()
        (tmp_path / "tree").mkdir()
        said = b""
        for number, files in enumerate(debs):
            path = tmp_path / local_repository.POOL / f"{number}.deb"
            path.write_bytes(a_deb("", files=files) + ar([("_gpgorigin", b"x" * 999)]).removeprefix(deb.MAGIC))
            said += _contents(DecompressedDeb(package(), path, None))
            if number in gone:
                path.unlink()
        command = [HOOKS / "unpack", tmp_path / "tree"]
        done = subprocess.run(
            command, env={**os.environ, "REPOSITORY": str(tmp_path)}, input=said, check=False, capture_output=True
        )
        return done.returncode, done.stderr.decode()

    return run


def test_packages_are_unpacked_without_documentation(unpack, tmp_path):
    debs = [{f"usr/lib/{number}": b"%d" % number, f"usr/share/doc/{number}/copyright": b"x"} for number in range(40)]
    assert unpack(*debs, {"usr/share/man/man1/a.1": b"x", "srv/usr/share/doc/a": b"x"}) == (0, "")
    files = {str(path.relative_to(tmp_path / "tree")) for path in (tmp_path / "tree").rglob("*") if path.is_file()}
    assert files == {*(f"usr/lib/{number}" for number in range(40)), "srv/usr/share/doc/a"}
    assert (tmp_path / "tree/usr/lib/39").read_text() == "39"


def test_folders_that_no_package_has_are_made_by_several_at_once(unpack, tmp_path):
    debs = [{f"{folder}/{number}": b"x" for folder in range(60)} for number in range(32)]
    assert unpack(*debs) == (0, "")
    assert sum(path.is_file() for path in (tmp_path / "tree").rglob("*")) == 60 * 32


@pytest.mark.parametrize("gone", [0, 7, 19])
def test_an_unreadable_package_is_an_error(unpack, gone):
    status, said = unpack(*({f"usr/lib/{number}": b"x" * 20_000} for number in range(20)), gone={gone})
    assert status
    assert f"cannot open {local_repository.POOL}/{gone}.deb" in said


def test_a_tree_that_is_to_be_merged_has_all_programs_in_usr(tmp_path):
    for name in ("bin/sh", "usr/bin/env", "lib/os/release", "lib64/ld.so", "usr/lib/os/more"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "bin/bash").symlink_to("sh")
    (tmp_path / "sbin").symlink_to("usr/sbin")
    for _ in range(2):
        subprocess.run([HOOKS / "merge", tmp_path], check=True)
        assert {each.name: str(each.readlink()) for each in tmp_path.iterdir() if each.is_symlink()} == {
            each: f"usr/{each}" for each in ("bin", "sbin", "lib", "lib64")
        }
        assert (tmp_path / "bin/bash").read_text() == "bin/sh"
        assert sorted(each.name for each in (tmp_path / "lib/os").iterdir()) == ["more", "release"]
