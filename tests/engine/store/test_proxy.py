"""A proxy damages requests to a real S3 server: no document is lost, and none names a missing blob."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.image.oci import Image
from flows.publish import integrity, newest, stored_builds
from flows.publish.record import Record
from flows.store import s3
from flows.store.open import open_store
from flows.store.store import Store
from rootfs.errors import NetworkFailure
from tests.support.samples import image_of
from tests.support.services.faulty import KINDS, Plan, Proxy, faulty_proxy
from tests.support.services.s3 import S3Server
from tests.support.store.suite import pattern

ATTEMPTS = 2
REQUESTS = 18  # of one publication; each is spoiled in each way
numbers = itertools.count(1)


@pytest.fixture
def proxy(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    monkeypatch.setattr(s3, "ATTEMPTS", ATTEMPTS)
    monkeypatch.setattr(s3, "PAUSE", 0.01)
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.01)
    with faulty_proxy(s3_server.endpoint) as running:
        yield running


class Site:
    """A store that is reached through the proxy, and the same store without it."""

    def __init__(self, bucket: str, proxy: Proxy, server: S3Server, folder: Path) -> None:
        self.proxy, self.folder = proxy, folder
        self.store = open_store(f"s3://{bucket}", endpoint=proxy.endpoint)
        self.direct = open_store(f"s3://{bucket}", endpoint=server.endpoint)

    def made(self) -> tuple[Image, Record]:
        """An image that the store does not have, and the record of its build but for its reports."""
        number = next(numbers)
        image = image_of({"etc/id": b"%d" % number}, self.folder / str(number), name="toy")
        said = {"image": "toy", "status": "published", "build": f"20261101T{number:06}Z-1", "number": number}
        digests = {"manifest_digest": image.manifest_digest, "config_digest": image.config_digest}
        inputs = {"input_digest": f"sha256:{number:064x}", "layer_digest": image.layer.digest}
        return image, Record.model_validate({**said, **digests, **inputs})

    def sound(self) -> None:
        """See that whatever is named is there, as far as one can see without the proxy."""
        pointed = newest.read(self.direct, "toy")
        for key in self.direct.list_documents("images/toy/builds"):
            document = self.direct.read_document(key)
            assert document
            assert integrity.find_damage(self.direct, Record.model_validate_json(document.data), read=True) == []
        for key in self.direct.list_documents("inputs"):
            document = self.direct.read_document(key)
            assert document
            entry = json.loads(document.data)
            assert self.direct.read_document(f"images/toy/builds/{entry['build']}.json")
        if pointed:
            assert self.direct.read_document(f"images/toy/builds/{pointed.build}.json")


def published(store: Store, image: Image, record: Record) -> Record:
    """As a build does it: blobs, reports, the record, and then the document that says which build is newest."""
    if stored_builds.find_by_inputs(store, record.input_digest):
        raise AssertionError("it is known before it is published")
    stored_builds.keep_blobs(store, image)
    reports = {
        name: stored_builds.keep_bytes(store, f"{name} {record.number}".encode()) for name in ("inventory", "log")
    }
    return stored_builds.publish_record(store, record.model_copy(update=reports), "it was built")


@pytest.fixture
def site(bucket: str, proxy: Proxy, s3_server: S3Server, tmp_path: Path) -> Site:
    found = Site(bucket, proxy, s3_server, tmp_path)
    published(found.store, *found.made())
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_request_of_a_publication_is_noticed(site: Site, kind: str) -> None:
    """Once, so that trying again helps, or as often as it is tried, so that the publication ends in an error."""
    failed = 0
    for first in range(REQUESTS):
        image, record = site.made()
        count = 1 + (first + KINDS.index(kind)) % ATTEMPTS
        site.proxy.plan = Plan(kind, first, count)
        try:
            published(site.store, image, record)
        except NetworkFailure:
            failed += 1
        assert site.proxy.plan.spoiled
        site.proxy.plan = Plan()
        if not (done := stored_builds.find_by_inputs(site.direct, record.input_digest)):
            done = published(site.store, image, record)
        else:
            stored_builds.publish_record(site.store, done, "it was built")
        assert integrity.find_damage(site.direct, done, read=True) == []
        assert stored_builds.newest_build(site.direct, "toy") == done
    assert failed >= REQUESTS // 3
    site.sound()


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_request_for_a_large_blob_is_noticed(site: Site, kind: str, tmp_path: Path) -> None:
    for first in range(5):
        (tmp_path / "blob").write_bytes(data := pattern((9 << 20) + first))
        site.proxy.plan = Plan(kind, first, ATTEMPTS)
        try:
            digest = site.store.put_blob(tmp_path / "blob")
        except NetworkFailure:
            site.proxy.plan = Plan()
            digest = site.store.put_blob(tmp_path / "blob")
        assert site.direct.has_blob(digest, len(data))
        site.proxy.plan = Plan(kind, 0, ATTEMPTS)
        try:
            site.store.fetch_blob(digest, tmp_path / "copy")
        except NetworkFailure:
            site.proxy.plan = Plan()
            site.store.fetch_blob(digest, tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == data


@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_answer_is_not_believed(site: Site, kind: str) -> None:
    [record] = stored_builds.newest_builds(site.direct)
    for first, count in itertools.product(range(3), (1, ATTEMPTS)):
        site.proxy.plan = Plan(kind, first, count)
        try:
            assert stored_builds.newest_builds(site.store) == [record]
            assert integrity.is_complete(site.store, record)
            assert not site.store.has_blob(f"sha256:{first:064}")
        except NetworkFailure:
            pass
