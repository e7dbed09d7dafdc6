from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import io
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.store.folder import FolderStore
from flows.store.open import open_store
from rootfs.errors import InputError, MachineError
from rootfs.system.atomic_file import atomic_file
from rootfs.system.errors import LockHeld
from rootfs.system.locks import is_held
from tests.support.store.suite import StoreSuite
from tests.support.store.workers import Opener, digest_of
from tests.support.waiting import until

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")


def blob_in(folder: Path, digest: str) -> Path:
    return folder / "blobs/sha256" / digest.removeprefix("sha256:")


class TestFolder(StoreSuite):
    @pytest.fixture
    def folder(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp("folder") / "some" / "store"

    @pytest.fixture
    def opener(self, folder: Path) -> Opener:
        return functools.partial(open_store, folder.as_uri())

    @pytest.fixture
    def spoil(self, folder: Path) -> Callable[[str, Callable[[bytes], bytes]], None]:
        def change(digest: str, how: Callable[[bytes], bytes]) -> None:
            blob = blob_in(folder, digest)
            data = how(blob.read_bytes())
            blob.unlink()
            blob.write_bytes(data)

        return change

    @pytest.fixture
    def halves(self, folder: Path) -> Callable[[], list[str]]:
        return lambda: [path.name for path in folder.rglob("*.partial")]

    def test_a_blob_is_read_only_and_not_written_again(self, opener: Opener, folder: Path) -> None:
        digest = opener().put_blob(io.BytesIO(b"once"))
        before = blob_in(folder, digest).stat()
        assert before.st_mode & 0o222 == 0
        assert opener().put_blob(io.BytesIO(b"once")) == digest
        assert blob_in(folder, digest).stat().st_ino == before.st_ino

    def test_blobs_have_the_rights_that_the_umask_allows(self, opener: Opener, folder: Path) -> None:
        before = os.umask(0o022)
        try:
            digest = opener().put_blob(io.BytesIO(b"blob"))
            opener().create_document("inputs/a.json", b"{}")
        finally:
            os.umask(before)
        assert blob_in(folder, digest).stat().st_mode & 0o777 == 0o444
        assert (folder / "inputs/a.json").stat().st_mode & 0o777 == 0o644

    def test_reading_creates_no_files(self, opener: Opener, folder: Path) -> None:
        assert opener().list_documents("images") == []
        assert opener().read_document("inputs/a.json") is None
        assert not opener().has_blob(digest_of(b""))
        assert not folder.parent.exists()

    def test_a_name_that_cannot_be_synced_to_the_disk_is_an_error(
        self, opener: Opener, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(file: int) -> None:
            if stat.S_ISDIR(os.fstat(file).st_mode):
                raise OSError(errno.EIO, "Input/output error")

        store, source = opener(), tmp_path / "source"
        source.write_bytes(b"blob")
        store.put_blob(io.BytesIO(b"other"))  # so that there are folders
        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(MachineError, match="Input/output error"):
            store.put_blob(source, digest_of(b"blob"))

    def test_drafts_of_killed_writers_are_removed(self, opener: Opener, folder: Path) -> None:
        opener().sweep()
        folder.mkdir(parents=True)
        with atomic_file(folder):
            (folder / ".dead.partial").touch()
            opener().sweep()
            assert len(list(folder.glob(".*.partial"))) == 1
        assert not list(folder.glob(".*.partial"))

    def test_a_draft_that_is_removed_before_it_is_locked_is_made_again(
        self, opener: Opener, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        swept, lock = [], fcntl.flock

        def late(file: int, how: int) -> None:
            swept.extend(path.unlink() for path in folder.glob(".*.partial") if not swept)
            lock(file, how)

        monkeypatch.setattr(fcntl, "flock", late)
        assert opener().has_blob(opener().put_blob(io.BytesIO(b"blob")))
        assert len(swept) == 1

    def test_a_folder_that_the_store_makes_is_private(self, opener: Opener, folder: Path) -> None:
        opener().create_document("inputs/a.json", b"{}")
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / ".lock").stat().st_mode & 0o777 == 0o600

    def test_a_folder_that_was_there_stays_as_it_was(self, opener: Opener, folder: Path) -> None:
        folder.mkdir(parents=True)
        folder.chmod(0o755)
        (folder / ".lock").touch(0o644)
        opener().create_document("inputs/a.json", b"{}")
        assert folder.stat().st_mode & 0o777 == 0o755
        assert (folder / ".lock").stat().st_mode & 0o777 == 0o600

    def test_a_process_that_holds_a_shared_store_s_lock_is_named(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        folder.chmod(0o777)
        store = FolderStore(folder, wait=0.3)
        store.create_document("inputs/a.json", b"{}")
        assert (folder / ".lock").stat().st_mode & 0o777 == 0o666
        with subprocess.Popen(["flock", "--no-fork", folder / ".lock", "sleep", "60"]) as holder:
            until(lambda: is_held(folder / ".lock"))
            with pytest.raises(LockHeld, match=rf"process {holder.pid} of .*sleep 60.*\n.*end it") as failed:
                store.create_document("inputs/b.json", b"{}")
            assert failed.value.status == 3
            holder.kill()
        store.create_document("inputs/b.json", b"{}")

    @pytest.mark.parametrize("name", ["blobs", "blobs/sha256", "inputs", "inputs/a"])
    def test_links_in_the_store_are_not_followed(self, opener: Opener, folder: Path, tmp_path: Path, name: str) -> None:
        (folder / name).parent.mkdir(parents=True)
        (folder / name).symlink_to(tmp_path)
        (tmp_path / "b.json").write_text("{}")
        with pytest.raises(MachineError, match="is a link") if "blobs" in name else contextlib.nullcontext():
            opener().put_blob(io.BytesIO(b"blob"))
        with pytest.raises(MachineError, match="is a link") if "inputs" in name else contextlib.nullcontext():
            opener().create_document("inputs/a/c.json", b"{}")
        if "inputs" in name:
            for read in (opener().read_document, opener().list_documents, opener().list_folders):
                with pytest.raises(MachineError, match="is a link"):
                    read("inputs/a/b.json")
        assert [path.name for path in tmp_path.iterdir()] == ["b.json"]

    def test_a_link_that_comes_at_the_last_moment_is_not_followed(self, folder: Path, tmp_path: Path) -> None:
        folder.mkdir(parents=True)
        with atomic_file(folder, contextlib.nullcontext) as new:
            new.write(b"blob")
            (folder / "blobs").symlink_to(tmp_path)
            with pytest.raises(NotADirectoryError):
                new.commit_synced(folder, "blobs/sha256/a")
        assert list(tmp_path.iterdir()) == []

    @as_root
    def test_another_users_folder_is_refused_unless_it_is_shared(
        self, opener: Opener, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder.mkdir(parents=True)
        folder.chmod(0o755)
        os.chown(folder, NOBODY, NOBODY)
        for use in (opener().sweep, functools.partial(opener().list_documents, "inputs")):
            with pytest.raises(MachineError, match=r"belongs to nobody[\s\S]*chmod 2770"):
                use()
        with pytest.raises(MachineError, match="belongs to nobody"):
            opener().create_document("inputs/a.json", b"{}")
        assert list(folder.iterdir()) == []
        folder.chmod(0o2770)
        opener().create_document("inputs/a.json", b"{}")
        status = (folder / ".lock").stat()
        assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (0o660, NOBODY, NOBODY)
        folder.chmod(0o755)
        monkeypatch.setenv("SUDO_UID", str(NOBODY))
        assert opener().list_documents("inputs") == ["inputs/a.json"]

    @pytest.mark.parametrize("kind", ["link", "pipe"])
    def test_files_that_are_no_drafts_are_not_opened(
        self, opener: Opener, folder: Path, tmp_path: Path, kind: str
    ) -> None:
        opener().create_document("inputs/a.json", b"{}")
        strange = folder / ".strange.partial"
        (target := tmp_path / "target").write_text("precious")
        strange.symlink_to(target) if kind == "link" else os.mkfifo(strange)
        opener().sweep()
        assert target.read_text() == "precious"

    def test_other_files_are_no_documents(self, opener: Opener, folder: Path) -> None:
        opener().create_document("inputs/a.json", b"{}")
        (folder / "inputs/.a.json.swp").touch()
        (folder / "inputs/a copy.json").touch()
        assert opener().list_documents("inputs") == ["inputs/a.json"]

    def test_a_file_where_the_folder_should_be(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        for path in (tmp_path / "file", tmp_path / "file" / "below"):
            store = FolderStore(path)
            (source := tmp_path / "source").write_bytes(b"x")
            with pytest.raises(MachineError, match="another as the store"):
                store.put_blob(source, digest_of(b"x"))
            with pytest.raises(MachineError, match="another as the store"):
                store.put_blob(io.BytesIO(b"x"))
            with pytest.raises(MachineError, match="another as the store"):
                store.create_document("inputs/a.json", b"{}")

    def test_a_missing_source_is_not_reported_as_the_store_s_error(self, opener: Opener, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            opener().put_blob(tmp_path / "none")


@pytest.mark.parametrize(
    ("address", "folder"),
    [
        ("/srv/store", "/srv/store"),
        ("file:///srv/store", "/srv/store"),
        ("file:///srv/a%20b", "/srv/a b"),
        ("file://localhost/srv/store", "/srv/store"),
        ("store", str(Path.cwd() / "store")),
        ("~/store", str(Path.home() / "store")),
    ],
)
def test_addresses_of_folders(address: str, folder: str) -> None:
    store = open_store(address)
    assert isinstance(store, FolderStore)
    assert store.folder == Path(folder)
    again = open_store(store.address)
    assert again.address == store.address


@pytest.mark.parametrize(
    "address",
    ["", "file:srv", "file://srv/store", "file:///srv?x=1", "http://127.0.0.1/store", "s3:///x", "s3://", "gs://x"],
)
def test_an_invalid_address_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="not a store's address"):
        open_store(address)


@pytest.mark.parametrize("prefix", ["../x", "a//b", "a/.b", "a b"])
def test_an_invalid_prefix_is_refused(prefix: str) -> None:
    with pytest.raises(InputError, match="plain names"):
        open_store(f"s3://bucket/{prefix}")


def test_a_folder_needs_no_boto3() -> None:
    code = "import sys; from flows.store.open import open_store; open_store('/x'); sys.exit('boto3' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
