"""Stores on full and on read-only disks."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from flows.store.open import open_store
from rootfs.errors import MachineError
from rootfs.process.run import run
from rootfs.system.errors import DiskFull
from tests.support.store.suite import pattern
from tests.support.store.workers import digest_of

LARGE = 20 << 20  # bytes: more than the disk has


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_full_disk_leaves_the_store_as_it_was(small_disk: Path) -> None:
    store = open_store(str(small_disk / "store"))
    small = store.put_blob(io.BytesIO(b"small"))
    store.create_document("inputs/a.json", b"{}")
    before = files(small_disk)
    data = pattern(LARGE)
    with pytest.raises(DiskFull, match=str(small_disk / "store")):
        store.put_blob(io.BytesIO(data))
    with pytest.raises(DiskFull, match=str(small_disk / "store")):
        store.create_document("inputs/b.json", data)
    assert files(small_disk) == before
    assert not store.has_blob(digest_of(data))
    with store.open_blob(small) as stream:
        assert stream.read() == b"small"


def test_a_disk_that_is_full_at_the_last_write_is_reported(small_disk: Path) -> None:
    """The disk is full when the buffered rest is written, not before."""
    store = open_store(str(small_disk / "store"))
    (small_disk / "filler").write_bytes(bytes((8 << 20) - (1 << 16)))
    for size in range(1 << 12, 1 << 17, 1 << 12):
        try:
            digest = store.put_blob(io.BytesIO(pattern(size)))
        except DiskFull:
            assert not store.has_blob(digest_of(pattern(size)))
            break
        assert store.blob_size(digest) == size
    else:
        pytest.fail("the disk was never full")
    assert not list(small_disk.rglob("*.partial"))


def test_a_blob_is_fetched_to_a_full_disk(small_disk: Path, tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    digest = store.put_blob(io.BytesIO(pattern(LARGE)))
    with pytest.raises(DiskFull, match=str(small_disk)):
        store.fetch_blob(digest, small_disk / "copy")
    assert files(small_disk) == []


def test_a_disk_that_can_only_be_read(small_disk: Path) -> None:
    store = open_store(str(small_disk / "store"))
    digest = store.put_blob(io.BytesIO(b"blob"))
    version = store.create_document("inputs/a.json", b"{}")
    run(["mount", "-o", "remount,ro", small_disk])
    with pytest.raises(MachineError, match="Read-only file system"):
        store.put_blob(io.BytesIO(b"other"))
    with pytest.raises(MachineError, match="Read-only file system"):
        store.replace_document("inputs/a.json", b"1", version)
    assert store.list_documents("inputs") == ["inputs/a.json"]
    with store.open_blob(digest) as stream:
        assert stream.read() == b"blob"
