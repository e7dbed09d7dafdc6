"""The document of checks: what stays, what is forgotten, and how often it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.publish import checks
from flows.publish.checks import KEY, ArchiveState, Check, WaitingPackage, note, read
from flows.publish.errors import RecordNewer
from flows.store.errors import Conflict
from flows.store.folder import FolderStore
from flows.store.store import StoredDocument

NOON, LATER = "2026-11-30T12:00:00Z", "2026-12-01T12:00:00Z"
LISTS = ArchiveState(suite="trixie-security", address="http://a", date=NOON)


def fix(version: str, since: str) -> WaitingPackage:
    return WaitingPackage(name="openssl", old="1", new=version, since=since)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def test_failed_check_leaves_the_time_and_what_else_is_known(store: FolderStore) -> None:
    note(store, {"web": Check(checked=NOON, build="1", within=9, suite="trixie", archive=LISTS)})
    note(store, {"web": Check(build="1", within=8, waiting=(fix("2", NOON),))})
    note(store, {"web": Check(within=7)})
    found = read(store).images["web"]
    assert (found.checked, found.suite, found.archive, found.within) == (NOON, "trixie", LISTS, 7)
    assert [each.new for each in found.waiting] == ["2"]
    assert found.first


def test_fix_waits_since_the_first_newer_version_was_seen(store: FolderStore) -> None:
    note(store, {"web": Check(build="1", waiting=(fix("2", NOON),))})
    note(store, {"web": Check(build="1", waiting=(fix("3", LATER),))})
    assert read(store).images["web"].waiting == (fix("3", NOON),)
    note(store, {"web": Check(checked=LATER, build="2")})
    assert read(store).images["web"].waiting == ()
    note(store, {"web": Check(build="2", waiting=(fix("4", LATER),))})
    assert read(store).images["web"].waiting == (fix("4", LATER),)


def test_only_a_night_over_all_recipes_forgets_images(store: FolderStore) -> None:
    note(store, {"web": Check(checked=NOON), "old": Check(checked=NOON)})
    note(store, {"web": Check(checked=LATER)})
    assert read(store).images.keys() == {"web", "old"}
    assert read(store).night == ""
    note(store, {"web": Check(checked=LATER)}, all_images=["web", "broken"])
    assert read(store).images.keys() == {"web"}
    assert read(store).night


def test_check_that_says_nothing_new_within_minutes_is_not_written(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = checks.time_text(checks.datetime.now(checks.UTC))
    note(store, {"web": Check(checked=now, build="1")})
    for method in ("create_document", "replace_document"):
        monkeypatch.setattr(FolderStore, method, lambda *_: pytest.fail("it was written"))
    note(store, {"web": Check(checked=now, build="1")})
    with pytest.raises(pytest.fail.Exception):
        note(store, {"web": Check(checked=now, build="2")})


def test_checks_of_two_writers_are_both_kept(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run writes between the first one's reading and writing."""
    read_document, others = FolderStore.read_document, ["other"]

    def read_then_another_writes(self: FolderStore, key: str) -> StoredDocument | None:
        found = read_document(self, key)
        if others:
            note(self, {others.pop(): Check(checked=NOON)})
        return found

    monkeypatch.setattr(FolderStore, "read_document", read_then_another_writes)
    note(store, {"web": Check(checked=NOON)})
    assert read(store).images.keys() == {"web", "other"}


def test_writer_that_never_gets_its_turn_says_so(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def conflict(self: FolderStore, key: str, data: bytes) -> str:
        raise Conflict(self.address, key)

    monkeypatch.setattr(FolderStore, "create_document", conflict)
    with pytest.raises(Conflict):
        note(store, {"web": Check(checked=NOON)})


def test_damaged_document_is_replaced_and_a_newer_one_refused(store: FolderStore) -> None:
    store.create_document(KEY, b"{")
    assert read(store).images == {}
    note(store, {"web": Check(checked=NOON)})
    assert read(store).images["web"].checked == NOON
    document = store.read_document(KEY)
    assert document
    store.replace_document(KEY, b'{"format": 99, "images": {}}', document.version)
    with pytest.raises(RecordNewer):
        note(store, {"web": Check(checked=LATER)})
