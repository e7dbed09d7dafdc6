"""Frames: where a tar is cut, and which frames stay the same when members change."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootfs.tree import tar_writer
from rootfs.tree.member import Member
from rootfs.tree.tar_writer import BLOCK, tar_chunks

KB = 1 << 10


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames a thousandth of their size, so that a small tree has many."""
    for name, size in (("SMALLEST_CHUNK", KB), ("TARGET_CHUNK", 4 * KB), ("LARGEST_CHUNK", 8 * KB), ("READ_SIZE", KB)):
        monkeypatch.setattr(tar_writer, name, size)


def file(path: str, data: bytes) -> Member:
    return Member(path, size=len(data), content=io.BytesIO(data))


def cut(members: Iterable[Member]) -> list[bytes]:
    return [bytes(frame) for frame in tar_chunks(members)]


def tree(*left_out: int, **other: bytes) -> list[bytes]:
    """The frames of a tree of 2,000 files, without some, or with other contents for some."""
    numbers = (number for number in range(2000) if number not in left_out)
    return cut(file(f"usr/lib/f{number:04}", other.get(f"f{number}", b"%d" % number * 50)) for number in numbers)


def test_a_tree_has_many_frames_within_the_limits() -> None:
    found = tree()
    assert 100 < len(found) < 400
    assert all(KB <= len(frame) <= 8 * KB for frame in found[:-1])
    with tarfile.open(fileobj=io.BytesIO(b"".join(found))) as archive:
        assert len(archive.getnames()) == 2000


@pytest.mark.parametrize(
    "other",
    [{"f1000": b"x" * 200}, {"f1000": b"x" * 3000}, {"f1000": b"x" * 50_000}, {"f1000": b""}],
    ids=["same size", "larger", "very large", "empty"],
)
def test_a_changed_file_leaves_most_frames_as_they_were(other: dict[str, bytes]) -> None:
    before, after = tree(), tree(**other)
    assert before != after
    assert len(set(before) - set(after)) <= 12
    assert after[: len(before) // 3] == before[: len(before) // 3]
    assert after[-len(before) // 3 :] == before[-len(before) // 3 :]


def test_a_removed_file_leaves_most_frames_as_they_were() -> None:
    before, after = tree(), tree(1000)
    assert 0 < len(set(before) - set(after)) <= 12


def test_a_folder_high_up_begins_a_frame() -> None:
    def members(name: str) -> list[Member]:
        return [file("bin", b"x" * 2000), Member(name, kind=tarfile.DIRTYPE), file(f"{name}/f", b"y")]

    assert [len(frame) for frame in cut(members("usr/share/doc"))] == [2560, 3 * BLOCK + 2 * BLOCK]
    assert len(cut(members("usr/share/doc/apt"))) == 1
    assert len(cut([file("b", b""), Member("usr", kind=tarfile.DIRTYPE)])) == 1  # not yet enough for a frame


def test_a_large_file_is_cut_where_its_own_bytes_say() -> None:
    data = b"".join(b"%8d" % number for number in range(5 * KB))
    alone, behind = cut([file("a", data)]), cut([file("_", b""), file("a", data)])
    assert [len(frame) for frame in alone] == [BLOCK + 8 * KB, 8 * KB, 8 * KB, 8 * KB, 8 * KB + 2 * BLOCK]
    assert alone[1:] == behind[1:]
    assert max(map(len, behind)) <= 9 * KB + 2 * BLOCK


@given(
    st.lists(
        st.tuples(st.text("abc/", min_size=1, max_size=9), st.integers(0, 30 * KB), st.booleans()),
        max_size=40,
    )
)
def test_the_frames_are_one_tar_however_the_contents_are_read(files: list[tuple[str, int, bool]]) -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return super().read(min(size or 0, 700))

    def members(content: type[io.BytesIO]) -> list[Member]:
        return [
            Member(name, kind=tarfile.DIRTYPE) if is_folder else Member(name, size=size, content=content(bytes(size)))
            for name, size, is_folder in files
        ]

    found = cut(members(io.BytesIO))
    assert cut(members(Slow)) == found
    assert all(len(frame) >= KB for frame in found[:-1])
    assert all(len(frame) <= 9 * KB + 2 * BLOCK for frame in found[:-1])
    with tarfile.open(fileobj=io.BytesIO(b"".join(found))) as archive:
        sizes = [0 if is_folder else size for _, size, is_folder in files]
        assert [member.size for member in archive] == sizes
