"""Memory does not grow with a blob's size: each operation runs in its own process, whose peak is measured."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from flows.store.open import open_store
from flows.store.store import Store
from tests.support.services.s3 import S3Server
from tests.support.store.suite import SPAWN
from tests.support.store.workers import Opener

SIZE = 300 << 20  # bytes of the blob
GROWTH = 64 << 20  # bytes at most, over what a small blob takes

Way = Callable[[Store, Path], str]


def file(store: Store, path: Path) -> str:
    return store.put_blob(path)


def stream(store: Store, path: Path) -> str:
    with path.open("rb") as source:
        return store.put_blob(source)


def peak() -> int:
    # Not getrusage: its peak is handed down to a new process by the one that started it.
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) << 10


def growth(opener: Opener, way: Way) -> tuple[int, int]:
    """How much the peak of this process grew in putting a large blob, and then in fetching it, in bytes."""
    store = opener()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "source"
        path.write_bytes(b"small")
        store.fetch_blob(way(store, path), Path(folder) / "copy")
        before = peak()
        with path.open("wb") as sparse:
            sparse.truncate(SIZE)
            sparse.write(b"large")
        digest = way(store, path)
        put = peak() - before
        store.fetch_blob(digest, Path(folder) / "copy")
        return put, peak() - before


def measure(opener: Opener, way: Way, kind: str) -> None:
    with ProcessPoolExecutor(1, mp_context=SPAWN) as pool:
        put, both = pool.submit(growth, opener, way).result()
    print(f"{kind}: {put / 2**20:.1f} MiB more to put {SIZE >> 20} MiB, {both / 2**20:.1f} MiB with fetching it")  # noqa: T201
    assert both < GROWTH


@pytest.mark.parametrize("way", [file, stream])
def test_a_folder(tmp_path: Path, way: Way) -> None:
    measure(functools.partial(open_store, str(tmp_path / "store")), way, "folder")


@pytest.mark.parametrize("way", [file, stream])
def test_s3(s3_server: S3Server, bucket: str, way: Way) -> None:
    measure(functools.partial(open_store, f"s3://{bucket}", endpoint=s3_server.endpoint), way, "S3")
