"""The store: blobs by sha256, each written once, and small documents that change only by compare-and-swap.

    blobs/sha256/HEX                     every byte kept
    inputs/INPUT-DIGEST.json             which build has these inputs
    images/NAME/builds/BUILD-ID.json     a build's record, written before any name moves
    images/NAME/newest.json              which build is the newest, and which were before
    images/NAME/channels/CHANNEL.json    which build a channel means

No reader sees half-written data. A blob is checked on every write and read. A document that names a blob is written
after the blob: a crash leaves a blob that nothing names, never a name without its blob.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol


@dataclass(frozen=True)
class StoredDocument:
    """A document as it was read. `replace_document` takes its `version`, which only this store understands."""

    data: bytes
    version: str


class Store(Protocol):
    """Where blobs and documents are kept. Digests are `sha256:HEX`; keys are relative paths such as `inputs/HEX.json`.

    Safe to use from several threads, processes and machines at once. Every method raises ServiceUnreachable (try again
    later), MachineError (credentials, permissions, no such bucket), DiskFull and, for what is not a key, InvalidKey.
    """

    @property
    def address(self) -> str:
        """The address that opens this store."""

    def put_blob(self, source: Path | BinaryIO, digest: str | None = None, *, check: bool = False) -> str:
        """Keep a file's or a stream's bytes (to its end) and return their digest.

        With a `digest` they must have it, or BuildError is raised and nothing is kept; where the store has that blob
        already, the source is not read at all. A blob that has another length than the source is damaged and replaced
        at once; with `check` the blob is also read, so that any damage is noticed.
        """

    def has_blob(self, digest: str, size: int | None = None) -> bool:
        """Whether the store has the blob, with this length if one is given. Reading it checks its bytes."""

    def blob_size(self, digest: str) -> int:
        """The blob's length in bytes. Raises BlobMissing."""

    def open_blob(self, digest: str) -> AbstractContextManager[BinaryIO]:
        """Open the blob as a stream. If the block ends without an error, its bytes were right.

        BlobDamaged is raised where the stream ends, or at the end of the block, which reads the rest. It also replaces
        an error that the block raised because of the damaged bytes. Raises BlobMissing.
        """

    def fetch_blob(self, digest: str, path: Path) -> None:
        """Write the blob to a file atomically and check it. Raises what `open_blob` raises."""

    def sweep(self) -> None:
        """Remove half-written data that killed writers left behind."""

    def read_document(self, key: str) -> StoredDocument | None:
        """The document as it is now; None if there is none."""

    def create_document(self, key: str, data: bytes) -> str:
        """Write a new document and return its version. Raises Conflict if it exists."""

    def replace_document(self, key: str, data: bytes, version: str) -> str:
        """Replace this version of a document and return the new version. Raises Conflict if it has changed."""

    def list_documents(self, folder: str) -> list[str]:
        """The sorted keys of all documents in a folder, such as `images/noble/builds`, and its subfolders."""

    def list_folders(self, folder: str) -> list[str]:
        """The sorted names of a folder's subfolders. What is in them is not read."""
