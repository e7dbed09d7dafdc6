"""A part of a file as a stream."""

import os

import pytest

from rootfs.system.file_slice import FileSlice


@pytest.fixture
def path(tmp_path):
    (tmp_path / "file").write_bytes(bytes(range(100)))
    return tmp_path / "file"


@pytest.mark.parametrize(("start", "size"), [(0, 100), (10, 5), (99, 1), (50, 0), (100, 0)])
def test_it_has_no_more_than_its_part(path, start, size):
    with FileSlice.open(path, start, size) as part:
        assert part.read() == bytes(range(start, start + size))
        assert part.read(1) == b""


def test_it_goes_to_any_place_of_its_own(path):
    with FileSlice.open(path, 20, 10) as part:
        assert (part.seek(4), part.read(2)) == (4, bytes([24, 25]))
        assert (part.seek(-1, os.SEEK_END), part.read()) == (9, bytes([29]))
        assert (part.seek(0), part.read(1), part.seek(1, os.SEEK_CUR), part.read(1)) == (0, b"\x14", 2, b"\x16")
        assert (part.seek(11), part.read()) == (11, b"")


def test_parts_of_one_file_are_read_one_beside_the_other(path):
    with path.open("rb") as file:
        with FileSlice.of(file, 0, 3) as one, FileSlice.of(file, 50, 3) as other:
            assert (one.read(1), other.read(1), one.read(), other.read()) == (b"\0", b"2", b"\1\2", b"34")
        assert file.read(1) == b"\0"  # still open, and where it was


def test_closing_it_closes_the_file_that_it_owns(path):
    with path.open("rb") as file:
        FileSlice(file, 0, 1, owned=True).close()
        assert file.closed
