"""Tests that every store must pass: unit tests run them on a folder, engine tests on a real S3 server."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import json
import multiprocessing
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flows.store.errors import Conflict, InvalidKey
from flows.store.store import Store, StoredDocument
from rootfs.errors import BlobDamaged, BlobMissing, BuildError
from tests.support.store.workers import ABSENT, Opener, count_up, create, digest_of, put, put_until_stopped, replace

Crew = tuple[Executor, Opener]

SPAWN = multiprocessing.get_context("spawn")
WRITERS = 6

NO_DIGESTS = ("", "0" * 64, "sha256:", f"sha256:{'A' * 64}", "sha256:../../x", f"sha1:{'0' * 40}", f"{ABSENT}\n")
NO_KEYS = (
    *("", "/etc/passwd", "..", "../x.json", "a/../b.json", "a/./b", "a//b", "a/", ".lock", "a/.b", "~/x", "-x"),
    *("blobs", "blobs/a.json", "a\0b", "a b", "a\\b", "a\n", "é.json", "a*", "a" * 300, "/".join(["a" * 100] * 9)),
)
KEYS = ("a", "images/noble_1.2-x/builds/20261123T020000Z-1a2b3c4d.json", "inputs/sha256:00.json", "_/c++@1.json")

# One session runs the suite against every kind of store: that is meant; no example of one is replayed on another.
same_store = functools.partial(
    settings,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
)
fresh = itertools.count()


def pattern(size: int) -> bytes:
    """Bytes that differ in every chunk, so that chunks in the wrong order are noticed."""
    return random.Random(size).randbytes(size)


def current(store: Store, key: str) -> bytes:
    now = store.read_document(key)
    assert now
    return now.data


class Breaking(io.RawIOBase):
    """A stream that gives some bytes and then raises."""

    def __init__(self, data: bytes, error: BaseException) -> None:
        self._data, self._error = io.BytesIO(data), error

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._data.read(len(buffer))
        if not data:
            raise self._error
        buffer[: len(data)] = data
        return len(data)


class Unread(io.RawIOBase):
    """A stream that nobody may read."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        raise AssertionError("read")


class StoreSuite:
    """Fixtures a subclass gives: `opener`, `spoil` (a blob's bytes, changed behind the store's back), `halves`."""

    large = 3 << 20  # bytes: more than is read at once

    def _bytes(self, large: bool) -> bytes:
        return pattern(self.large if large else 10)

    @pytest.fixture
    def store(self, opener: Opener) -> Store:
        return opener()

    @pytest.fixture(params=["threads", "processes"])
    def crew(self, request: pytest.FixtureRequest, opener: Opener, store: Store) -> Iterator[Crew]:
        """Writers at once: threads that share one store, or processes with one each."""
        if request.param == "threads":
            with ThreadPoolExecutor(WRITERS) as pool:
                yield pool, lambda: store
        else:
            with ProcessPoolExecutor(2, mp_context=SPAWN) as pool:
                yield pool, opener

    # Blobs

    @same_store(max_examples=25)
    @given(data=st.binary(max_size=1 << 16), named=st.booleans(), from_file=st.booleans())
    def test_blobs_come_back(self, store: Store, tmp_path: Path, data: bytes, named: bool, from_file: bool) -> None:
        path = tmp_path / "source"
        path.write_bytes(data)
        digest = store.put_blob(path if from_file else io.BytesIO(data), digest_of(data) if named else None)
        assert digest == digest_of(data)
        assert store.has_blob(digest)
        assert store.blob_size(digest) == len(data)
        with store.open_blob(digest) as stream:
            assert stream.read() == data

    @pytest.mark.parametrize("named", [True, False])
    @pytest.mark.parametrize("from_file", [True, False])
    def test_a_large_blob_comes_back(self, store: Store, tmp_path: Path, named: bool, from_file: bool) -> None:
        data = self._bytes(large=True)
        path = tmp_path / "source"
        path.write_bytes(data)
        digest = store.put_blob(path if from_file else io.BytesIO(data), digest_of(data) if named else None)
        store.fetch_blob(digest, tmp_path / "copy")
        assert (tmp_path / "copy").read_bytes() == data

    def test_a_stream_is_taken_from_where_it_stands(self, store: Store) -> None:
        stream = io.BytesIO(b"head body")
        stream.seek(5)
        assert store.put_blob(stream) == digest_of(b"body")

    def test_a_short_reading_stream_is_taken_whole(self, store: Store) -> None:
        data = self._bytes(large=True)

        class Pipe(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                return super().read(4096 if size is None or size < 0 else min(size, 4096))

        store.put_blob(Pipe(data), digest_of(data))
        with store.open_blob(digest_of(data)) as stream:
            assert stream.read() == data

    def test_a_blob_that_is_there_is_not_read_again(self, store: Store) -> None:
        digest = store.put_blob(io.BytesIO(b"once"))
        assert store.put_blob(io.BufferedReader(Unread()), digest) == digest
        assert store.put_blob(io.BytesIO(b"once")) == digest

    def test_an_absent_blob(self, store: Store, tmp_path: Path) -> None:
        assert not store.has_blob(ABSENT)
        with pytest.raises(BlobMissing, match=ABSENT):
            store.blob_size(ABSENT)
        with pytest.raises(BlobMissing, match=ABSENT), store.open_blob(ABSENT):
            pass
        with pytest.raises(BlobMissing, match=ABSENT):
            store.fetch_blob(ABSENT, tmp_path / "copy")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("large", [False, True])
    @pytest.mark.parametrize("from_file", [True, False])
    def test_other_bytes_than_promised_are_refused(
        self, store: Store, tmp_path: Path, halves: Callable[[], list[str]], large: bool, from_file: bool
    ) -> None:
        data = self._bytes(large)
        path = tmp_path / "source"
        path.write_bytes(data)
        with pytest.raises(BuildError, match=digest_of(data)):
            store.put_blob(path if from_file else io.BytesIO(data), ABSENT)
        assert not store.has_blob(ABSENT)
        assert not store.has_blob(digest_of(data))
        assert halves() == []

    def test_what_is_no_digest(self, store: Store) -> None:
        for digest in NO_DIGESTS:
            asks = (
                store.has_blob,
                store.blob_size,
                functools.partial(store.put_blob, io.BytesIO(b"")),
            )
            for ask in asks:
                with pytest.raises(InvalidKey, match="not a name"):
                    ask(digest)
            with pytest.raises(InvalidKey, match="not a name"), store.open_blob(digest):
                pass

    # Damage

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param(lambda data: data[:-1], id="truncated"),
            pytest.param(lambda data: b"", id="emptied"),
            pytest.param(lambda data: data + b"x", id="longer"),
            pytest.param(lambda data: bytes([data[0] ^ 1]) + data[1:], id="first-bit"),
            pytest.param(lambda data: data[:-1] + bytes([data[-1] ^ 1]), id="last-bit"),
        ],
    )
    @pytest.mark.parametrize("large", [False, True])
    def test_damage_is_noticed(
        self,
        store: Store,
        tmp_path: Path,
        spoil: Callable[[str, Callable[[bytes], bytes]], None],
        change: Callable[[bytes], bytes],
        large: bool,
    ) -> None:
        digest = store.put_blob(io.BytesIO(self._bytes(large)))
        spoil(digest, change)
        with pytest.raises(BlobDamaged, match=digest), store.open_blob(digest) as stream:
            stream.read()
        with pytest.raises(BlobDamaged, match=digest), store.open_blob(digest) as stream:
            stream.read(10)
        (tmp_path / "old").write_bytes(b"old")
        for target in ("old", "new"):
            with pytest.raises(BlobDamaged, match=digest):
                store.fetch_blob(digest, tmp_path / target)
        assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("old", b"old")]

    def test_damage_explains_the_readers_error(
        self, store: Store, spoil: Callable[[str, Callable[[bytes], bytes]], None]
    ) -> None:
        def parse(stream: BinaryIO) -> None:
            with io.TextIOWrapper(stream) as text:  # closes the stream
                json.loads(text.read(5))

        digest = store.put_blob(io.BytesIO(b'{"a": 1}'))
        spoil(digest, lambda data: b"#" + data[1:])
        with pytest.raises(BlobDamaged, match=digest), store.open_blob(digest) as stream:
            parse(stream)

    def test_a_readers_own_error_is_its_own(self, store: Store) -> None:
        digest = store.put_blob(io.BytesIO(b"fine"))
        with pytest.raises(ZeroDivisionError), store.open_blob(digest):
            raise ZeroDivisionError

    def test_a_reader_may_stop_early_and_close(self, store: Store) -> None:
        digest = store.put_blob(io.BytesIO(self._bytes(large=True)))
        with store.open_blob(digest) as stream:
            stream.read(1)
            stream.close()

    def test_fetch_replaces_a_file(self, store: Store, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"old")
        store.fetch_blob(store.put_blob(io.BytesIO(b"new")), tmp_path / "file")
        assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"new")]

    @pytest.mark.parametrize("large", [False, True])
    @pytest.mark.parametrize("named", [True, False])
    @pytest.mark.parametrize("from_file", [True, False])
    def test_a_blob_of_another_length_is_replaced_when_it_is_put(
        self,
        store: Store,
        tmp_path: Path,
        spoil: Callable[[str, Callable[[bytes], bytes]], None],
        large: bool,
        named: bool,
        from_file: bool,
    ) -> None:
        data, path = self._bytes(large), tmp_path / "source"
        path.write_bytes(data)
        digest = store.put_blob(path)
        spoil(digest, lambda data: data[:-1])
        assert store.has_blob(digest)
        assert not store.has_blob(digest, len(data))
        assert store.put_blob(path if from_file else io.BytesIO(data), digest if named else None) == digest
        assert store.has_blob(digest, len(data))
        with store.open_blob(digest) as stream:
            assert stream.read() == data

    @pytest.mark.parametrize("large", [False, True])
    @pytest.mark.parametrize("named", [True, False])
    def test_a_blob_of_other_bytes_is_replaced_where_that_is_checked(
        self, store: Store, spoil: Callable[[str, Callable[[bytes], bytes]], None], large: bool, named: bool
    ) -> None:
        data = self._bytes(large)
        digest = store.put_blob(io.BytesIO(data))
        spoil(digest, lambda data: bytes([data[0] ^ 1]) + data[1:])
        store.put_blob(io.BytesIO(data), digest if named else None, check=True)
        with store.open_blob(digest) as stream:
            assert stream.read() == data

    def test_a_damaged_blob_is_healed_and_nobody_reads_wrong_bytes(
        self, store: Store, opener: Opener, spoil: Callable[[str, Callable[[bytes], bytes]], None]
    ) -> None:
        data = self._bytes(large=True)
        digest = store.put_blob(io.BytesIO(data))
        spoil(digest, lambda now: now[:-1] + bytes([now[-1] ^ 1]))
        begun, reader = threading.Event(), opener()

        def read() -> set[bool | type[Exception]]:
            """What was read, until it was the right bytes."""
            seen: set[bool | type[Exception]] = set()
            while True not in seen:
                try:
                    with reader.open_blob(digest) as stream:
                        seen.add(stream.read() == data)
                except (BlobMissing, BlobDamaged) as error:
                    seen.add(type(error))
                begun.set()
            return seen

        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(read)
            try:
                assert begun.wait(30)
            finally:
                store.put_blob(io.BytesIO(data), digest, check=True)
            assert reading.result() - {BlobMissing} == {BlobDamaged, True}

    # Interruption

    @pytest.mark.parametrize("error", [OSError("the pipe broke"), ValueError("odd")])
    @pytest.mark.parametrize("large", [False, True])
    @pytest.mark.parametrize("named", [True, False])
    def test_an_interrupted_write_leaves_nothing(
        self, store: Store, halves: Callable[[], list[str]], error: BaseException, large: bool, named: bool
    ) -> None:
        data = self._bytes(large)
        with pytest.raises(type(error), match=str(error)):
            store.put_blob(io.BufferedReader(Breaking(data, error)), digest_of(data) if named else None)
        assert not store.has_blob(digest_of(data))
        assert halves() == []

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
    def test_a_stopped_writer_leaves_nothing_to_see(
        self, opener: Opener, store: Store, halves: Callable[[], list[str]], number: signal.Signals
    ) -> None:
        much = SPAWN.Event()
        writer = SPAWN.Process(target=put_until_stopped, args=(opener, much.set))
        writer.start()
        assert writer.pid
        assert much.wait(30)
        os.kill(writer.pid, number)
        writer.join(15)
        assert writer.exitcode == (0 if number == signal.SIGINT else -number)
        assert not store.has_blob(ABSENT)
        assert store.list_documents("images") == []
        if number == signal.SIGINT:
            assert halves() == []

    # Documents

    def test_a_document_comes_back(self, store: Store) -> None:
        assert store.read_document("inputs/one.json") is None
        version = store.create_document("inputs/one.json", b'{"a": "\xc3\xa9"}')
        assert store.read_document("inputs/one.json") == StoredDocument(b'{"a": "\xc3\xa9"}', version)
        second = store.replace_document("inputs/one.json", b"{}", version)
        assert store.read_document("inputs/one.json") == StoredDocument(b"{}", second)

    @pytest.mark.parametrize("data", [b"{}", b"other"])
    def test_create_never_replaces(self, store: Store, data: bytes) -> None:
        store.create_document("inputs/one.json", b"{}")
        with pytest.raises(Conflict, match=r"inputs/one\.json"):
            store.create_document("inputs/one.json", data)
        assert current(store, "inputs/one.json") == b"{}"

    def test_replace_wants_the_version_that_is_there(self, store: Store) -> None:
        first = store.create_document("inputs/one.json", b"1")
        with pytest.raises(Conflict, match=r"inputs/two\.json"):
            store.replace_document("inputs/two.json", b"2", first)
        assert store.read_document("inputs/two.json") is None
        store.replace_document("inputs/one.json", b"2", first)
        with pytest.raises(Conflict, match=r"inputs/one\.json"):
            store.replace_document("inputs/one.json", b"3", first)
        assert current(store, "inputs/one.json") == b"2"

    @same_store(max_examples=15)
    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["create", "replace", "replace old"]),
                st.sampled_from(["builds/a.json", "builds/b.json", "channels/a.json"]),
                st.binary(max_size=200),
            ),
            max_size=12,
        )
    )
    def test_documents_are_as_in_a_model(self, store: Store, steps: list[tuple[str, str, bytes]]) -> None:
        top = f"images/{next(fresh)}"
        model: dict[str, list[tuple[bytes, str]]] = {}
        for step, name, data in steps:
            key = f"{top}/{name}"
            history = model.get(key, [])
            with contextlib.suppress(Conflict):
                if step == "create":
                    version = store.create_document(key, data)
                    assert not history
                else:
                    last = history[0 if step == "replace old" else -1][1] if history else "none"
                    version = store.replace_document(key, data, last)
                    assert history
                    assert last == history[-1][1]
                model[key] = [*history, (data, version)]
        assert store.list_documents(top) == sorted(model)
        for key, history in model.items():
            assert store.read_document(key) == StoredDocument(*history[-1])

    def test_documents_are_listed_by_folder(self, store: Store) -> None:
        keys = ["images/noble/builds/2.json", "images/noble/builds/1.json", "images/noble/channels/x.json"]
        others = ["images/noble-slim/builds/3.json", "inputs/noble.json", "inputs/Z.json", "inputs/a.json"]
        for key in keys + others:
            store.create_document(key, b"{}")
        store.put_blob(io.BytesIO(b"blob"))
        assert store.list_documents("images/noble/builds") == sorted(keys[:2])
        assert store.list_documents("images/noble") == sorted(keys)
        assert store.list_documents("images") == sorted([*keys, others[0]])
        assert store.list_documents("inputs") == ["inputs/Z.json", "inputs/a.json", "inputs/noble.json"]
        assert store.list_documents("images/nob") == []
        assert store.list_documents("images/none") == []
        assert store.list_folders("images") == ["noble", "noble-slim"]
        assert store.list_folders("images/noble") == ["builds", "channels"]
        assert store.list_folders("images/none") == store.list_folders("inputs") == []

    def test_what_is_no_key(self, store: Store) -> None:
        for key in NO_KEYS:
            for ask in (
                store.read_document,
                store.list_documents,
                store.list_folders,
                functools.partial(store.create_document, data=b""),
                functools.partial(store.replace_document, data=b"", version="1"),
            ):
                with pytest.raises(InvalidKey, match="not a name"):
                    ask(key)

    def test_what_is_a_key(self, store: Store) -> None:
        for key in KEYS:
            store.create_document(key, key.encode())
        for key in KEYS:
            assert current(store, key) == key.encode()

    # At once

    @pytest.mark.parametrize("large", [False, True])
    def test_one_blob_from_many_writers(
        self, store: Store, crew: Crew, halves: Callable[[], list[str]], large: bool
    ) -> None:
        data = self._bytes(large)
        pool, opener = crew
        puts = [pool.submit(put, opener, data) for _ in range(WRITERS)]
        assert {done.result() for done in puts} == {digest_of(data)}
        with store.open_blob(digest_of(data)) as stream:
            assert stream.read() == data
        assert halves() == []

    @pytest.mark.parametrize("number", range(3))
    def test_one_creator_wins(self, store: Store, crew: Crew, number: int) -> None:
        pool, opener = crew
        tries = [pool.submit(create, opener, "inputs/one.json", b"%d" % writer) for writer in range(WRITERS)]
        won = [b"%d" % writer for writer, done in enumerate(tries) if done.result()]
        assert won == [current(store, "inputs/one.json")]

    def test_one_replacer_wins(self, store: Store, crew: Crew) -> None:
        version = store.create_document("inputs/one.json", b"first")
        pool, opener = crew
        tries = [pool.submit(replace, opener, "inputs/one.json", b"%d" % writer, version) for writer in range(WRITERS)]
        won = [b"%d" % writer for writer, done in enumerate(tries) if done.result()]
        assert won == [current(store, "inputs/one.json")]

    def test_no_change_is_lost(self, store: Store, crew: Crew) -> None:
        store.create_document("inputs/count.json", b"0")
        pool, opener = crew
        for done in [pool.submit(count_up, opener, "inputs/count.json", 5) for _ in range(4)]:
            done.result()
        assert current(store, "inputs/count.json") == b"20"

    def test_a_reader_never_sees_a_document_half_written(self, opener: Opener, store: Store) -> None:
        version = store.create_document("inputs/one.json", b"a" * 50_000)
        ended, reader = threading.Event(), opener()

        def look() -> set[tuple[int, int]]:
            seen = set()
            while not ended.is_set():
                data = current(reader, "inputs/one.json")
                seen.add((len(data), len(set(data))))
            return seen

        with ThreadPoolExecutor(1) as pool:
            looking = pool.submit(look)
            try:
                for letter in b"bcdefghijklmno":
                    version = store.replace_document("inputs/one.json", bytes([letter]) * 50_000, version)
            finally:
                ended.set()
            assert looking.result() == {(50_000, 1)}
