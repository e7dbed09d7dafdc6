"""A stream of any length to S3: in parts, in bounded memory, and complete only if its bytes are those promised."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

from boto3.s3.transfer import TransferConfig, create_transfer_manager

from flows.store.checked import CHUNK, Checked
from rootfs.errors import Problem

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PART = 8 << 20  # bytes of one part: S3 takes 10,000, so 80 GB is the largest blob
PARALLEL = 2  # parts on their way at once: with boto3's copies 45 MiB in memory, and no slower than more (measured)


def upload(
    client: S3Client, bucket: str, key: str, source: BinaryIO, digest: str, wrong: Callable[[str], Problem]
) -> None:
    """Upload the stream, whose bytes must have the digest; `wrong` makes the error where they have another.

    On any error, and when interrupted, nothing becomes visible and boto3 takes back the parts that are there already.
    It guards each request with a checksum of its own; S3 has no SHA-256 over all parts of an object.
    """
    stopped = threading.Event()

    def read(size: int) -> bytes:
        # boto3 reads in a thread of its own, and when interrupted waits for it to come to the end of the stream.
        if stopped.is_set():
            raise InterruptedError
        return source.read(size)

    promised = io.BufferedReader(Checked(read, digest, wrong), CHUNK)
    with create_transfer_manager(client, _config()) as manager:
        try:
            manager.upload(promised, bucket, key).result()
        finally:
            stopped.set()


def _config() -> TransferConfig:
    config = TransferConfig(
        multipart_threshold=PART,
        multipart_chunksize=PART,
        max_concurrency=PARALLEL,
        preferred_transfer_client="classic",  # the other one has another way with memory and errors
    )
    config.max_in_memory_upload_chunks = PARALLEL  # boto3's is 10, and not among its arguments
    return config
