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
