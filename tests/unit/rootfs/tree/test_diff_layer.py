"""Diff layers: the difference between two trees, which turns the one into the other."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootfs.tree.diff_layer import diff_members
from rootfs.tree.errors import BadTree
from rootfs.tree.member import Member, from_tar
from rootfs.tree.merge import members_of, merge_layers
from rootfs.tree.paths import sort_key
from rootfs.tree.tar_writer import tar_chunks

MTIME = 1_700_000_000


def folder(path: str, mode: int = 0o755, mtime: int = MTIME) -> Member:
    return Member(path, kind=tarfile.DIRTYPE, mode=mode, mtime=mtime)


def file(path: str, text: str = "", mode: int = 0o644, **more: object) -> Member:
    return replace(Member(path, mode=mode, mtime=MTIME), **more).with_content(text.encode())  # type: ignore[arg-type]


def symlink(path: str, to: str) -> Member:
    return Member(path, kind=tarfile.SYMTYPE, mode=0o777, mtime=MTIME, link=to)


def link(path: str, to: Member) -> Member:
    return replace(to, path=path, kind=tarfile.LNKTYPE, size=0, link=to.path, content=None, xattrs={})


def tar(members: Iterable[Member], path: Path) -> Path:
    """A plain tar of the members, with whose contents it is done."""
    path.write_bytes(b"".join(tar_chunks(members)))
    return path


def again(members: Iterable[Member]) -> list[Member]:
    """The members with contents that are there to be read."""
    fresh = []
    for each in members:
        data = each.content.getvalue() if isinstance(each.content, io.BytesIO) else b""
        fresh.append(each.with_content(data) if each.is_file else each)
    return fresh


def told(members: Iterable[Member]) -> list[tuple[Member, bytes]]:
    """All that members say."""
    return [(replace(each, content=None), each.content.read() if each.content else b"") for each in members]


def delta(parent: list[Member], child: list[Member], place: Path) -> list[tuple[Member, bytes]]:
    """The members of the layer; seen as well that it makes the child of the parent, whichever way contents come."""
    below = tar(again(parent), place / "parent")
    with merge_layers([below]) as tree:
        made = told(diff_members(tree, again(child)))
        streamed = io.BytesIO(b"".join(tar_chunks(again(child))))
        assert told(diff_members(tree, from_tar(streamed))) == made
    layer = tar((each.with_content(data) if each.is_file else each for each, data in made), place / "layer")
    with merge_layers([below, layer]) as tree:
        assert told(members_of(tree)) == told(again(child))
    return made


ROOT, ETC = folder("."), folder("etc")
A = file("etc/a", "a")
USED = [ROOT, ETC, A]

TABLE = {
    "nothing": ([ROOT, ETC, A], [ROOT, ETC, A], ["."]),
    "a file added": ([ROOT, ETC], [ROOT, ETC, A], [".", "etc", "etc/a"]),
    "a folder added": ([ROOT], [ROOT, ETC, A], [".", "etc", "etc/a"]),
    "content of the same size": (USED, [ROOT, ETC, file("etc/a", "b")], [".", "etc", "etc/a"]),
    "content longer": (USED, [ROOT, ETC, file("etc/a", "ab")], [".", "etc", "etc/a"]),
    "the mode alone": (USED, [ROOT, ETC, file("etc/a", "a", 0o600)], [".", "etc", "etc/a"]),
    "the owner alone": (USED, [ROOT, ETC, file("etc/a", "a", uid=7)], [".", "etc", "etc/a"]),
    "the time alone": (USED, [ROOT, ETC, file("etc/a", "a", mtime=1)], [".", "etc", "etc/a"]),
    "a folder's mode alone": (USED, [ROOT, folder("etc", 0o700), A], [".", "etc"]),
    "a folder's time alone": (USED, [ROOT, folder("etc", mtime=1), A], [".", "etc"]),
    "an attribute": (USED, [ROOT, ETC, file("etc/a", "a", xattrs={"user.x": b"1"})], [".", "etc", "etc/a"]),
    "an attribute gone": ([ROOT, ETC, file("etc/a", "a", xattrs={"user.x": b"1"})], USED, [".", "etc", "etc/a"]),
    "a file gone": (USED, [ROOT, ETC], [".", "etc", "etc/.wh.a"]),
    "a folder gone": (USED, [ROOT], [".", ".wh.etc"]),
    "two gone, and another with the beginning of their name": (
        [ROOT, ETC, A, file("etc.a"), file("etcetera")],
        [ROOT, file("etc.a")],
        [".", ".wh.etc", ".wh.etcetera"],
    ),
    "a file to a folder": ([ROOT, file("etc")], [ROOT, ETC, A], [".", "etc", "etc/a"]),
    "a folder to a file": (USED, [ROOT, file("etc", "x")], [".", "etc"]),
    "a folder to a link": (USED, [ROOT, symlink("etc", "usr")], [".", "etc"]),
    "a link to a folder": ([ROOT, symlink("etc", "usr")], USED, [".", "etc", "etc/a"]),
    "a link elsewhere": ([ROOT, symlink("l", "a")], [ROOT, symlink("l", "b")], [".", "l"]),
    "a link as it was": ([ROOT, symlink("l", "a")], [ROOT, symlink("l", "a")], ["."]),
    "a device": (
        [ROOT, Member("d", kind=tarfile.CHRTYPE, device=(1, 3))],
        [ROOT, Member("d", kind=tarfile.CHRTYPE, device=(1, 5))],
        [".", "d"],
    ),
    "order is by folders": (
        [ROOT],
        [ROOT, folder("a"), file("a/z"), file("a-b"), file("a.b")],
        [".", "a", "a/z", "a-b", "a.b"],
    ),
}


@pytest.mark.parametrize(("parent", "child", "paths"), TABLE.values(), ids=TABLE)
def test_every_kind_of_difference_makes_a_member(parent, child, paths, tmp_path):
    assert [member.path for member, _ in delta(parent, child, tmp_path)] == paths


A_ALONE, B_ALONE = file("a", "x"), file("b", "x")
A_B, A_B_C = [ROOT, A_ALONE, link("b", A_ALONE)], [ROOT, A_ALONE, link("b", A_ALONE), link("c", A_ALONE)]
OTHER = file("a", "y")

HARD_LINKS = {
    "as they were": (A_B_C, A_B_C, ["."]),
    "one more name": ([ROOT, A_ALONE], A_B, [".", "a", "b -> a"]),
    "a third name": (A_B, A_B_C, [".", "a", "b -> a", "c -> a"]),
    "the last name gone": (A_B_C, A_B, [".", ".wh.c"]),
    "the first name gone": (A_B, [ROOT, B_ALONE], [".", ".wh.a"]),
    "both gone": (A_B, [ROOT], [".", ".wh.a", ".wh.b"]),
    "new both": ([ROOT], A_B, [".", "a", "b -> a"]),
    "other content": (A_B, [ROOT, OTHER, link("b", OTHER)], [".", "a", "b -> a"]),
    "parted": (A_B, [ROOT, A_ALONE, B_ALONE], [".", "b"]),
    "joined": ([ROOT, A_ALONE, B_ALONE], A_B, [".", "a", "b -> a"]),
    "one of three parted": (A_B_C, [ROOT, A_ALONE, B_ALONE, link("c", A_ALONE)], [".", "b"]),
    "the first of three parted": (
        A_B_C,
        [ROOT, A_ALONE, B_ALONE, link("c", B_ALONE)],
        [".", "b", "c -> b"],
    ),
    "the first of three other": (A_B_C, [ROOT, OTHER, B_ALONE, link("c", B_ALONE)], [".", "a"]),
    "a name before": (
        [ROOT, B_ALONE],
        [ROOT, A_ALONE, link("b", A_ALONE)],
        [".", "a", "b -> a"],
    ),
    "of a symbolic link": (
        [ROOT, symlink("a", "t")],
        [ROOT, symlink("a", "t"), link("b", symlink("a", "t"))],
        [".", "a", "b -> a"],
    ),
    "in folders that are as they were": (
        [ROOT, ETC, A, folder("usr")],
        [ROOT, ETC, A, folder("usr"), link("usr/b", A)],
        [".", "etc", "etc/a", "usr", "usr/b -> etc/a"],
    ),
}


@pytest.mark.parametrize(("parent", "child", "said"), HARD_LINKS.values(), ids=HARD_LINKS)
def test_hard_links_never_lead_out_of_the_layer(parent, child, said, tmp_path):
    made = [member for member, _ in delta(parent, child, tmp_path)]
    assert [f"{m.path} -> {m.link}" if m.kind == tarfile.LNKTYPE else m.path for m in made] == said


def test_a_whiteout_is_an_empty_file_without_a_time(tmp_path):
    made = {member.path: (member, data) for member, data in delta(USED, [ROOT, ETC], tmp_path)}
    assert made["etc/.wh.a"] == (Member("etc/.wh.a"), b"")


@pytest.mark.parametrize("path", [".wh.a", "etc/.wh.a", "etc/.wh..wh..opq"])
def test_a_name_that_would_remove_another_file_is_refused(path, tmp_path):
    with merge_layers([tar(again([ROOT, ETC]), tmp_path / "parent")]) as tree, pytest.raises(BadTree, match=r"\.wh\."):
        list(diff_members(tree, again([ROOT, ETC, file(path)])))


def test_a_large_content_out_of_a_tar_is_compared_to_its_last_byte(tmp_path):
    size = 17 << 20  # more than what is copied in memory
    one, two = ([ROOT, file("a", "x" * size + end)] for end in "ab")
    assert [member.path for member, _ in delta(one, one, tmp_path)] == ["."]
    assert [member.path for member, _ in delta(one, two, tmp_path)] == [".", "a"]


NAMES = ("a", "b", "a/a", "a/b", "b/a", "a/a/a", "a.a")
KINDS = st.sampled_from(["folder", "file", "other file", "private file", "symbolic link", "hard link"])


@st.composite
def trees(draw: st.DrawFn) -> list[Member]:
    """Small trees of few names, so that two of them have much in common."""
    made = {".": draw(st.sampled_from([ROOT, folder(".", 0o700)]))}
    for path in sorted(draw(st.sets(st.sampled_from(NAMES))), key=sort_key):
        above = made.get(path.rpartition("/")[0] or ".")
        if above and above.is_folder:
            made[path] = _entry(path, draw(KINDS), draw(st.integers(0, 5)), made)
    return list(made.values())


def _entry(path: str, kind: str, number: int, made: dict[str, Member]) -> Member:
    files = [member for member in made.values() if member.is_file]
    if kind == "hard link" and files:
        return link(path, files[number % len(files)])
    kinds = {"folder": folder(path), "other file": file(path, "y"), "private file": file(path, "x", 0o600)}
    return symlink(path, "a") if kind == "symbolic link" else kinds.get(kind, file(path, "x"))


@given(trees(), trees())
def test_the_diff_layer_turns_one_tree_into_the_other(tmp_path_factory, parent, child):
    delta(parent, child, tmp_path_factory.mktemp("trees"))


@given(st.lists(trees(), min_size=3, max_size=4))
def test_layers_on_layers(tmp_path_factory, versions):
    place = tmp_path_factory.mktemp("trees")
    tars: list[Path] = []
    for number, version in enumerate(versions):
        with merge_layers(tars) as tree:
            tars.append(tar(told_again(diff_members(tree, again(version))), place / str(number)))
    with merge_layers(tars) as tree:
        assert told(members_of(tree)) == told(again(versions[-1]))


def told_again(members: Iterable[Member]) -> list[Member]:
    """The members as they are when all have passed."""
    return [each.with_content(data) if each.is_file else each for each, data in told(members)]
