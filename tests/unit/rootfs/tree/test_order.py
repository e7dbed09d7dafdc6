"""The files of a package are together in a layer, by dpkg's checksums in the tree."""

import hashlib
import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootfs.tree.member import from_tree
from rootfs.tree.order import CHECKSUMS, LARGEST, in_package_order, packages_of
from rootfs.tree.tar_writer import tar_chunks

INFO = "/".join(CHECKSUMS)


def sums(tree: Path, name: str, *paths: str) -> Path:
    """A package's file of checksums."""
    file = tree / INFO / f"{name}.md5sums"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{'0' * 32}  {path}\n" for path in paths), errors="surrogateescape")
    return file


def test_a_tree_without_packages_has_no_order(tmp_path):
    assert packages_of(tmp_path) == {}


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"a": ["usr/bin/x", "usr/share/a b"]}, {"usr/bin/x": "a", "usr/share/a b": "a"}),
        ({"a": ["./usr/bin/x"]}, {"usr/bin/x": "a"}),
        ({"a:amd64": ["usr/lib/x"]}, {"usr/lib/x": "a"}),
        ({"b": ["usr/bin/x"], "a": ["usr/bin/x"]}, {"usr/bin/x": "a"}),
        ({"a-b": ["usr/bin/x"], "a:amd64": ["usr/bin/x"]}, {"usr/bin/x": "a"}),
        ({"a": ["bin/x", "lib/y"]}, {"usr/bin/x": "a", "usr/lib/y": "a"}),
        ({"a": ["etc/x", "var/lib/x", "x"]}, {}),
        ({"a": ["usr/\udcff"]}, {"usr/\udcff": "a"}),
        ({"a": ["", "../usr/x"]}, {"../usr/x": "a"}),  # no path of a tree, so nobody asks for it
    ],
)
def test_dpkgs_checksums_say_what_a_package_has_brought(tmp_path, said, found):
    for name, paths in said.items():
        sums(tmp_path, name, *paths)
    assert packages_of(tmp_path) == found


@pytest.mark.parametrize("part", range(len(CHECKSUMS)), ids=CHECKSUMS)
def test_no_link_leads_out_of_the_tree(tmp_path, part):
    sums(tmp_path / "other", "a", "usr/bin/x")
    link = (tmp_path / "tree").joinpath(*CHECKSUMS[: part + 1])
    link.parent.mkdir(parents=True)
    link.symlink_to((tmp_path / "other").joinpath(*CHECKSUMS[: part + 1]))
    assert packages_of(tmp_path / "tree") == {}


def test_only_regular_files_of_a_sensible_size_are_read(tmp_path):
    sums(tmp_path, "a", "usr/bin/a")
    folder = tmp_path / INFO
    os.mkfifo(folder / "b.md5sums")
    (folder / "c.md5sums").symlink_to(sums(tmp_path, "c.not", "usr/bin/c").rename(folder / "elsewhere"))
    (folder / "d.md5sums").mkdir()
    os.truncate(sums(tmp_path, "e"), LARGEST)
    sums(tmp_path, "f", "usr/bin/f")
    assert packages_of(tmp_path) == {"usr/bin/a": "a", "usr/bin/f": "f"}


def test_the_files_of_a_package_are_together_in_a_layer(tmp_path):
    files = ["etc/a", "usr/bin/a", "usr/bin/b", "usr/bin/own", "usr/share/doc/a/copyright", "usr/share/doc/b/copyright"]
    for path in files:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    (tmp_path / "usr/bin/b2").hardlink_to(tmp_path / "usr/bin/b")
    sums(tmp_path, "b", "usr/bin/b2", "usr/bin/b", "usr/share/doc/b/copyright")
    sums(tmp_path, "a", "usr/share/doc/a/copyright", "usr/bin/a", "usr/bin/gone", "etc/a")
    members = list(from_tree(tmp_path))
    assert [member.path for member in members] == [
        *(".", "usr", "usr/bin", "usr/bin/a", "usr/share", "usr/share/doc", "usr/share/doc/a"),
        *("usr/share/doc/a/copyright", "usr/bin/b", "usr/bin/b2", "usr/share/doc/b", "usr/share/doc/b/copyright"),
        *("etc", "etc/a", "usr/bin/own", "var", "var/lib", "var/lib/dpkg", INFO),
        *(f"{INFO}/a.md5sums", f"{INFO}/b.md5sums"),
    ]
    assert {member.path: member.link for member in members if member.link} == {"usr/bin/b2": "usr/bin/b"}


PATHS = st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join), max_size=20)


@given(PATHS, st.data())
def test_each_path_comes_once_and_its_folders_before_it(some, data):
    above = [path[:at] for path in some for at, letter in enumerate(path) if letter == "/"]
    paths = [".", *sorted({*some, *above}, key=lambda path: path.split("/"))]
    packages = data.draw(st.dictionaries(st.sampled_from(paths[1:] or ["x"]), st.sampled_from("pqr")))
    found = list(in_package_order(paths, packages))
    assert sorted(found) == sorted(paths)
    for at, path in enumerate(found):
        assert path == "." or "/" not in path or path.rpartition("/")[0] in found[:at]
    leading = {path for path in paths if any(each == path or each.startswith(f"{path}/") for each in packages)}
    assert [path for path in found if path not in leading] == [path for path in paths if path not in leading]
    assert found[0] == "."


def pieces(tree: Path) -> set[bytes]:
    """The pieces of a tree's layer, by what they are."""
    return {hashlib.sha256(frame).digest() for frame in tar_chunks(from_tree(tree))}


@pytest.mark.parametrize("known", [True, False], ids=["packages", "a folder"])
def test_one_more_package_changes_few_pieces(tmp_path, known):
    noise = random.Random(1)

    def install(name: str) -> None:
        files = [f"usr/bin/{name}", f"usr/lib/{name}/data", f"usr/share/doc/{name}/changelog", f"usr/share/{name}/data"]
        for path in files:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(noise.randbytes(300_000))
        if known:
            sums(tmp_path, name, *files)

    for number in range(40):
        install(f"package{number:02}")
    before = pieces(tmp_path)
    install("package19-more")
    after = pieces(tmp_path)
    assert len(after) > 10
    assert (len(after - before) < len(after) / 3) == known
