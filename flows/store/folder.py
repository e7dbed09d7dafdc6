"""A store in a folder: one file a blob, one file a document, one lock for all changes of documents."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from flows.store.blobs import fetch_to_file, is_intact, remaining_length
from flows.store.errors import Conflict, blob_refused, store_refused
from flows.store.keys import blob_key, document_key, is_valid_path
from flows.store.store import StoredDocument
from flows.store.verified_stream import copy_and_hash, verified
from rootfs.errors import BlobDamaged, BlobMissing
from rootfs.system import locks, private
from rootfs.system.atomic_file import atomic_file, remove_abandoned
from rootfs.system.digests import sha256_of_bytes
from rootfs.system.disk import disk_full

LOCK = ".lock"
READ_ONLY = 0o444  # a blob never changes; the umask takes away from this


class FolderStore:
    """A store in a local or mounted folder. The first write makes the folder. See `flows.store.store.Store`."""

    def __init__(self, folder: Path, wait: float = locks.WAIT) -> None:
        self.folder, self._wait = folder, wait  # `wait`: seconds that others may hold the store's lock

    @property
    def address(self) -> str:
        """The folder as a `file://` address."""
        return self.folder.as_uri()

    def put_blob(self, source: Path | BinaryIO, digest: str | None = None, *, check: bool = False) -> str:
        """Keep a file's or a stream's bytes. They are hashed and copied in one pass."""
        if digest is not None and is_intact(self, digest, remaining_length(source), read=check):
            return digest
        if isinstance(source, Path):
            with source.open("rb") as stream:
                return self._put(stream, digest, check)
        return self._put(source, digest, check)

    def _put(self, source: BinaryIO, digest: str | None, check: bool) -> str:
        self._make()
        with atomic_file(self.folder, self._errors, READ_ONLY) as new:
            found = copy_and_hash(source, new)
            if digest is not None and found != digest:
                raise blob_refused(self.address, digest, found)
            if not is_intact(self, found, new.size, read=check):
                new.commit_synced(self.folder, blob_key(found))
        return found

    def has_blob(self, digest: str, size: int | None = None) -> bool:
        """Whether the store has the blob, with this length if one is given."""
        path = self._path(blob_key(digest))
        with self._errors():
            try:
                found = path.stat()
            except (FileNotFoundError, NotADirectoryError):
                return False
        return stat.S_ISREG(found.st_mode) and size in (None, found.st_size)

    def blob_size(self, digest: str) -> int:
        """The blob's length in bytes."""
        with self._blob_errors(digest):
            return self._path(blob_key(digest)).stat().st_size

    @contextlib.contextmanager
    def open_blob(self, digest: str) -> Iterator[BinaryIO]:
        """Open the blob as a stream that is checked."""
        with self._blob_errors(digest):
            file = self._path(blob_key(digest)).open("rb", buffering=0)

        def read(size: int) -> bytes:
            with self._errors():
                return file.read(size)

        with file, verified(read, digest, partial(BlobDamaged, self.address, digest)) as stream:
            yield stream

    def fetch_blob(self, digest: str, path: Path) -> None:
        """Write the blob to a file."""
        fetch_to_file(self, digest, path)

    def sweep(self) -> None:
        """Remove temporary files of killed writers."""
        self._check_owner()
        with self._errors():
            remove_abandoned(self.folder)

    def read_document(self, key: str) -> StoredDocument | None:
        """The document as it is now. Its version is the digest of its bytes."""
        path = self._path(document_key(key))
        with self._errors():
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                return None
        return StoredDocument(data, _version(data))

    def create_document(self, key: str, data: bytes) -> str:
        """Write a new document."""
        return self._write(key, data, None)

    def replace_document(self, key: str, data: bytes, version: str) -> str:
        """Replace this version of a document."""
        return self._write(key, data, version)

    def _write(self, key: str, data: bytes, expected: str | None) -> str:
        document_key(key)
        self._make()
        with atomic_file(self.folder, self._errors) as new:
            new.write(data)
            with self._locked():
                now = self.read_document(key)
                if (now.version if now else None) != expected:
                    raise Conflict(self.address, key)
                new.commit_synced(self.folder, key)
        return _version(data)

    def list_documents(self, folder: str) -> list[str]:
        """The sorted keys of all documents in a folder and its subfolders."""
        top = self._path(document_key(folder))
        with self._errors():
            paths = [Path(at, name) for at, _, names in os.walk(top, onerror=_fail) for name in names]
        keys = (path.relative_to(self.folder).as_posix() for path in paths)
        return sorted(key for key in keys if is_valid_path(key))

    def list_folders(self, folder: str) -> list[str]:
        """The sorted names of a folder's subfolders."""
        top = self._path(document_key(folder))
        with self._errors():
            if not top.is_dir():
                return []
            with os.scandir(top) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir() and is_valid_path(entry.name))

    def _path(self, key: str) -> Path:
        """The path of a key. A symbolic link is refused: reads and removals would follow it out of the store."""
        self._check_owner()
        path = self.folder
        with self._errors():
            for name in key.split("/"):
                path /= name
                if path.is_symlink():
                    hint = "Remove that link, or name another as the store. Another disk can be mounted there."
                    raise store_refused(self.address, f"{path} is a link", hint)
        return path

    def _check_owner(self) -> None:
        """Refuse a folder of another user, unless it is shared on purpose. Raises MachineError."""
        try:
            status = self.folder.stat()
        except OSError:  # the folder is made later, or the next step reports what is wrong
            return
        is_shared = status.st_mode & stat.S_ISGID and status.st_mode & stat.S_IWGRP
        if not private.is_trusted(status.st_uid) and not is_shared:
            owner = private.user_name(status.st_uid)
            hint = (
                f"Name another as the store. If you and {owner} share this one, its folder needs a group and "
                f"the rights 2770: chgrp GROUP {self.folder} && chmod 2770 {self.folder}"
            )
            raise store_refused(self.address, f"the folder belongs to {owner}, and is not shared", hint)

    def _make(self) -> None:
        with self._errors():
            # A new folder is for this user alone. To share a store with other users, make its folder first.
            self.folder.mkdir(0o700, parents=True, exist_ok=True)
        self._check_owner()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        # One lock for the whole store: changes are few and small, and lock files do not pile up beside the documents.
        with contextlib.ExitStack() as held:
            with self._errors():
                held.enter_context(locks.locked(self._path(LOCK), wait=self._wait))
            yield

    @contextlib.contextmanager
    def _blob_errors(self, digest: str) -> Iterator[None]:
        with self._errors():
            try:
                yield
            except FileNotFoundError as error:
                raise BlobMissing(self.address, digest) from error

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            with disk_full(self.folder):
                yield
        except OSError as error:
            reason = f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)
            hint = f"Check that {self.folder} is a folder this user can write in, or name another as the store."
            raise store_refused(self.address, reason, hint) from error


def _version(data: bytes) -> str:
    return sha256_of_bytes(data)


def _fail(error: OSError) -> None:
    # os.walk ignores what it cannot read. Only a missing folder counts as empty.
    if not isinstance(error, FileNotFoundError):
        raise error
