"""zstd frames: the same bytes with any state of the cache, and few frames in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from rootfs.layer import compress
from rootfs.layer.compress import WORKERS, FrameCache, compress_chunks

PLAIN = [bytes([number]) * 5000 + os.urandom(200) for number in range(20)]


def squeeze_all(plain: list[bytes], folder: Path | None = None) -> list[bytes]:
    return list(compress_chunks(map(bytearray, plain), FrameCache(folder) if folder else None))


def no_compressor(*_: object) -> bytes:
    raise AssertionError("compressed again")


def test_each_frame_is_complete_and_in_its_place() -> None:
    assert [zstandard.decompress(frame) for frame in squeeze_all(PLAIN)] == PLAIN
    for frame in squeeze_all(PLAIN):
        parameters = zstandard.get_frame_parameters(frame)
        assert (parameters.content_size, parameters.has_checksum) == (5200, True)


def test_an_empty_stream_stays_empty() -> None:
    assert squeeze_all([]) == []


def test_a_compressor_that_has_worked_gives_the_bytes_of_a_new_one() -> None:
    assert [squeeze_all([plain]) for plain in PLAIN] == [[frame] for frame in squeeze_all(PLAIN)]


@given(st.lists(st.binary(max_size=3000) | st.binary(max_size=9).map(lambda data: data * 5000), max_size=8))
def test_the_bytes_are_the_same_with_kept_frames(tmp_path_factory: pytest.TempPathFactory, plain: list[bytes]) -> None:
    without, folder = squeeze_all(plain), tmp_path_factory.getbasetemp() / "kept"
    assert squeeze_all(plain, folder) == without
    assert squeeze_all(plain, folder) == without


def test_cached_frames_are_not_compressed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = squeeze_all(PLAIN, tmp_path / "deep" / "kept")
    monkeypatch.setattr(compress.FrameCompressor, "_compress", no_compressor)
    assert squeeze_all(PLAIN, tmp_path / "deep" / "kept") == first
    with pytest.raises(AssertionError, match="compressed again"):
        squeeze_all([b"new"], tmp_path / "deep" / "kept")


def test_another_level_or_version_is_another_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    squeeze_all(PLAIN[:1], tmp_path)
    for name, value in (("LEVEL", 3), ("WINDOW", 20)):
        monkeypatch.setattr(compress, name, value)
        squeeze_all(PLAIN[:1], tmp_path)
    monkeypatch.setattr(zstandard, "ZSTD_VERSION", (9, 9, 9))
    squeeze_all(PLAIN[:1], tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:20],
        lambda data: data[:-1],
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: bytes([data[0] ^ 1]) + data[1:],
        lambda data: data + b"more",
    ],
    ids=["empty", "no frame", "cut off", "flipped in the frame", "flipped in the check", "longer"],
)
def test_a_damaged_frame_is_made_anew(damage: object, tmp_path: Path) -> None:
    without = squeeze_all(PLAIN, tmp_path)
    whole = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for path, data in whole.items():
        path.write_bytes(damage(data))  # type: ignore[operator]
    assert squeeze_all(PLAIN, tmp_path) == without
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == whole


def test_a_folder_that_cannot_be_used_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file")
    assert squeeze_all(PLAIN, tmp_path / "kept") == squeeze_all(PLAIN)
    FrameCache(tmp_path / "kept").prune()
    FrameCache(tmp_path / "kept/below").prune()


def test_the_least_recently_used_frame_is_removed(tmp_path: Path) -> None:
    kept = FrameCache(tmp_path)
    for number in range(4):
        kept.put(f"{number}", bytes(100 - compress.CHECK))
        os.utime(kept._path(f"{number}"), (number, number))
    assert kept.get("0")  # used now
    kept.prune(400)
    assert len(list(tmp_path.iterdir())) == 4
    kept.prune(399)
    assert [bool(kept.get(f"{number}")) for number in range(4)] == [True, False, True, True]
    kept.prune(0)
    assert list(tmp_path.iterdir()) == []


def test_only_a_few_frames_are_in_hand() -> None:
    made = 0

    def source() -> Iterator[bytearray]:
        nonlocal made
        for plain in PLAIN * 10:
            made += 1
            yield bytearray(plain)

    for taken, _ in enumerate(compress_chunks(source())):
        assert made - taken <= WORKERS + 1


def test_an_error_of_the_source_is_reported() -> None:
    def source() -> Iterator[bytearray]:
        yield bytearray(b"a")
        raise ValueError("the source")

    with pytest.raises(ValueError, match="the source"):
        list(compress_chunks(source()))
