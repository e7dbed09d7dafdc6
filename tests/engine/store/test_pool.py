"""The pool in a real S3 server, and on full disks."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.store.open import open_store
from flows.store.store import Store
from rootfs.errors import BlobDamaged, BuildError
from rootfs.lock.lock import Package
from rootfs.packages.pool import fill_pool, write_debs, write_debs_repairing
from rootfs.system.errors import DiskFull
from tests.support.mirror import Mirror
from tests.support.services.s3 import S3Server
from tests.support.store.suite import pattern

LARGE = 20 << 20  # bytes: several parts of a multi-part upload, and more than the small disk has


@pytest.fixture
def store(s3_server: S3Server, bucket: str) -> Store:
    return open_store(f"s3://{bucket}/prefix", endpoint=s3_server.endpoint)


def fill_from(mirror: Mirror, store: Store, folder: Path, *debs: Package) -> int:
    return fill_pool(debs, store, mirror.mirror, offline=False, log=print, folder=folder / "partial").fetched


def test_debs_by_way_of_s3(mirror: Mirror, store: Store, tmp_path: Path) -> None:
    data = {f"p{number}": pattern(1000 + number) for number in range(20)} | {"large": pattern(LARGE)}
    debs = [mirror.offer(name, content) for name, content in data.items()]
    assert fill_from(mirror, store, tmp_path, *debs) == 21
    assert fill_from(mirror, store, tmp_path, *debs) == 0
    assert len(mirror.asked) == 21
    (tmp_path / "debs").mkdir()
    assert write_debs(debs, store, tmp_path / "debs") == {}
    assert all((tmp_path / "debs" / deb.file_name).read_bytes() == data[deb.name] for deb in debs)


@pytest.mark.parametrize("size", [1000, LARGE])
def test_one_flipped_bit_is_noticed_and_repaired_or_reported(
    mirror: Mirror, store: Store, s3_server: S3Server, bucket: str, tmp_path: Path, size: int
) -> None:
    def flip() -> None:
        [blob] = (s3_server.data / bucket).rglob(deb.sha256)
        content = bytearray(blob.read_bytes())
        content[size // 2] ^= 1
        blob.write_bytes(content)

    deb = mirror.offer("libc6", pattern(size))
    fill_from(mirror, store, tmp_path, deb)
    flip()
    assert {deb: BlobDamaged} == {deb: type(why) for deb, why in write_debs([deb], store, tmp_path).items()}
    write_debs_repairing([deb], store, tmp_path, mirror.mirror, False, print)
    assert (tmp_path / deb.file_name).read_bytes() == pattern(size)
    assert write_debs([deb], store, tmp_path) == {}
    flip()
    with pytest.raises(BuildError, match=f"{deb.digest}.*is damaged"):
        write_debs_repairing([deb], store, tmp_path, mirror.mirror, True, print)
    mirror.files.clear()
    with pytest.raises(BuildError, match=f"{deb.digest}.*no longer has libc6"):
        write_debs_repairing([deb], store, tmp_path, mirror.mirror, False, print)


def test_a_download_to_a_full_disk(mirror: Mirror, small_disk: Path, tmp_path: Path) -> None:
    deb, store = mirror.offer("libc6", pattern(LARGE)), open_store(str(tmp_path / "store"))
    with pytest.raises(DiskFull, match=str(small_disk)):
        fill_from(mirror, store, small_disk, deb)
    assert not store.has_blob(deb.digest)
    assert fill_from(mirror, store, tmp_path, deb) == 1


def test_debs_are_laid_out_on_a_full_disk(mirror: Mirror, small_disk: Path, tmp_path: Path) -> None:
    deb, store = mirror.offer("libc6", pattern(LARGE)), open_store(str(tmp_path / "store"))
    fill_from(mirror, store, tmp_path, deb)
    with pytest.raises(DiskFull, match=str(small_disk)):
        write_debs_repairing([deb], store, small_disk, mirror.mirror, False, print)
    assert list(small_disk.iterdir()) == []
