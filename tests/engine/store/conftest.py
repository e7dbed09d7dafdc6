from collections.abc import Iterator
from pathlib import Path

import pytest

from rootfs.process.run import run
from tests.support.services.s3 import S3Server, s3_server  # noqa: F401 - a fixture

pytest.register_assert_rewrite("tests.support.store.suite")


@pytest.fixture
def bucket(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:  # noqa: F811 - the fixture
    """A new bucket, with the environment that boto3 finds its credentials in."""
    for name, value in s3_server.environment().items():
        monkeypatch.setenv(name, value)
    return s3_server.make_bucket()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    run(["mount", "-t", "tmpfs", "-o", "size=8m", "baseforge-test", disk])
    try:
        yield disk
    finally:
        run(["umount", "--lazy", disk])
