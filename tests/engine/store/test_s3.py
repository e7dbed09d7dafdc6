from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from flows.store import open_store
from tests.engine.s3 import S3Server
from tests.unit.store.suite import Opener, StoreSuite


@pytest.fixture
def bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new bucket, with the environment that boto3 finds its credentials in."""
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    return s3_server.make_bucket()


class TestS3(StoreSuite):
    @pytest.fixture(params=["", "/some/prefix"])
    def opener(self, request: pytest.FixtureRequest, s3_server: S3Server, bucket: str) -> Opener:
        return functools.partial(open_store, f"s3://{bucket}{request.param}", endpoint=s3_server.endpoint)

    @pytest.fixture
    def spoil(self, s3_server: S3Server, bucket: str) -> Callable[[str, Callable[[bytes], bytes]], None]:
        def change(digest: str, how: Callable[[bytes], bytes]) -> None:
            [blob] = (s3_server.data / bucket).rglob(digest.removeprefix("sha256:"))
            blob.write_bytes(how(blob.read_bytes()))

        return change

    @pytest.fixture
    def halves(self, s3_server: S3Server, bucket: str) -> Callable[[], list[str]]:
        return lambda: [
            upload["Key"] for upload in s3_server.client().list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        ]
