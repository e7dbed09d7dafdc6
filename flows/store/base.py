"""The store: blobs by sha256, each written once, and small documents that change only by compare-and-swap.

    blobs/sha256/HEX                     every byte kept
    inputs/INPUT-DIGEST.json             which build has these inputs
    images/NAME/builds/BUILD-ID.json     a build's record, written before any name moves
    images/NAME/newest.json              which build is the newest, and which were before
    images/NAME/channels/CHANNEL.json    which build a channel means

Nothing is ever seen half-written, and a blob is checked whenever it is written and whenever it is read. Whoever writes
a document that names a blob puts the blob first: a crash leaves a blob nobody names, never a name without its blob.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from flows.store.errors import invalid_address


@dataclass(frozen=True)
class Document:
    """A document as it was read; `version` is what `replace_document` wants back, good for this store alone."""

    data: bytes
    version: str


class Store(Protocol):
    """Where blobs and documents are kept. Digests are `sha256:HEX`; keys are relative paths such as `inputs/HEX.json`.

    Safe to use from several threads, processes and machines at once. Every method raises ServiceUnreachable (try again
    later), MachineError (credentials, permissions, no such bucket), DiskFull and, for what is not a key, InvalidKey.
    """

    @property
    def address(self) -> str:
        """The address that opens this store again."""

    def put_blob(self, source: Path | BinaryIO, digest: str | None = None, *, check: bool = False) -> str:
        """Keep a file's or a stream's bytes (to its end) and return their digest.

        With a `digest` they must have it, or BuildError is raised and nothing is kept; where the store has that blob
        already, the source is not read at all. A blob that has another length than the source is damaged and replaced
        at once; with `check` the blob is also read, so that any damage is noticed.
        """

    def has_blob(self, digest: str, size: int | None = None) -> bool:
        """Whether the blob is there, with this length if one is given (its bytes are checked when read)."""

    def blob_size(self, digest: str) -> int:
        """The blob's length in bytes; BlobMissing where there is none."""

    def open_blob(self, digest: str) -> AbstractContextManager[BinaryIO]:
        """The blob as a stream: a block that is left without an error has had the right bytes.

        BlobDamaged is raised where the stream ends, or on leaving the block, which reads what the block did not; it
        also replaces whatever error damaged bytes led the block to. BlobMissing where there is no such blob.
        """

    def fetch_blob(self, digest: str, path: Path) -> None:
        """Write the blob to a file, which is there whole and checked or not at all. Raises as `open_blob` does."""

    def drop_blob(self, digest: str) -> None:
        """Take the blob away; none is no error. A damaged one is healed by dropping it and putting it anew."""

    def sweep(self) -> None:
        """Remove what writers that were killed have left half-written."""

    def read_document(self, key: str) -> Document | None:
        """The document as it is now, or None where there is none."""

    def create_document(self, key: str, data: bytes) -> str:
        """Write a document that must not be there yet, and return its version; Conflict where it is."""

    def replace_document(self, key: str, data: bytes, version: str) -> str:
        """Write a document over the version that was read, and return the new one; Conflict if it changed meanwhile."""

    def list_documents(self, folder: str) -> list[str]:
        """The keys of all documents below a folder such as `images/noble/builds`, sorted; none is no error."""

    def list_folders(self, folder: str) -> list[str]:
        """The names of the folders directly below one, sorted, without a look at what is in them."""


def open_store(address: str, *, endpoint: str | None = None, region: str | None = None) -> Store:
    """Open the store at a path, `file:///FOLDER` or `s3://BUCKET/PREFIX`; nothing is written or asked yet.

    `endpoint` (a URL) and `region` are those of the S3 server, where they are not what boto3's own configuration says;
    credentials always come from there. Raises InputError.
    """
    if address.startswith("s3://"):
        # boto3 takes half a second to import, and a folder needs none of it.
        from flows.store.s3 import S3Store

        bucket, _, prefix = address.removeprefix("s3://").partition("/")
        return S3Store(bucket, prefix.strip("/"), endpoint=endpoint, region=region)

    from flows.store.folder import FolderStore

    return FolderStore(_folder(address))


def _folder(address: str) -> Path:
    if "://" not in address and not address.startswith("file:"):
        if not address:
            raise invalid_address(address, "it is empty")
        return Path(address).expanduser().absolute()
    url = urlsplit(address)
    if url.scheme != "file":
        raise invalid_address(address, f"{url.scheme}:// is not known")
    if url.netloc not in ("", "localhost") or not url.path.startswith("/") or url.query or url.fragment:
        raise invalid_address(address, "a file address has three slashes and an absolute path")
    return Path(unquote(url.path))
