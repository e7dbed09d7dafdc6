"""Builds with missing or damaged blobs, and their repair, in a real folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.publish import integrity, stored_builds
from flows.publish.record import Record
from flows.store.folder import FolderStore
from rootfs.errors import BlobDamaged, BlobMissing
from tests.support.samples import image_of


def cut(path: Path) -> None:
    change(path, path.read_bytes()[:-1])


def flip(path: Path) -> None:
    data = path.read_bytes()
    change(path, bytes([data[0] ^ 1]) + data[1:])


def change(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


HARM = {"missing": Path.unlink, "cut off": cut, "emptied": lambda path: change(path, b""), "other bytes": flip}
BLOBS = ("manifest_digest", "config_digest", "layer_digest", "inventory", "ingredients", "log")


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def kept(store: FolderStore, folder: Path, build: str = "20261101T000000Z-1") -> Record:
    """A build with everything that it names."""
    image = image_of({"etc/id": b"x" * 1000}, folder)
    stored_builds.keep_blobs(store, image)
    record = Record(
        image="sample",
        build=build,
        status="published",
        input_digest=f"sha256:{'a' * 64}",
        manifest_digest=image.manifest_digest,
        config_digest=image.config_digest,
        layer_digest=image.layer.digest,
        inventory=stored_builds.keep_bytes(store, b"{}"),
        ingredients=stored_builds.keep_bytes(store, b"recipe"),
        log=stored_builds.keep_bytes(store, b"log"),
    )
    stored_builds.keep_record(store, record)
    return record


def path_of(store: FolderStore, record: Record, blob: str) -> Path:
    return store.folder / "blobs/sha256" / str(getattr(record, blob)).removeprefix("sha256:")


@pytest.mark.parametrize("blob", BLOBS)
@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
def test_a_damaged_blob_is_noticed_and_the_next_build_replaces_it(
    store: FolderStore, tmp_path: Path, blob: str, harm: Callable[[Path], None]
) -> None:
    record = kept(store, tmp_path / "one")
    assert integrity.is_complete(store, record)
    bad = path_of(store, record, blob)
    harm(bad)
    [problem] = integrity.find_damage(store, record, read=True)
    assert type(problem) is (BlobDamaged if bad.exists() else BlobMissing)
    assert getattr(record, blob) in str(problem)
    # Only to read a whole layer shows that its bytes are others.
    assert integrity.is_complete(store, record) == (blob == "layer_digest" and harm is flip)
    kept(store, tmp_path / "two", "20261102T000000Z-2")
    assert integrity.find_damage(store, record, read=True) == []


@pytest.mark.parametrize("blob", BLOBS)
def test_no_record_names_a_missing_blob(store: FolderStore, tmp_path: Path, blob: str) -> None:
    record = kept(store, tmp_path / "one").model_copy(update={"build": "20261102T000000Z-2"})
    path_of(store, record, blob).unlink()
    before = stored_builds.find_by_inputs(store, record.input_digest)
    with pytest.raises(BlobMissing, match=getattr(record, blob)):
        stored_builds.keep_record(store, record)
    assert store.read_document(record.key) is None
    assert stored_builds.find_by_inputs(store, record.input_digest) == before


def test_the_parts_of_a_build_for_several_platforms_are_looked_at(store: FolderStore, tmp_path: Path) -> None:
    one = kept(store, tmp_path / "one")
    other = one.model_copy(update={"inventory": stored_builds.keep_bytes(store, b"other")})
    both = one.model_copy(update={"parts": (one, other), "manifest_digest": stored_builds.keep_bytes(store, b"index")})
    assert integrity.is_complete(store, both)
    for path in (path_of(store, other, "inventory"), path_of(store, both, "manifest_digest")):
        path.unlink()
    assert [type(problem) for problem in integrity.find_damage(store, both)] == [BlobMissing, BlobMissing]


def test_a_record_that_names_no_manifest_is_damage(store: FolderStore, tmp_path: Path) -> None:
    record = kept(store, tmp_path / "one")
    for digest in ("nonsense", stored_builds.keep_bytes(store, b"text"), stored_builds.keep_bytes(store, b"[]")):
        assert not integrity.is_complete(store, record.model_copy(update={"manifest_digest": digest}))


def test_a_record_whose_answer_was_lost_counts_as_written(store: FolderStore, tmp_path: Path) -> None:
    record = kept(store, tmp_path / "one")
    stored_builds.keep_record(store, record.model_copy(update={"seconds": {"publish": 2.0}}))
    document = store.read_document(record.key)
    assert document
    assert Record.model_validate(json.loads(document.data)) == record
