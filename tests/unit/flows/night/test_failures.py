"""The failure memory: how long an image is paused, and what ends a pause."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.night import failures
from flows.night.failures import Failures, failures_key, recipe_key
from flows.publish.errors import RecordNewer
from flows.store.folder import FolderStore

INPUTS, OTHER = f"sha256:{1:064}", f"sha256:{2:064}"


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def tried(store: FolderStore, nights: int) -> list[int]:
    """The nights of so many in which an image that always fails in the same way is tried."""
    found = []
    for night in range(1, nights + 1):
        if not failures.read(store, "noble").pause(INPUTS, night):
            found.append(night)
            failures.note(store, "noble", INPUTS, night, "exit status 1\nmore")
    return found


def test_the_pause_grows_to_eight_nights(store: FolderStore) -> None:
    assert tried(store, 32) == [1, 2, 4, 8, 16, 24, 32]


def test_a_pause_says_how_often_since_when_why_and_how_long(store: FolderStore) -> None:
    tried(store, 4)
    memory = failures.read(store, "noble")
    since = f"failed 3 times since {memory.since} with the same inputs: exit status 1; next try"
    assert memory.pause(INPUTS, 5) == f"{since} in 3 nights"
    assert memory.pause(INPUTS, 7) == f"{since} in the next night"
    assert memory.pause(INPUTS, 8) == ""


def test_other_inputs_are_tried_at_once_and_counted_anew(store: FolderStore) -> None:
    tried(store, 4)
    assert failures.read(store, "noble").pause(OTHER, 5) == ""
    failures.note(store, "noble", OTHER, 5, "")
    assert failures.read(store, "noble").times == 1


def test_a_forgotten_failure_leaves_an_empty_memory_and_none_is_written_for_nothing(store: FolderStore) -> None:
    failures.forget(store, "noble")
    assert store.read_document(failures_key("noble")) is None
    tried(store, 4)
    failures.forget(store, "noble")
    assert failures.read(store, "noble") == Failures()


def test_an_image_is_tried_if_the_count_of_nights_began_anew(store: FolderStore) -> None:
    tried(store, 4)
    assert failures.read(store, "noble").pause(INPUTS, 1) == ""


def test_a_damaged_memory_is_replaced_and_a_newer_one_is_kept(store: FolderStore) -> None:
    store.create_document(failures_key("noble"), b"{")
    assert failures.read(store, "noble") == Failures()
    assert tried(store, 1) == [1]
    assert failures.read(store, "noble").times == 1
    store.create_document(failures_key("jammy"), b'{"format": 99}')
    assert failures.read(store, "jammy") == Failures()
    with pytest.raises(RecordNewer):
        failures.note(store, "jammy", INPUTS, 1, "")


def test_a_recipe_that_cannot_be_read_has_a_key_too(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("a")
    keys = {recipe_key(tmp_path / "a.yaml"), recipe_key(tmp_path / "b.yaml")}
    (tmp_path / "a.yaml").write_text("b")
    assert len({*keys, recipe_key(tmp_path / "a.yaml")}) == 3
