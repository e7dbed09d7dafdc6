"""Scratch images from the real archive: the linkage check names each missing library, certificates are as the
distribution makes them, and trees for a machine that this is not."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from io import BytesIO
from pathlib import Path
from tarfile import SYMTYPE

import pytest

from flows.config.settings import load
from flows.store.open import open_store
from rootfs.apt.resolve import Apt
from rootfs.bootstrap.bootstrapper import Job, open_tree
from rootfs.elf import reader
from rootfs.elf.linkage import LinkageCheck
from rootfs.lock.lock import Lock
from rootfs.packages import pool
from rootfs.recipe.recipe import files_folder, read_recipe
from rootfs.recipe.scratch import ScratchRecipe
from rootfs.tree.member import Member
from tests.support.factory import SHELF

ARM64 = 183  # e_machine
Tree = dict[str, tuple[Member, bytes]]
Make = Callable[[str, str], tuple[Tree, Lock, Path]]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """The members of a recipe's tree for an architecture, with its lock and the folder of its debs."""
    base = tmp_path_factory.mktemp("scratch")
    site, store = load().site, open_store(str(base / "store"))
    apt = Apt(base / "apt", site, log=str)

    @cache
    def made(name: str, architecture: str) -> tuple[Tree, Lock, Path]:
        path = SHELF / f"{name}.yaml"
        recipe, files = read_recipe(path), files_folder(path)
        assert isinstance(recipe, ScratchRecipe)
        assert recipe.apt_request
        lock = apt.lock(
            recipe.apt_request,
            files,
            architecture,
            without_dependencies=recipe.standalone,
            optional=recipe.optional_packages,
        )
        work = base / f"{name}-{architecture}"
        debs = work / "debs"
        debs.mkdir(parents=True)
        pool.fill_pool(lock.packages, store, site.mirror, offline=False, log=str, folder=base / "partial")
        assert pool.write_debs(lock.packages, store, debs) == {}
        job = Job(recipe, files, lock, architecture, work, debs, None, str)
        with open_tree(job) as members:
            found = {member.path: (member, member.content.read() if member.content else b"") for member in members}
        return found, lock, debs

    return made


def lacking(tree: Tree, without: str = "") -> list[str]:
    """What the gate says of the tree, one file less."""
    closure = LinkageCheck()
    members = (member.with_content(data) if member.is_file else member for member, data in tree.values())
    for _ in closure.observe(member for member in members if member.path != without):
        pass
    return [str(each) for each in closure.missing()]


def elves(tree: Tree) -> Iterator[tuple[str, reader.Elf]]:
    for path, (member, data) in tree.items():
        if member.is_file and data.startswith(reader.MAGIC) and (found := reader.read(BytesIO(data))):
            yield path, found


@pytest.mark.parametrize("name", ["base", "cc"])
def test_each_library_that_is_taken_away_is_named(make: Make, name: str) -> None:
    """Without what nothing is linked with, nothing is missing: of glibc, libraries that only old programs are linked
    with or that are opened at run time, such as libdl.so.2 and libnss_compat.so.2. glibc opens libgcc_s.so.1 to end
    threads, so it is missing where a library does that."""
    tree, _, _ = make(name, "amd64")
    assert lacking(tree) == []
    found = dict(elves(tree))
    linked = {
        name for each in found.values() for name in (*each.needed, *each.opened, each.interpreter.rpartition("/")[2])
    }
    linked.discard("")  # the interpreter of a library
    tried = 0
    for path, each in found.items():
        names = {each.soname, path.rpartition("/")[2]} & linked
        said = lacking(tree, path)
        assert bool(said) == bool(names), (path, said)
        assert all(any(line.endswith(library) for library in names) for line in said)
        tried += bool(names)
    assert tried >= {"base": 2, "cc": 4}[name]


def test_the_certificates_are_those_of_the_distributions_own_program(make: Make, tmp_path: Path) -> None:
    """update-ca-certificates, out of its package, on a folder with nothing but the package."""
    tree, lock, debs = make("static", "amd64")
    [package] = [package for package in lock.packages if package.name == "ca-certificates"]
    root = tmp_path / "root"
    subprocess.run(["dpkg-deb", "-x", debs / package.file_name, root], check=True)
    shared = root / "usr/share/ca-certificates"
    names = sorted(str(path.relative_to(shared)) for path in shared.rglob("*.crt"))
    (root / "etc/ca-certificates.conf").write_text("".join(f"{name}\n" for name in names))
    for folder in ("etc/ssl/certs", "usr/local/share/ca-certificates", "etc/ca-certificates/update.d"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    program = root / "usr/sbin/update-ca-certificates"
    subprocess.run(["sh", program, "--sysroot", root, "--fresh"], check=True, capture_output=True)
    bundle = (root / "etc/ssl/certs/ca-certificates.crt").read_bytes()
    assert len(names) > 100
    assert tree["etc/ssl/certs/ca-certificates.crt"][1] == bundle


@pytest.mark.parametrize("name", ["static", "base"])
def test_a_tree_for_another_architecture_needs_no_emulation(make: Make, name: str) -> None:
    tree, lock, _ = make(name, "arm64")
    assert {package.architecture for package in lock.packages} <= {"arm64", "all"}
    assert {each.kind[2] for _, each in elves(tree)} == ({ARM64} if name == "base" else set())
    assert lacking(tree) == []
    if name == "base":
        assert b"/usr/lib/aarch64-linux-gnu/libc.so.6\0" in tree["etc/ld.so.cache"][1]
        assert tree["lib"][0].kind == SYMTYPE
