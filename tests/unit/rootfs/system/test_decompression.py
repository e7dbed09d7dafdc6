"""Compressed streams are recognized by their content, and broken ones are reported."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma

import pytest
import zstandard

from rootfs.system.decompression import CorruptStream, DecompressedStream, DecompressionLimits, decompressor

PLAIN = bytes(range(256)) * 5000
COMPRESS = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.compress,
    "": bytes,
}


def read(data, limits=None):
    stream = DecompressedStream(io.BytesIO(data), limits or DecompressionLimits())
    content = b"".join(iter(lambda: stream.read(100_000), b""))
    assert (stream.size, stream.consumed) == (len(content), len(data))
    return stream.compression, content


@pytest.mark.parametrize("compression", COMPRESS)
def test_a_stream_is_opened_by_its_content(compression):
    assert read(COMPRESS[compression](PLAIN)) == (compression, PLAIN)


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "xz", "zstd"])
def test_several_streams_in_one_file_are_one(compression):
    assert read(COMPRESS[compression](PLAIN) * 2) == (compression, PLAIN * 2)


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "xz", "zstd"])
def test_broken_data_are_reported(compression):
    data = bytearray(COMPRESS[compression](PLAIN))
    data[10:30] = bytes(20)
    with pytest.raises(CorruptStream):
        read(bytes(data))


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "xz"])
def test_data_that_end_early_are_reported(compression):
    with pytest.raises(CorruptStream):
        read(COMPRESS[compression](PLAIN)[:-20])


@pytest.mark.parametrize("compression", ["gzip", "bzip2", "xz", "zstd"])
def test_a_stream_that_ends_in_its_header_is_reported(compression):
    with pytest.raises(CorruptStream):
        read(COMPRESS[compression](PLAIN)[:6])


@pytest.mark.parametrize(
    ("data", "limits"),
    [
        (lzma.compress(PLAIN), DecompressionLimits(memory=1 << 10)),
        (zstandard.compress(PLAIN), DecompressionLimits(window=1 << 10)),
    ],
    ids=["xz", "zstd"],
)
def test_memory_is_limited(data, limits):
    with pytest.raises(CorruptStream):
        read(data, limits)


def test_an_error_of_the_source_is_passed_on():
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        DecompressedStream(Failing())


@pytest.mark.parametrize("compression", ["gzip", "xz", "zstd", ""])
def test_pieces_are_decompressed_as_they_come(compression):
    data, new = COMPRESS[compression](PLAIN), decompressor(compression)
    assert b"".join(new.decompress(data[at : at + 1000]) for at in range(0, len(data), 1000)) == PLAIN
    assert getattr(new, "eof", True)
