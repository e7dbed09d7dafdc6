"""Merging of layers, also those of other programs."""

from __future__ import annotations

import time

import pytest

from rootfs.tree.errors import BadTree
from rootfs.tree.member import Member
from rootfs.tree.merge import members_of, merge_layers
from tests.unit.rootfs.tree.test_diff_layer import ETC, ROOT, A, file, folder, link, symlink, tar, told


def paths(tmp_path, *layers: list[Member]) -> list[str]:
    tars = [tar(layer, tmp_path / str(number)) for number, layer in enumerate(layers)]
    with merge_layers(tars) as tree:
        return [member.path for member in members_of(tree)]


def lower() -> list[Member]:
    return [ROOT, ETC, file("etc/a", "a"), folder("etc/d"), file("etc/d/x"), file("etcetera")]


CASES = {
    "a whiteout behind what is new": ([ETC, file("etc/n"), file("etc/.wh.a")], ["etc", "etc/d", "etc/d/x", "etc/n"]),
    "a whiteout of a folder": ([file(".wh.etc")], []),
    "one of what is not there": ([file(".wh.nothing")], ["etc", "etc/a", "etc/d", "etc/d/x"]),
    "whiteouts speak of layers below": (
        [file("etc/a", "new"), file("etc/.wh.a")],
        ["etc", "etc/a", "etc/d", "etc/d/x"],
    ),
    "an opaque folder": ([ETC, file("etc/n"), file("etc/.wh..wh..opq")], ["etc", "etc/n"]),
    "a file over a folder": ([file("etc")], ["etc"]),
    "a link over a folder": ([symlink("etc", "usr")], ["etc"]),
    "a folder over a file": ([folder("etc/a"), file("etc/a/b")], ["etc", "etc/a", "etc/a/b", "etc/d", "etc/d/x"]),
}


@pytest.mark.parametrize(("upper", "expected"), CASES.values(), ids=CASES)
def test_whiteouts_and_replacements(upper, expected, tmp_path):
    assert paths(tmp_path, lower(), upper) == [".", *expected, "etcetera"]


def test_an_opaque_root(tmp_path):
    assert paths(tmp_path, lower(), [file("n"), file(".wh..wh..opq")]) == [".", "n"]


def test_a_hard_link_to_a_file_of_a_layer_below(tmp_path):
    """BuildKit's layers have such; the name that comes first is the file."""
    tars = [tar([ROOT, ETC, file("etc/b", "text")], tmp_path / "0"), tar([link("a", file("etc/b"))], tmp_path / "1")]
    with merge_layers(tars) as tree:
        members = {member.path: (member, data) for member, data in told(members_of(tree))}
    assert members["a"][1] == b"text"
    assert members["etc/b"][0].link == "a"


def test_a_hard_link_to_nothing(tmp_path):
    with pytest.raises(BadTree, match="b is a hard link to etc/a, which is not there"):
        paths(tmp_path, [ROOT, link("b", A)])


def test_data_that_are_no_tar_are_refused(tmp_path):
    path = tmp_path / "no"
    path.write_bytes(b"no tar" * 1000)
    with pytest.raises(BadTree, match="a layer cannot be read"), merge_layers([path]):
        pass


def test_many_whiteouts_over_many_files_take_one_pass(tmp_path):
    """A hostile image has a whiteout for each of its files. Looking at all files for each would take minutes."""
    below = [ROOT, *(file(f"f{number:05}") for number in range(20_000))]
    above = [file(f"d{number:05}/.wh..wh..opq") for number in range(10_000)]
    replaced = [folder(f"r{number:05}") for number in range(10_000)]
    began = time.process_time()
    found = paths(tmp_path, [*below, *replaced], [*above, *(file(each.path) for each in replaced)])
    assert len(found) == 30_001
    assert time.process_time() - began < 20
