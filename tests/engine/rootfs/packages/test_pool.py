"""The pool: missing packages are fetched once; damaged ones are noticed and fetched again or named."""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from flows.store.folder import FolderStore
from flows.store.open import open_store
from rootfs.apt.errors import ArchiveMoved
from rootfs.errors import BlobDamaged, BlobMissing, BuildError, NetworkFailure
from rootfs.lock.lock import Package
from rootfs.packages import download as module
from rootfs.packages.errors import DebMismatch
from rootfs.packages.pool import BlobStore, fill_pool, write_debs, write_debs_repairing
from rootfs.system.errors import DiskFull
from tests.support.mirror import Mirror, cut, package, says

LARGE = 100 << 20  # bytes of one deb
GROWTH = 50 << 20  # bytes at most that the process may grow by for it


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSES", (0.01, 0.02))


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def debs(tmp_path: Path) -> Path:
    (tmp_path / "debs").mkdir()
    return tmp_path / "debs"


class Shop:
    """Fill a store and lay debs out of it, as a build does."""

    def __init__(self, store: BlobStore, mirror: Mirror, folder: Path) -> None:
        self.store, self.mirror, self.folder = store, mirror, folder
        self.said: list[str] = []

    def fill(self, *packages: Package, offline: bool = False) -> tuple[int, int, int]:
        partial = self.folder / "partial"
        filled = fill_pool(
            packages, self.store, self.mirror.mirror, offline=offline, log=self.said.append, folder=partial
        )
        assert filled.seconds > 0
        return filled.present, filled.fetched, filled.bytes

    def lay_out(self, *packages: Package, offline: bool = False) -> None:
        write_debs_repairing(packages, self.store, self.folder / "debs", self.mirror.mirror, offline, self.said.append)


@pytest.fixture
def shop(store: FolderStore, mirror: Mirror, tmp_path: Path, debs: Path) -> Shop:
    return Shop(store, mirror, tmp_path)


def flip(store: FolderStore, deb: Package) -> None:
    """Change the last bit of a deb in the pool."""
    data = blob_of(store, deb).read_bytes()
    drop(store, deb)
    blob_of(store, deb).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))


def drop(store: FolderStore, deb: Package) -> None:
    blob_of(store, deb).unlink()


def blob_of(store: FolderStore, deb: Package) -> Path:
    return store.folder / "blobs/sha256" / deb.sha256


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# Filling


def test_missing_packages_are_fetched_once(shop: Shop, mirror: Mirror, store: FolderStore) -> None:
    debs = [mirror.offer(f"p{number}", b"%d" % number * 100) for number in range(12)]
    assert shop.fill(*debs[:10]) == (0, 10, 1000)
    assert shop.fill(*debs) == (10, 2, 400)
    assert shop.fill(*debs) == (12, 0, 0)
    assert len(mirror.asked) == 12
    assert len(shop.said) == 2
    assert all(store.has_blob(deb.digest) for deb in debs)
    assert contents(shop.folder / "partial") == {}


def test_a_full_pool_needs_no_archive_and_no_folder(shop: Shop, mirror: Mirror) -> None:
    deb = mirror.offer("libc6", b"libc6")
    shop.fill(deb)
    (shop.folder / "partial").rmdir()
    assert shop.fill(deb, offline=True) == (1, 0, 0)
    assert shop.fill() == (0, 0, 0)
    assert not (shop.folder / "partial").exists()


def test_the_same_bytes_under_two_names_are_fetched_once(shop: Shop, mirror: Mirror) -> None:
    one, other = mirror.offer("one", b"same"), mirror.offer("other", b"same")
    assert shop.fill(one, other, one) == (0, 1, 4)
    shop.lay_out(one, other)
    assert contents(shop.folder / "debs") == {one.file_name: b"same", other.file_name: b"same"}


def test_a_second_fill_continues_the_first(shop: Shop, mirror: Mirror) -> None:
    deb = mirror.offer("libc6", bytes(5000), cut(2000), says(500), says(500))
    with pytest.raises(NetworkFailure, match="500"):
        shop.fill(deb)
    mirror.asked.clear()
    assert shop.fill(deb) == (0, 1, 5000)
    [(_, headers)] = mirror.asked
    assert headers["Range"] == "bytes=2000-"


def test_a_changed_archive_is_reported_and_other_packages_are_kept(
    shop: Shop, mirror: Mirror, store: FolderStore
) -> None:
    gone, there = package("gone", b"gone"), [mirror.offer(f"p{number}", b"%d" % number) for number in range(12)]
    with pytest.raises(ArchiveMoved, match=r"gone 1\.0-1"):
        shop.fill(gone, *there)
    assert all(store.has_blob(deb.digest) for deb in there)


def test_a_file_with_another_digest_is_never_kept(shop: Shop, mirror: Mirror, store: FolderStore) -> None:
    deb = mirror.offer("libc6", b"right", says(200, b"wrong"), says(200, b"wrong"))
    with pytest.raises(DebMismatch, match=r"libc6 1\.0-1"):
        shop.fill(deb)
    assert not store.has_blob(deb.digest)
    assert shop.fill(deb) == (0, 1, 5)


@pytest.mark.parametrize(
    ("count", "named"), [(1, "lacks p0 1.0-1\n"), (5, "p3 1.0-1, p4 1.0-1\n"), (8, "p4 1.0-1 and 3 more\n")]
)
def test_offline_missing_packages_are_named(shop: Shop, mirror: Mirror, count: int, named: str) -> None:
    lacking = [package(f"p{number}", b"%d" % number) for number in range(count)]
    with pytest.raises(BuildError, match="the pool lacks") as caught:
        shop.fill(mirror.offer("other", b"other"), *lacking[1:], offline=True)
    assert "other 1.0-1" in str(caught.value)
    shop.fill(mirror.offer("other", b"other"))
    with pytest.raises(BuildError, match="the pool lacks") as caught:
        shop.fill(mirror.offer("other", b"other"), *lacking, offline=True)
    assert named in str(caught.value)
    assert "--offline" in caught.value.hint
    assert len(mirror.asked) == 1


def test_fills_at_once_share_the_work_folder(shop: Shop, mirror: Mirror, store: FolderStore) -> None:
    debs = [mirror.offer(f"p{number}", b"%d" % number * 50_000) for number in range(12)]
    with ThreadPoolExecutor(3) as threads:
        for done in [threads.submit(shop.fill, *debs) for _ in range(3)]:
            done.result()
    assert write_debs(debs, store, shop.folder / "debs") == {}


class Full:
    """A store whose disk is full."""

    def __init__(self, store: FolderStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def put_blob(self, *_: object) -> str:
        raise DiskFull(self._store.folder)


def test_a_store_that_is_full_ends_it_and_nothing_comes_twice(mirror: Mirror, store: FolderStore, debs: Path) -> None:
    deb = mirror.offer("libc6", b"libc6")
    with pytest.raises(DiskFull, match="store"):
        Shop(Full(store), mirror, debs.parent).fill(deb)  # type: ignore[arg-type]
    assert Shop(store, mirror, debs.parent).fill(deb) == (0, 1, 5)
    assert len(mirror.asked) == 1


# Laying out


def test_debs_are_laid_out_by_apts_names(shop: Shop, mirror: Mirror, store: FolderStore, debs: Path) -> None:
    one, other = mirror.offer("one", b"one", version="2:1.0~rc1+b1"), mirror.offer("other", b"other")
    shop.fill(one, other)
    assert write_debs([one, other], store, debs) == {}
    assert contents(debs) == {"one_2%3a1.0~rc1+b1_amd64.deb": b"one", "other_1.0-1_amd64.deb": b"other"}


def test_damaged_packages_are_returned_and_not_used(shop: Shop, mirror: Mirror, store: FolderStore) -> None:
    debs = [mirror.offer(f"p{number}", b"%d" % number * 5000) for number in range(10)]
    shop.fill(*debs)
    flip(store, debs[2])
    flip(store, debs[7])
    drop(store, debs[5])
    bad = write_debs(debs, store, shop.folder / "debs")
    assert [(deb.name, type(problem)) for deb, problem in bad.items()] == [
        ("p2", BlobDamaged),
        ("p5", BlobMissing),
        ("p7", BlobDamaged),
    ]
    assert sorted(contents(shop.folder / "debs")) == sorted(deb.file_name for deb in debs if deb not in bad)


Spoil = Callable[[FolderStore, Package], None]


@pytest.mark.parametrize("spoil", [flip, drop])
def test_a_damaged_deb_is_fetched_again(
    shop: Shop, mirror: Mirror, store: FolderStore, debs: Path, spoil: Spoil
) -> None:
    bad, fine = mirror.offer("bad", b"bad" * 1000), mirror.offer("fine", b"fine")
    shop.fill(bad, fine)
    spoil(store, bad)
    mirror.asked.clear()
    shop.lay_out(bad, fine)
    assert contents(debs) == {bad.file_name: b"bad" * 1000, fine.file_name: b"fine"}
    assert len(mirror.asked) == 1
    assert any(bad.digest in line for line in shop.said)
    assert write_debs([bad, fine], store, debs) == {}
    mode = (store.folder / "blobs/sha256" / bad.sha256).stat().st_mode
    assert mode & 0o222 == 0


def unreachable(mirror: Mirror, deb: Package) -> None:
    mirror.answers[f"/{deb.path}"] = [says(500)] * 3


def gone(mirror: Mirror, deb: Package) -> None:
    del mirror.files[f"/{deb.path}"]


def another(mirror: Mirror, deb: Package) -> None:
    mirror.files[f"/{deb.path}"] = b"other"


@pytest.mark.parametrize(
    ("trouble", "offline", "why"),
    [
        (gone, False, "the archive no longer has bad"),
        (another, False, "this is not bad"),
        (unreachable, False, "the archive does not answer as it should: it answers 500"),
        (None, True, "no archive is asked when offline"),
    ],
)
@pytest.mark.parametrize(("spoil", "state"), [(flip, "it is damaged; "), (drop, "it is missing; ")])
def test_a_damaged_deb_that_the_archive_lost_is_named(
    shop: Shop,
    mirror: Mirror,
    store: FolderStore,
    trouble: Callable[[Mirror, Package], None] | None,
    offline: bool,
    why: str,
    spoil: Spoil,
    state: str,
) -> None:
    bad, fine = mirror.offer("bad", b"bad" * 1000), mirror.offer("fine", b"fine")
    shop.fill(bad, fine)
    spoil(store, bad)
    mirror.asked.clear()
    if trouble:
        trouble(mirror, bad)
    with pytest.raises(BuildError) as caught:
        shop.lay_out(bad, fine, offline=offline)
    for words in (bad.file_name, bad.digest, state + why, "another store", "baseforge build"):
        assert words in str(caught.value)
    assert fine.file_name not in str(caught.value)
    assert not (offline and mirror.asked)


def test_each_lost_deb_is_named_and_the_others_are_fetched_again(
    shop: Shop, mirror: Mirror, store: FolderStore
) -> None:
    debs = [mirror.offer(f"p{number:02}", b"%d" % number * 5000) for number in range(16)]
    shop.fill(*debs)
    for deb in debs:
        flip(store, deb)
    for deb in debs[4:]:
        gone(mirror, deb)
    with pytest.raises(BuildError, match="12 of the pool's debs") as caught:
        shop.lay_out(*debs)
    assert str(caught.value).count("the archive no longer has") == 10
    assert "… and 2 more" in str(caught.value)
    assert list(write_debs(debs, store, shop.folder / "debs")) == debs[4:]


class Rotten:
    """A store on a disk that changes whatever is written to it."""

    def __init__(self, store: FolderStore, deb: Package) -> None:
        self._store, self._deb = store, deb

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def put_blob(self, *words: object, **more: object) -> str:
        digest = self._store.put_blob(*words, **more)  # type: ignore[arg-type]
        flip(self._store, self._deb)
        return digest


def test_a_deb_that_is_damaged_again_is_not_fetched_for_ever(mirror: Mirror, store: FolderStore, debs: Path) -> None:
    deb = mirror.offer("bad", b"bad")
    shop = Shop(Rotten(store, deb), mirror, debs.parent)  # type: ignore[arg-type]
    shop.fill(deb)
    with pytest.raises(BuildError, match="check the disk"):
        shop.lay_out(deb)
    assert len(mirror.asked) == 2


# Memory


def peak() -> int:
    # Not getrusage: its peak is handed down to a new process by the one that started it.
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) << 10


def growth(address: str, store: str, folder: Path, small: Package, large: Package) -> int:
    """How much the peak of this process grew in fetching a large deb and laying it out, in bytes."""
    blobs = open_store(store)
    before = 0
    for deb in (small, large):
        before = peak()
        fill_pool([deb], blobs, lambda _: address, offline=False, log=lambda _: None, folder=folder)
        assert write_debs([deb], blobs, folder) == {}
    return peak() - before


def test_memory_does_not_grow_with_a_deb(mirror: Mirror, store: FolderStore, debs: Path) -> None:
    small = mirror.offer("small", b"small")
    large = mirror.offer("large", random.Random(0).randbytes(1 << 20) * (LARGE >> 20))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        grown = process.submit(growth, mirror.address, store.address, debs, small, large).result()
    print(f"{grown / 2**20:.1f} MiB more for a deb of {LARGE >> 20} MiB")  # noqa: T201
    assert grown < GROWTH
