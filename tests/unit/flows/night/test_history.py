"""Nights in the store: documents that do not collide, and the list of the newest."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flows.night.document import ImageNight, ImageStatus, NewestNights, NightDocument
from flows.night.history import KEPT, KEY, keep_night, read_night, read_nights
from flows.store.folder import FolderStore


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def night(number: int, only: tuple[str, ...] = (), **statuses: ImageStatus) -> NightDocument:
    """A night that has this number and began in second `number`."""
    images = tuple(ImageNight(image=image, status=status) for image, status in statuses.items())
    when = f"2026-11-30T{number // 60:02}:{number % 60:02}:00Z"
    date = when.replace("-", "").replace(":", "")
    return NightDocument(date=date, number=number, started=when, ended=when, only=only, images=images)


def test_the_list_has_the_newest_nights_first_and_is_bounded(store: FolderStore) -> None:
    for number in range(1, KEPT + 4):
        keep_night(store, night(number, noble="published"))
    found = read_nights(store)
    assert [each.number for each in found.nights] == list(range(KEPT + 3, 3, -1))
    assert found.number == KEPT + 3
    assert found.nights[0].summary == {"published": 1}
    assert read_night(store, found.nights[0].date) == night(KEPT + 3, noble="published")
    assert len(store.list_documents("nights")) == KEPT + 4


def test_nights_that_begin_in_one_second_do_not_collide(store: FolderStore) -> None:
    with ThreadPoolExecutor(8) as threads:
        kept = list(threads.map(lambda image: keep_night(store, night(1, **{image: "built"})), "abcdefgh"))
    assert len({each.date for each in kept}) == 8
    assert {each.date for each in read_nights(store).nights} == {each.date for each in kept}


FAILING: dict[str, tuple[Mapping[str, ImageStatus], tuple[str, ...], set[str]]] = {
    "a failure and a pause count": ({"a": "failed", "b": "paused", "c": "unchanged"}, (), {"a", "b"}),
    "a held image stays as it was": ({"a": "failed", "old": "held", "c": "held"}, (), {"a", "old"}),
    "an image that is gone is forgotten": ({"c": "published"}, (), set()),
    "a night over a few images knows nothing of the others": ({"c": "failed"}, ("c",), {"c", "old"}),
    "an image that went well no longer counts": ({"old": "unchanged"}, ("old",), set()),
}


@pytest.mark.parametrize("case", FAILING)
def test_the_list_says_which_images_fail(store: FolderStore, case: str) -> None:
    statuses, only, failing = FAILING[case]
    keep_night(store, night(1, old="failed"))
    keep_night(store, night(2, only, **statuses))
    assert set(read_nights(store).failing) == failing


def test_a_damaged_list_begins_anew(store: FolderStore) -> None:
    store.create_document(KEY, b"[]")
    assert read_nights(store) == NewestNights()
    keep_night(store, night(7, noble="published"))
    assert [each.number for each in read_nights(store).nights] == [7]
