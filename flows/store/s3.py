"""A store in an S3 bucket, on any server that supports `If-Match` and `If-None-Match` on writes."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import boto3
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
)

from flows.store import s3_answers
from flows.store.blobs import fetch_to_file, is_intact, remaining_length
from flows.store.errors import Conflict, blob_refused, invalid_address, store_unreachable
from flows.store.keys import blob_key, document_key, is_valid_path
from flows.store.s3_errors import error_code, http_status, store_error
from flows.store.s3_upload import PART, put, upload
from flows.store.store import StoredDocument
from flows.store.verified_stream import copy_and_hash, verified
from rootfs.errors import BlobDamaged, BlobMissing
from rootfs.network.authorities import Authorities
from rootfs.system.disk import disk_full

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECT, READ = 5.0, 30.0  # seconds without an answer, for one attempt
ATTEMPTS = 4  # boto3 waits between them, and repeats only what is safe to repeat
PAUSE = 0.25  # seconds before a document is read again, doubled each time
CONNECTIONS = 32  # stay open for the threads of a run that share a store
TAKEN = (409, 412)  # HTTP statuses: the condition of a write did not hold


class S3Store:
    """A store under a prefix of an existing bucket. See `flows.store.store.Store`."""

    def __init__(
        self,
        bucket: str,
        prefix: str,
        *,
        endpoint: str | None = None,
        region: str | None = None,
        authorities: Authorities | None = None,
    ) -> None:
        self.bucket, self.prefix = bucket, f"{prefix}/" if prefix else ""
        if not bucket or (prefix and not is_valid_path(prefix)):
            raise invalid_address(self.address, "a bucket and an optional prefix of plain names are needed")
        self._client = self._connect(endpoint, region, (authorities or Authorities()).file())

    def _connect(self, endpoint: str | None, region: str | None, authorities: Path) -> S3Client:
        patience = Config(
            connect_timeout=CONNECT,
            read_timeout=READ,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            max_pool_connections=CONNECTIONS,
        )
        try:
            # boto3's default session must not be used by several threads at once.
            session = boto3.session.Session(region_name=region)
            client = session.client("s3", endpoint_url=endpoint, config=patience, verify=str(authorities))
        except ValueError as error:
            raise invalid_address(self.address, str(error)) from error
        except BotoCoreError as error:
            raise store_error(error, self.address, endpoint or "its server") from error
        s3_answers.refuse_foreign_answers(client)
        return client

    @property
    def address(self) -> str:
        """The bucket and prefix as an `s3://` address, without endpoint and region."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def put_blob(self, source: Path | BinaryIO, digest: str | None = None, *, check: bool = False) -> str:
        """Keep a file's or a stream's bytes. Without a digest they are hashed first, as the digest is their key."""
        if digest is None:
            with _hashed(source) as (stream, found):
                return self.put_blob(stream, found, check=check)
        if not is_intact(self, digest, remaining_length(source), read=check):
            with source.open("rb") if isinstance(source, Path) else contextlib.nullcontext(source) as stream:
                self._upload(stream, digest)
        return digest

    def _upload(self, source: BinaryIO, digest: str) -> None:
        """Upload a blob and ask the server for its length. Only then does it count as kept."""
        key, wrong = self._key(blob_key(digest)), partial(blob_refused, self.address, digest)
        with self._errors():
            size = upload(self._client, self.bucket, key, source, digest, wrong)
        if not self.has_blob(digest, size):
            raise store_unreachable(self.address, self._client.meta.endpoint_url, f"it did not keep {digest}")

    def has_blob(self, digest: str, size: int | None = None) -> bool:
        """Whether the store has the blob, with this length if one is given."""
        found = self._size(digest)
        return found is not None and size in (None, found)

    def blob_size(self, digest: str) -> int:
        """The blob's length in bytes."""
        size = self._size(digest)
        if size is None:
            raise BlobMissing(self.address, digest)
        return size

    def _size(self, digest: str) -> int | None:
        key = self._key(blob_key(digest))
        with self._errors():
            try:
                return self._client.head_object(Bucket=self.bucket, Key=key)["ContentLength"]
            except ClientError as error:
                if http_status(error) == 404:
                    return None
                raise

    @contextlib.contextmanager
    def open_blob(self, digest: str) -> Iterator[BinaryIO]:
        """Open the blob as a stream that is checked."""
        key = self._key(blob_key(digest))
        with self._errors():
            try:
                body = self._client.get_object(Bucket=self.bucket, Key=key)["Body"]
            except self._client.exceptions.NoSuchKey as error:
                raise BlobMissing(self.address, digest) from error

        def read(size: int) -> bytes:
            with self._errors():
                try:
                    return body.read(size)
                except FlexibleChecksumError as error:
                    raise BlobDamaged(self.address, digest, "another checksum") from error

        with contextlib.closing(body), verified(read, digest, partial(BlobDamaged, self.address, digest)) as stream:
            yield stream

    def fetch_blob(self, digest: str, path: Path) -> None:
        """Write the blob to a file."""
        fetch_to_file(self, digest, path)

    def sweep(self) -> None:
        """Do nothing: the bucket's rule `AbortIncompleteMultipartUpload` removes half-finished uploads."""

    def read_document(self, key: str) -> StoredDocument | None:
        """The document as it is now. Its version is its ETag."""
        full = self._key(document_key(key))
        with self._errors():
            for attempt in range(ATTEMPTS):
                try:
                    return self._get(full)
                except self._client.exceptions.NoSuchKey:
                    return None
                except (HTTPClientError, IncompleteReadError, FlexibleChecksumError):
                    if attempt == ATTEMPTS - 1:
                        raise
                    time.sleep(PAUSE * 2**attempt)
        raise AssertionError

    def _get(self, key: str) -> StoredDocument:
        """Read a whole document. boto3 itself repeats a request only until its first byte has arrived."""
        answer = self._client.get_object(Bucket=self.bucket, Key=key)
        with contextlib.closing(answer["Body"]) as body:
            data = body.read()
        s3_answers.require_checksum(answer, data)
        return StoredDocument(data, answer["ETag"])

    def create_document(self, key: str, data: bytes) -> str:
        """Write a new document."""
        return self._write(key, data, IfNoneMatch="*")

    def replace_document(self, key: str, data: bytes, version: str) -> str:
        """Replace this version of a document."""
        return self._write(key, data, IfMatch=version)

    def _write(self, key: str, data: bytes, **condition: Any) -> str:  # noqa: ANN401 - an option of boto3
        full = self._key(document_key(key))
        with self._errors():
            try:
                return put(self._client, self.bucket, full, data, ContentType="application/json", **condition)
            except ClientError as error:
                if http_status(error) not in TAKEN and error_code(error) != "NoSuchKey":
                    raise
                return self._own(key, data, error)

    def _own(self, key: str, data: bytes, error: ClientError) -> str:
        # boto3 repeats a write whose answer was lost. The document in the way may then be our own first attempt.
        if error.response["ResponseMetadata"].get("RetryAttempts", 0):
            now = self.read_document(key)
            if now is not None and now.data == data:
                return now.version
        raise Conflict(self.address, key) from error

    def list_documents(self, folder: str) -> list[str]:
        """The sorted keys of all documents in a folder and its subfolders."""
        prefix = self._key(document_key(folder)) + "/"
        with self._errors():
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
            found = [item["Key"].removeprefix(self.prefix) for page in pages for item in page.get("Contents", [])]
        return sorted(key for key in found if is_valid_path(key))

    def list_folders(self, folder: str) -> list[str]:
        """The sorted names of a folder's subfolders."""
        prefix = self._key(document_key(folder)) + "/"
        with self._errors():
            asked = self._client.get_paginator("list_objects_v2")
            pages = asked.paginate(Bucket=self.bucket, Prefix=prefix, Delimiter="/")
            found = [item["Prefix"] for page in pages for item in page.get("CommonPrefixes", [])]
        return sorted(filter(is_valid_path, (path.removeprefix(prefix).rstrip("/") for path in found)))

    def _key(self, key: str) -> str:
        return self.prefix + key

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (ClientError, BotoCoreError) as error:
            raise store_error(error, self.address, self._client.meta.endpoint_url) from error


@contextlib.contextmanager
def _hashed(source: Path | BinaryIO) -> Iterator[tuple[BinaryIO, str]]:
    """The source at its beginning, and its digest. A stream is copied to memory or, if large, to a temporary file."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            yield file, f"sha256:{digest}"
        return
    with tempfile.SpooledTemporaryFile(max_size=PART) as spool:
        with disk_full(Path(tempfile.gettempdir())):
            found = copy_and_hash(source, spool)
        spool.seek(0)
        yield cast(BinaryIO, spool), found
