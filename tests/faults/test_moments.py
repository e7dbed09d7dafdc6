"""SIGKILL at 105 moments of publishing: names point to complete builds, and the next run or housekeeping continues."""

from __future__ import annotations

import json
import multiprocessing
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pytest

from flows.publish import integrity, newest
from flows.publish import stored_builds as publication
from flows.publish.record import Record
from flows.store.store import Store
from tests.faults.moments import go_on, publish
from tests.support.publishing import NAME, Press
from tests.support.services.registry import registry
from tests.support.services.s3 import serve_s3

MOMENTS = 35  # of each kind
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["pytest", "tests.faults.moments"])
SLOWEST = 60.0  # seconds


@dataclass
class Trial:
    """A site, and a process for each publication that is killed."""

    press: Press
    environment: dict[str, str]
    records: dict[str, Record] = field(default_factory=dict)

    @cached_property
    def store(self) -> Store:
        return self.press.open()

    def moments(self) -> int:
        """How many there are in a publication that nobody kills, after one that came before."""
        for text in ("first", "counted"):
            queue = PROCESSES.SimpleQueue()
            assert self._run(publish, text, 0, queue.put) == 0
            count: int = queue.get()
        return count

    def kill(self, number: int, moment: int) -> None:
        assert self._run(publish, f"text-{number}", moment, _silent) == -signal.SIGKILL

    def go_on(self, number: int, by_run: bool) -> None:
        assert self._run(go_on, f"text-{number}", by_run) == 0

    def _run(self, target: object, *words: object) -> int | None:
        process = PROCESSES.Process(target=target, args=(self.press, self.environment, *words))
        process.start()
        process.join(SLOWEST)
        return process.exitcode

    def whole(self) -> dict[str, Record]:
        """The records by build, once it is seen that all that is named is there, and has its bytes."""
        store, records = self.store, self.records
        for key in store.list_documents(f"images/{NAME}/builds"):
            if (build := Path(key).stem) not in records:
                record = publication.find_build(store, f"{NAME}@{build}")
                assert integrity.find_damage(store, record, read=True) == []
                records[build] = record
        if said := newest.read(store, NAME):
            assert said.build in records
        for key in store.list_documents("inputs"):
            document = store.read_document(key)
            assert document
            assert json.loads(document.data)["build"] in records
        self._registry(records)
        digests = {digest for each in records.values() for digest in (each.manifest_digest, each.config_digest)}
        assert self.press.in_engine() in (digests | ({""} if len(records) < 2 else set()))
        return records

    def _registry(self, records: dict[str, Record]) -> None:
        if not self.press.registry:
            return
        by_digest = {record.manifest_digest for record in records.values()}
        for tag, digest in self.press.tags().items():
            assert digest in by_digest
            assert tag == "latest" or records[tag].manifest_digest == digest
            if tag == "latest":
                manifest = json.loads(self.press.ask(f"manifests/{digest}")[1])
                for blob in (manifest["config"], *manifest["layers"]):
                    self.press.ask(f"blobs/{blob['digest']}", "HEAD")

    def agree(self, text: str | None) -> None:
        """All names mean one build, that of the recipe if the image was built again."""
        records = self.whole()
        said = newest.read(self.store, NAME)
        assert said
        assert said.named
        record = records[said.build]
        if text:
            assert publication.find_by_inputs(self.store, record.input_digest) == record
        assert self.press.in_engine() in (record.manifest_digest, record.config_digest)
        if self.press.registry:
            tags = self.press.tags()
            assert tags["latest"] == tags[record.build] == record.manifest_digest
            assert set(tags) <= {"latest", *records}


def _silent(_: int) -> None:
    pass


@pytest.fixture(params=["folder", "registry", "s3"])
def trial(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trial]:
    kind = request.param
    environment = {"BASEFORGE_HOME": str(tmp_path / "home")}
    press = Press(tmp_path / "site", str(tmp_path / "store"), "baseforge-moments")
    if kind == "registry":
        with registry(tmp_path / "registry") as address:
            yield from _tried(Trial(Press(press.folder, press.store, press.local_name, f"{address}/x"), environment))
    elif kind == "s3":
        with serve_s3(tmp_path / "s3") as server:
            environment |= server.environment()
            for name, value in environment.items():
                monkeypatch.setenv(name, value)
            store, more = f"s3://{server.make_bucket()}/x", {"s3_endpoint": server.endpoint, "s3_region": "us-east-1"}
            yield from _tried(Trial(Press(press.folder, store, press.local_name, more=more), environment))
    else:
        yield from _tried(Trial(press, environment))


def _tried(trial: Trial) -> Iterator[Trial]:
    yield trial
    trial.press.clear_engine()


def test_a_killed_publication_is_finished_later(trial: Trial) -> None:
    count = trial.moments()
    assert count >= MOMENTS
    for number in range(MOMENTS):
        moment = 1 + number * (count - 1) // (MOMENTS - 1)
        trial.kill(number, moment)
        trial.whole()
        trial.go_on(number, by_run=number % 2 == 0)
        trial.agree(f"text-{number}" if number % 2 == 0 else None)
