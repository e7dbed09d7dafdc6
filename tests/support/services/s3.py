"""A real S3 server (versitygw) on loopback, as a context manager."""

from __future__ import annotations

import contextlib
import functools
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest

from tests.support.services.tls import Identity
from tests.support.services.tools import tool

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

REGION = "us-east-1"
SLOWEST_START = 20.0  # seconds


@dataclass(frozen=True)
class S3Server:
    """A running server: its endpoint, its only user's credentials, and the folder with a subfolder a bucket."""

    endpoint: str
    access: str
    secret: str
    data: Path
    process: subprocess.Popen[bytes]

    def environment(self) -> dict[str, str]:
        """What boto3 reads its credentials from, and nothing of this machine's or user's own."""
        return {
            "AWS_ACCESS_KEY_ID": self.access,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @functools.cached_property
    def client(self) -> S3Client:
        """A client of the test's own, to look from outside."""
        return boto3.session.Session(self.access, self.secret, region_name=REGION).client(
            "s3", endpoint_url=self.endpoint
        )

    def make_bucket(self) -> str:
        """A new, empty bucket; returns its name."""
        name = f"bucket-{secrets.token_hex(6)}"
        self.client.create_bucket(Bucket=name)
        return name


@contextlib.contextmanager
def serve_s3(folder: Path, *, tls: Identity | None = None) -> Iterator[S3Server]:
    """Start a server that keeps its data below `folder`; it is gone when the block ends, or we do.

    With `tls` it is https, with this certificate.
    """
    program = tool("versitygw")
    data = folder / "data"
    data.mkdir(parents=True)
    # Metadata go in extended attributes: with `--sidecar` a reader can get one write's ETag with another's bytes.
    access, secret, port = secrets.token_hex(8), secrets.token_hex(16), _free_port()
    secure = ["--cert", tls.certificate, "--key", tls.key] if tls else []
    argv = [program, "--quiet", "--port", f"127.0.0.1:{port}", "--region", REGION, *secure, "posix", data]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *argv],
            env={"PATH": os.environ["PATH"], "ROOT_ACCESS_KEY": access, "ROOT_SECRET_KEY": secret},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        _wait(process, port, folder / "log")
        yield S3Server(f"http{'s' if tls else ''}://127.0.0.1:{port}", access, secret, data, process)
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One server for all tests of a session."""
    with serve_s3(tmp_path_factory.mktemp("s3")) as server:
        yield server


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + SLOWEST_START
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise AssertionError(f"versitygw did not start:\n{log.read_text()}")
