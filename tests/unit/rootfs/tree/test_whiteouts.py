"""Merged layers: whiteouts, replaced files and hard links."""

import io
import tarfile
from contextlib import ExitStack

import pytest

from rootfs.tree.errors import BadTree
from rootfs.tree.member import Member
from rootfs.tree.merge import members_of, merge_layers
from rootfs.tree.tar_writer import tar_chunks


def file(path, data=b"", **more):
    return Member(path, size=len(data), content=io.BytesIO(data), **more)


def folder(path, **more):
    return Member(path, kind=tarfile.DIRTYPE, mode=more.pop("mode", 0o755), **more)


def link(path, target):
    return Member(path, kind=tarfile.LNKTYPE, link=target)


def symlink(path, target):
    return Member(path, kind=tarfile.SYMTYPE, link=target)


def said(member):
    """A member in a few words."""
    if member.is_folder:
        return f"{member.path}/"
    if member.is_file:
        return f"{member.path}: {member.content.read().decode()}"
    return f"{member.path} -> {member.link}"


@pytest.fixture
def tree(tmp_path):
    with ExitStack() as opened:

        def tree(*layers):
            tars = [tmp_path / str(number) for number, _ in enumerate(layers)]
            for layer, tar in zip(layers, tars, strict=True):
                tar.write_bytes(b"".join(map(bytes, tar_chunks(layer))))
            return list(members_of(opened.enter_context(merge_layers(tars))))

        yield tree


@pytest.fixture
def told(tree):
    def told(*layers):
        return [said(member) for member in tree(*layers)]

    return told


REST = ["a/", "a/b/", "a/b/deep: 3", "a/one: 1", "a/two: 2"]
BASE = [folder("a"), file("a/one", b"1"), file("a/two", b"2"), folder("a/b"), file("a/b/deep", b"3"), file("c", b"4")]

LAYERS = {
    "nothing over it": ([], [*REST, "c: 4"]),
    "a file over a file": ([file("c", b"new")], [*REST, "c: new"]),
    "a file is hidden": ([file(".wh.c"), file("a/.wh.one")], ["a/", "a/b/", "a/b/deep: 3", "a/two: 2"]),
    "a folder is hidden with all in it": ([file(".wh.a")], ["c: 4"]),
    "what is hidden can be there anew": ([file(".wh.a"), file("a", b"file")], ["a: file", "c: 4"]),
    "whatever comes first": ([file("a", b"file"), file(".wh.a")], ["a: file", "c: 4"]),
    "an opaque folder": ([folder("a"), file("a/.wh..wh..opq"), file("a/two", b"x")], ["a/", "a/two: x", "c: 4"]),
    "its own files may come first": (
        [folder("a"), file("a/two", b"x"), file("a/.wh..wh..opq")],
        ["a/", "a/two: x", "c: 4"],
    ),
    "a folder that is in it again is a new one": (
        [folder("a"), file("a/.wh..wh..opq"), folder("a/b"), file("a/b/new", b"x")],
        ["a/", "a/b/", "a/b/new: x", "c: 4"],
    ),
    "an opaque root": ([file(".wh..wh..opq"), file("d", b"x")], ["d: x"]),
    "a file over a folder": ([file("a", b"x")], ["a: x", "c: 4"]),
    "a link over a folder": ([symlink("a", "c")], ["a -> c", "c: 4"]),
    "a folder over a file": ([folder("c"), file("c/d", b"x")], [*REST, "c/", "c/d: x"]),
    "what hides nothing": ([file("a/.wh.none"), file(".wh.")], [*REST, "c: 4"]),
    "notes of aufs": ([folder(".wh..wh.plnk"), file(".wh..wh.aufs")], [*REST, "c: 4"]),
    "a hard link to a file below": (
        [link("d", "a/one")],
        [*REST, "c: 4", "d -> a/one"],
    ),
    "one to what the same layer hides": ([link("d", "a/one"), file(".wh.a")], ["c: 4", "d: 1"]),
    "one to what it replaces": ([link("d", "c"), file("c", b"new")], [*REST, "c: new", "d: 4"]),
    "a folder that no layer has": ([file("x/y/z", b"5"), file(".wh.a")], ["c: 4", "x/", "x/y/", "x/y/z: 5"]),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_over_another(name, told):
    over, expected = LAYERS[name]
    for member in (*BASE, *over):
        if member.content:
            member.content.seek(0)
    assert told(BASE, over) == expected


def test_the_upper_folder_s_owner_and_mode_count(tree):
    [found] = tree([folder("a", mode=0o700)], [folder("a", mode=0o1777, uid=7, mtime=9)])
    assert (found.mode, found.uid, found.mtime) == (0o1777, 7, 9)


def test_the_root_has_what_a_layer_says_of_it(tree):
    assert tree([]) == []
    assert [member.mode for member in tree([folder(".", mode=0o700)])] == [0o700]


def test_a_file_of_several_names_is_stored_under_the_first(tree):
    members = tree([file("b", b"x", mode=0o4755, uid=3), link("a", "b")], [link("c", "a")])
    assert [said(member) for member in members] == ["a: x", "b -> a", "c -> a"]
    assert {(member.mode, member.uid) for member in members} == {(0o4755, 3)}


def test_a_hard_link_stays_when_its_first_name_is_removed(told):
    assert told([file("a", b"old"), link("b", "a")], [file("a", b"new")]) == ["a: new", "b: old"]
    assert told([file("a", b"old"), link("b", "a")], [file(".wh.a")]) == ["b: old"]


def test_members_come_sorted_by_the_bytes_of_their_names(tree):
    names = ["a", "a/z", "a-b", "a.b", "ä", b"caf\xe9".decode(errors="surrogateescape")]
    found = tree([folder("a"), *(file(name) for name in reversed(names[1:]))])
    assert [member.path for member in found] == [*names[:-2], names[-1], names[-2]]


def test_contents_are_read_in_pieces_and_more_than_once_in_any_order(tree):
    large = bytes(range(256)) * 4096
    first, second = tree([file("a", large), file("b", b"small")])
    assert second.content.read() == b"small"
    assert first.content.read(10) == large[:10]
    assert first.content.peek(4)[:4] == large[10:14]
    assert first.content.read() == large[10:]


@pytest.mark.parametrize(
    ("layers", "what"),
    [
        ([[link("a", "b")]], "a is a hard link to b, which is not there"),
        ([[file("b")], [file(".wh.b")], [link("a", "b")]], "a is a hard link to b, which is not there"),
        ([[file("a"), file("a/b")]], "a/b is below a, which is no folder"),
        ([[symlink("a", "c"), folder("c")], [file("a/b")]], "a/b is below a, which is no folder"),
    ],
)
def test_contradictory_layers_are_refused(layers, what, tree):
    with pytest.raises(BadTree, match=what):
        tree(*layers)
