"""Tarballs come into the pool from a folder or an address, complete and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from flows.store.open import open_store
from rootfs.apt.errors import AccessDenied
from rootfs.apt.transfer import Transfers
from rootfs.errors import BaseforgeError, BuildError, InputError, NetworkFailure
from rootfs.packages import tarball_source as module
from rootfs.packages.tarball_signature import verified_signer
from rootfs.packages.tarball_source import TarballSource, archive_digest
from rootfs.tarball.errors import TarballRefused
from tests.support.debian import Signer
from tests.support.debian import signer as signing
from tests.support.mirror import Mirror, cut, drips, says
from tests.support.trees import recipe

DATA = bytes(range(256)) * 400
SHA256 = hashlib.sha256(DATA).hexdigest()
DIGEST = f"sha256:{SHA256}"
PATH = "/rootfs.tar.xz"


@pytest.fixture
def mirror(mirror: Mirror) -> Mirror:
    mirror.files[PATH] = DATA
    return mirror


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSES", (0.01, 0.02))


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path / "store"))


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r/rootfs.tar").write_bytes(DATA)
    return tmp_path / "r"


def source(said, folder, store, *, offline=False) -> TarballSource:
    quick = Transfers(timeout=0.5)
    return TarballSource(said, folder, store, folder.parent / "cache", offline, [].append, quick)


def remote(mirror, **keys):
    return recipe(source=mirror.address + PATH, **{"sha256": SHA256, **keys})


def test_the_digest_of_a_tarball_is_found(folder):
    assert archive_digest(recipe(), folder) == archive_digest(recipe(sha256=SHA256), folder) == DIGEST
    assert archive_digest(recipe(source="https://a.example/x.tar", sha256="a" * 64), folder) == f"sha256:{'a' * 64}"
    (folder / "rootfs.tar").write_bytes(DATA + b"more")
    assert archive_digest(recipe(), folder) != DIGEST
    with pytest.raises(BuildError, match="another archive"):
        archive_digest(recipe(sha256=SHA256), folder)
    (folder / "rootfs.tar").unlink()
    assert archive_digest(recipe(sha256=SHA256), folder) == DIGEST  # which the pool may have
    with pytest.raises(InputError, match="this archive cannot be had:"):
        archive_digest(recipe(), folder)


def test_a_file_of_the_folder_is_kept_in_the_pool(folder, store, tmp_path):
    assert source(recipe(), folder, store).put_in_pool(DIGEST) == 0
    (folder / "rootfs.tar").unlink()
    gone = source(recipe(), folder, store)
    gone.put_in_pool(DIGEST)
    gone.write(DIGEST, tmp_path / "it")
    assert (tmp_path / "it").read_bytes() == DATA


def test_a_missing_tarball_is_reported(folder, store):
    (folder / "rootfs.tar").unlink()
    with pytest.raises(InputError, match="neither there nor in the pool"):
        source(recipe(), folder, store).put_in_pool(DIGEST)


GOOD = [[], [cut(1000)], [cut(1000), cut(5000)], [says(503), cut(0, dated=False)], [cut(1000), says(416)]]


@pytest.mark.parametrize("answers", GOOD)
def test_an_address_is_downloaded_once(answers, mirror, folder, store):
    mirror.answers[PATH] = list(answers)
    wanted = source(remote(mirror), folder, store)
    assert wanted.put_in_pool(DIGEST) == len(DATA)
    asked = len(mirror.asked)
    assert wanted.put_in_pool(DIGEST) == 0
    assert (len(mirror.asked), asked) == (asked, len(answers) + 1)
    assert list((folder.parent / "cache").iterdir()) == []


def test_a_later_run_goes_on_where_one_broke_off(mirror, folder, store):
    mirror.answers[PATH] = [cut(1000), cut(2000), cut(3000)]
    with pytest.raises(NetworkFailure, match="the archive could not be fetched:"):
        source(remote(mirror), folder, store).put_in_pool(DIGEST)
    source(remote(mirror), folder, store).put_in_pool(DIGEST)
    assert mirror.asked[-1][1]["Range"] == "bytes=3000-"


BAD = [
    ([says(404)], InputError, "404"),
    ([says(401)], AccessDenied, "wants a name and a password"),
    ([says(403)], AccessDenied, "403"),
    ([says(407)], AccessDenied, "the proxy"),
    ([says(500)] * 3, NetworkFailure, "500"),
    ([says(200, b"<html>")], BuildError, "another archive"),
    ([says(200, DATA + b"more")], BuildError, "another archive"),
]


@pytest.mark.parametrize(("answers", "error", "said"), BAD)
def test_a_failed_download_is_not_kept(answers, error, said, mirror, folder, store):
    mirror.answers[PATH] = list(answers)
    with pytest.raises(error, match=said):
        source(remote(mirror), folder, store).put_in_pool(DIGEST)
    assert not store.has_blob(DIGEST)


def test_an_address_that_sends_very_slowly_is_given_up(mirror, folder, store):
    mirror.answers[PATH] = [drips(0.05)] * 3
    slow = replace(source(remote(mirror), folder, store), transfers=Transfers(rate=1000, window=0.3))
    with pytest.raises(NetworkFailure, match=r"it sent \d bytes in 0.3 s") as caught:
        slow.put_in_pool(DIGEST)
    assert caught.value.where == mirror.address + PATH
    assert "another address" in caught.value.hint


@pytest.mark.parametrize("address", ["http://127.0.0.1:1/x", "http://nowhere.invalid/x"])
def test_unreachable_addresses_are_reported(address, folder, store):
    with pytest.raises(BaseforgeError):
        source(recipe(source=address, sha256=SHA256), folder, store).put_in_pool(DIGEST)


def test_a_tarball_larger_than_the_limit_is_refused(mirror, folder, store):
    with pytest.raises(TarballRefused, match="raise `largest`"):
        source(remote(mirror, largest=1000), folder, store).put_in_pool(DIGEST)


def test_nothing_is_asked_when_offline(mirror, folder, store):
    with pytest.raises(BuildError, match=SHA256):
        source(remote(mirror), folder, store, offline=True).put_in_pool(DIGEST)
    assert mirror.asked == []


def test_a_damaged_tarball_is_downloaded_again(mirror, folder, store, tmp_path):
    wanted = source(remote(mirror), folder, store)
    wanted.put_in_pool(DIGEST)
    blob = next((tmp_path / "store/blobs").rglob(SHA256))
    blob.chmod(0o644)
    blob.write_bytes(b"bad")
    wanted.write(DIGEST, tmp_path / "it")
    assert (tmp_path / "it").read_bytes() == blob.read_bytes() == DATA


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Signer, Signer]]:
    folder = tmp_path_factory.mktemp("keys")
    with signing(folder / "ours") as ours, signing(folder / "other") as other:
        yield ours, other


@pytest.mark.parametrize("form", [(), ("--armor",)])
@pytest.mark.parametrize("ring", ["keyring", "armoured"])
def test_a_signature_is_by_a_key_of_the_keyring_and_of_these_bytes(form, ring, keys, folder, tmp_path):
    ours, other = keys
    (folder / "sig").write_bytes(ours.gpg(*form, "--detach-sign", data=DATA))
    (folder / "ring").write_bytes(getattr(ours, ring).read_bytes())
    signed = recipe(signature="sig", keyring="ring")

    def check(archive: bytes = DATA) -> str:
        (tmp_path / "it").write_bytes(archive)
        return verified_signer(signed, folder, tmp_path / "it", tmp_path / "cache", offline=False, log=[].append)

    assert len(check()) == 40
    for wrong in (DATA[:-1], b""):
        with pytest.raises(BuildError, match="none of the keyring's keys"):
            check(wrong)
    (folder / "ring").write_bytes(other.keyring.read_bytes())
    with pytest.raises(BuildError, match="none of the keyring's keys"):
        check()
    (folder / "sig").write_bytes(b"no signature")
    with pytest.raises(BuildError, match="none of the keyring's keys"):
        check()


def test_a_signature_at_an_address_is_fetched_once(keys, mirror, folder, tmp_path):
    ours, _ = keys
    mirror.files["/sig"] = ours.gpg("--detach-sign", data=DATA)
    (folder / "ring").write_bytes(ours.keyring.read_bytes())
    signed = recipe(signature=f"{mirror.address}/sig", keyring="ring")

    def check(*, offline: bool) -> str:
        archive = folder / "rootfs.tar"
        return verified_signer(signed, folder, archive, tmp_path / "cache", offline=offline, log=[].append)

    with pytest.raises(BuildError, match="this signature is not kept here, and no address may be asked"):
        check(offline=True)
    assert check(offline=False) == check(offline=True)
    assert len(mirror.asked) == 1


def test_a_tarball_without_signature_is_not_checked(folder, tmp_path):
    assert verified_signer(recipe(), folder, Path(), tmp_path, offline=True, log=[].append) == ""
