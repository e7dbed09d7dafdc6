"""Digests of files are those of their bytes."""

import hashlib

import pytest

from rootfs.system import digests

EMPTY = "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"  # BLAKE3's own test vectors


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 1000])
def test_a_file_has_the_digest_of_its_bytes(tmp_path, monkeypatch, size):
    monkeypatch.setattr(digests, "CHUNK", 100)
    data = hashlib.shake_128(b"%d" % size).digest(size)
    (tmp_path / "file").write_bytes(data)
    assert digests.blake3_of_file(tmp_path / "file") == digests.blake3_of_bytes(data)
    assert digests.sha256_of_file(tmp_path / "file") == hashlib.sha256(data).hexdigest()


def test_what_is_kept_is_known_by_its_blake3():
    assert digests.blake3_of_bytes(b"") == EMPTY
