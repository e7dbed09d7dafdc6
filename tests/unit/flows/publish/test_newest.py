"""The document of `latest`, in a real folder: a counter that only grows, moved by compare-and-swap."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flows.publish import newest, stored_builds
from flows.publish.errors import RecordDamaged
from flows.publish.record import Record
from flows.store.open import open_store
from flows.store.store import Store
from rootfs.errors import BuildError

IMAGE = "noble"
ONE, TWO, THREE = "20260101T000000Z-1", "20260102T000000Z-2", "20260103T000000Z-3"
CLOCK_AHEAD = "20990101T000000Z-9"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path))


def record(store: Store, build: str, inputs: str = "a") -> Record:
    said = {"image": IMAGE, "build": build, "status": "published", "input_digest": f"sha256:{inputs * 64}"}
    return Record.model_validate({**said, "number": stored_builds.next_number(store, IMAGE)})


def publish(store: Store, build: str, inputs: str = "a") -> Record:
    return stored_builds.publish_record(store, record(store, build, inputs), "a new build")


def pointed(store: Store) -> newest.Newest:
    found = newest.read(store, IMAGE)
    assert found
    return found


def test_the_last_publication_is_the_newest_even_if_the_clock_was_wrong(store: Store) -> None:
    publish(store, CLOCK_AHEAD)
    now = publish(store, ONE)
    assert stored_builds.latest_readable(store, IMAGE) == stored_builds.find_build(store, IMAGE) == now
    assert [each.build for each in pointed(store).history] == [CLOCK_AHEAD]


def test_the_name_moves_back_and_the_counter_grows(store: Store) -> None:
    first = publish(store, ONE)
    publish(store, TWO, "b")
    newest.move_latest(store, IMAGE, ONE, "the recipe is as it was")
    assert stored_builds.latest_readable(store, IMAGE) == first
    found = pointed(store)
    assert (found.number, found.why) == (3, "the recipe is as it was")
    assert [(each.build, each.number) for each in found.history] == [(TWO, 2), (ONE, 1)]
    assert publish(store, THREE, "c").number == 4


def test_moving_the_name_to_the_same_build_changes_nothing(store: Store, tmp_path: Path) -> None:
    publish(store, ONE)
    before = (tmp_path / "images/noble/newest.json").read_bytes()
    newest.move_latest(store, IMAGE, ONE, "again")
    assert (tmp_path / "images/noble/newest.json").read_bytes() == before


def test_the_history_is_limited(store: Store) -> None:
    for number in range(newest.HISTORY + 10):
        newest.move_latest(store, IMAGE, str(number), "a test")
    found = pointed(store)
    assert (found.number, len(found.history)) == (newest.HISTORY + 10, newest.HISTORY)
    assert found.history[0].build == str(newest.HISTORY + 8)


def test_concurrent_moves_wait_for_each_other(store: Store) -> None:
    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(lambda build: newest.move_latest(store, IMAGE, str(build), "a test").number, range(12)))
    assert sorted(done) == list(range(1, 13))


def test_names_are_marked_for_the_newest_build_only(store: Store) -> None:
    publish(store, ONE)
    assert not pointed(store).named
    assert newest.mark_named(store, IMAGE, ONE)
    assert pointed(store).named
    publish(store, TWO)
    assert not newest.mark_named(store, IMAGE, ONE)
    assert not pointed(store).named


@pytest.mark.parametrize("damage", [None, b"", b"{", b"[]", b'{"format": 1, "build": 3}'])
def test_without_newest_json_commands_fail_and_a_build_continues_from_the_newest_record(
    store: Store, tmp_path: Path, damage: bytes | None
) -> None:
    publish(store, CLOCK_AHEAD)
    now = publish(store, ONE)
    file = tmp_path / "images/noble/newest.json"
    file.unlink() if damage is None else file.write_bytes(damage)
    with pytest.raises(RecordDamaged, match=r"newest\.json"):
        stored_builds.find_build(store, IMAGE)
    [listed] = stored_builds.newest_builds(store)
    assert (listed.status, "images/noble/newest.json" in listed.reason) == ("damaged", True)
    assert stored_builds.latest_readable(store, IMAGE) == now
    assert publish(store, TWO).number == 3
    assert pointed(store).build == stored_builds.find_build(store, IMAGE).build == TWO


def test_a_store_of_an_earlier_version_is_ordered_by_ids_until_the_next_publication(store: Store) -> None:
    for build in (TWO, ONE):
        stored_builds.keep_record(store, record(store, build).model_copy(update={"number": 0}))
    assert stored_builds.find_build(store, IMAGE).build == TWO
    assert publish(store, ONE + "b").number == 1
    assert stored_builds.find_build(store, IMAGE).build == ONE + "b"


def test_an_older_record_is_not_shown_in_place_of_a_lost_one(store: Store, tmp_path: Path) -> None:
    first = publish(store, ONE)
    (tmp_path / publish(store, TWO).key).unlink()
    with pytest.raises(RecordDamaged, match=f"no record of build {TWO}"):
        stored_builds.find_build(store, IMAGE)
    assert stored_builds.latest_readable(store, IMAGE) == first


def test_a_first_build_that_was_killed_before_it_was_named_can_be_shown(store: Store) -> None:
    first = stored_builds.keep_record(store, record(store, ONE).model_copy(update={"number": 1}))
    assert stored_builds.find_build(store, IMAGE) == first


def test_documents_of_a_newer_version_are_not_changed(store: Store, tmp_path: Path) -> None:
    publish(store, ONE)
    file = tmp_path / "images/noble/newest.json"
    said = json.dumps({"format": newest.FORMAT + 1, "builds": {}})
    file.write_text(said)
    with pytest.raises(BuildError, match="update this one"):
        publish(store, TWO)
    assert file.read_text() == said


def test_the_newest_is_found_without_a_list_of_all_builds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = publish(store, ONE)
    monkeypatch.setattr(type(store), "list_documents", None)
    assert stored_builds.images(store) == [IMAGE]
    assert stored_builds.latest_readable(store, IMAGE) == stored_builds.find_build(store, IMAGE) == now


def test_writing_a_record_twice_keeps_the_first(store: Store) -> None:
    first = record(store, ONE)
    stored_builds.publish_record(store, first, "a new build")
    again = first.model_copy(update={"seconds": {"record": 2.0}})
    assert stored_builds.publish_record(store, again, "a new build") == first
    assert pointed(store).number == 1
