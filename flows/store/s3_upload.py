"""Upload to S3: small objects in one request, streams of any length in parts, in bounded memory.

An object becomes visible only if its bytes have the expected digest.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO

from boto3.s3.transfer import TransferConfig, create_transfer_manager

from flows.store import s3_answers
from flows.store.blobs import remaining_length
from flows.store.verified_stream import CHUNK, VerifiedStream
from rootfs.errors import BaseforgeError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PART = 8 << 20  # bytes of one part: S3 takes 10,000, so 80 GB is the largest blob
PARALLEL = 2  # parts sent at once: 45 MiB of memory with boto3's copies; more parts are no faster (measured)


def put(client: S3Client, bucket: str, key: str, data: bytes, **more: Any) -> str:  # noqa: ANN401 - options of boto3
    """Write an object in one request and return its ETag. The server's checksum must be that of the bytes."""
    answer = client.put_object(Bucket=bucket, Key=key, Body=data, ChecksumSHA256=s3_answers.checksum(data), **more)
    s3_answers.require_checksum(answer, data)
    return answer["ETag"]


def upload(
    client: S3Client, bucket: str, key: str, source: BinaryIO, digest: str, wrong: Callable[[str], BaseforgeError]
) -> int:
    """Upload the stream. If its bytes do not have the digest, `wrong` makes the error.

    Returns its length. On any error, and when interrupted, nothing becomes visible and boto3 takes back the parts that
    are there already. It guards each part with a checksum of its own; S3 has no SHA-256 over all parts of an object.
    """
    promised = VerifiedStream(source.read, digest, wrong)
    if (size := remaining_length(source)) is not None and size <= PART:
        put(client, bucket, key, promised.readall())
    else:
        _upload_parts(client, bucket, key, promised)
    return promised.size


def _upload_parts(client: S3Client, bucket: str, key: str, promised: VerifiedStream) -> None:
    stopped = threading.Event()

    class Stoppable(io.RawIOBase):
        """boto3 reads in a thread. When boto3 is interrupted, it waits for this thread to reach the stream's end."""

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            if stopped.is_set():
                raise InterruptedError
            return promised.readinto(buffer)

    with create_transfer_manager(client, _config()) as manager:
        try:
            manager.upload(io.BufferedReader(Stoppable(), CHUNK), bucket, key).result()
        finally:
            stopped.set()


def _config() -> TransferConfig:
    config = TransferConfig(
        multipart_threshold=PART,
        multipart_chunksize=PART,
        max_concurrency=PARALLEL,
        preferred_transfer_client="classic",  # the other one handles memory and errors differently
    )
    config.max_in_memory_upload_chunks = PARALLEL  # boto3 uses 10 and has no argument for it
    return config
