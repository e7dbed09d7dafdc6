from __future__ import annotations

import contextlib
import functools
import io
import signal
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.store import s3
from flows.store.errors import Conflict, store_unreachable
from flows.store.open import open_store
from rootfs.errors import BaseforgeError, InputError, MachineError, NetworkFailure, ServiceUnreachable
from rootfs.network.authorities import Authorities
from tests.support.services.s3 import S3Server, serve_s3
from tests.support.services.tls import identity
from tests.support.store.suite import StoreSuite, current, pattern
from tests.support.store.workers import Opener, digest_of


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """As patient as a test can be."""
    monkeypatch.setattr(s3, "READ", 0.3)
    monkeypatch.setattr(s3, "ATTEMPTS", 2)


LARGE = 20 << 20  # bytes: several parts of a multi-part upload


class TestS3(StoreSuite):
    large = LARGE

    @pytest.fixture
    def opener(self, s3_server: S3Server, bucket: str) -> Opener:
        return functools.partial(open_store, f"s3://{bucket}/some/prefix", endpoint=s3_server.endpoint)

    @pytest.fixture
    def spoil(self, s3_server: S3Server, bucket: str) -> Callable[[str, Callable[[bytes], bytes]], None]:
        def change(digest: str, how: Callable[[bytes], bytes]) -> None:
            [blob] = (s3_server.data / bucket).rglob(digest.removeprefix("sha256:"))
            blob.write_bytes(how(blob.read_bytes()))

        return change

    @pytest.fixture
    def halves(self, s3_server: S3Server, bucket: str) -> Callable[[], list[str]]:
        return lambda: [
            upload["Key"] for upload in s3_server.client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        ]


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_whole_bucket_as_the_store(s3_server: S3Server, bucket: str, slash: str) -> None:
    store = open_store(f"s3://{bucket}{slash}", endpoint=s3_server.endpoint)
    digest = store.put_blob(io.BytesIO(b"blob"))
    store.create_document("inputs/a.json", b"{}")
    assert store.list_documents("inputs") == ["inputs/a.json"]
    assert (s3_server.data / bucket / "inputs/a.json").read_bytes() == b"{}"
    assert (s3_server.data / bucket / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes() == b"blob"
    assert store.address == f"s3://{bucket}"


def test_two_prefixes_are_two_stores(s3_server: S3Server, bucket: str) -> None:
    one, other = (open_store(f"s3://{bucket}/{name}", endpoint=s3_server.endpoint) for name in ("a", "ab"))
    digest = one.put_blob(io.BytesIO(b"blob"))
    one.create_document("inputs/a.json", b"{}")
    assert not other.has_blob(digest)
    assert other.list_documents("inputs") == []


def test_more_documents_than_one_page_lists(s3_server: S3Server, bucket: str) -> None:
    keys = [f"inputs/{number:04}.json" for number in range(1001)]
    client = s3_server.client
    for key in keys:
        client.put_object(Bucket=bucket, Key=key, Body=b"{}")
    assert open_store(f"s3://{bucket}", endpoint=s3_server.endpoint).list_documents("inputs") == keys


def test_https(bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: None) -> None:
    with serve_s3(tmp_path / "server", tls=(tls := identity(tmp_path / "tls"))) as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        with pytest.raises(ServiceUnreachable, match="certificate"):
            open_store("s3://any", endpoint=server.endpoint).list_documents("inputs")
        monkeypatch.setenv("AWS_CA_BUNDLE", str(tls.certificate))  # for the test's own client
        trusted = Authorities(tls.certificate, tmp_path / "trusted")
        store = open_store(f"s3://{server.make_bucket()}", endpoint=server.endpoint, authorities=trusted)
        digest = store.put_blob(io.BytesIO(pattern(LARGE)))
        store.fetch_blob(digest, tmp_path / "copy")
        version = store.create_document("inputs/a.json", b"1")
        store.replace_document("inputs/a.json", b"2", version)
        assert current(store, "inputs/a.json") == b"2"


# What can be wrong. Each thing that a store does ends in the same error.


def every_way(address: str, endpoint: str) -> Iterator[Callable[[], object]]:
    store = open_store(address, endpoint=endpoint)
    yield lambda: store.put_blob(io.BytesIO(b"x"))
    yield lambda: store.read_document("inputs/a.json")
    yield lambda: store.create_document("inputs/a.json", b"{}")
    yield lambda: store.replace_document("inputs/a.json", b"{}", '"1"')
    yield lambda: store.list_documents("inputs")


def refused(address: str, endpoint: str, kind: type[BaseforgeError], match: str) -> None:
    for way in every_way(address, endpoint):
        with pytest.raises(kind, match=match) as caught:
            way()
        assert len(str(caught.value).splitlines()) <= 3


def test_no_such_bucket(s3_server: S3Server, bucket: str) -> None:
    refused("s3://nothing-here/x", s3_server.endpoint, MachineError, "(?s)no such bucket.*Create the bucket")


def test_a_wrong_secret(s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    refused(f"s3://{bucket}", s3_server.endpoint, MachineError, "(?s)(SignatureDoesNotMatch|403).*credentials")


def test_an_unknown_user(s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    refused(f"s3://{bucket}", s3_server.endpoint, MachineError, "(?s)(InvalidAccessKeyId|UserNotFound).*credentials")


def test_no_credentials(s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    refused(f"s3://{bucket}", s3_server.endpoint, MachineError, "(?s)credentials.*AWS_ACCESS_KEY_ID")


def test_half_of_the_credentials_are_refused(s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(MachineError, match=r"(?s)credentials.*AWS_ACCESS_KEY_ID"):
        open_store(f"s3://{bucket}", endpoint=s3_server.endpoint)


def test_an_unknown_profile(s3_server: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(MachineError, match=r"(?s)profile.*AWS_PROFILE"):
        open_store(f"s3://{bucket}", endpoint=s3_server.endpoint)


def test_an_invalid_bucket_name_is_refused(s3_server: S3Server, bucket: str) -> None:
    refused("s3://no!bucket", s3_server.endpoint, InputError, "no!bucket")


@pytest.mark.parametrize("endpoint", ["127.0.0.1:7070", "http://", "nonsense"])
def test_an_invalid_endpoint_is_refused(bucket: str, endpoint: str) -> None:
    with pytest.raises(InputError, match="endpoint"):
        open_store(f"s3://{bucket}", endpoint=endpoint)


def test_a_closed_port_of_the_store_is_reported(bucket: str, quick: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    refused(f"s3://{bucket}", endpoint, ServiceUnreachable, f"(?s){endpoint}.*Check the endpoint")


def test_a_server_that_never_answers(bucket: str, quick: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        refused(f"s3://{bucket}", endpoint, ServiceUnreachable, f"(?s){endpoint}.*Check the endpoint")


def test_only_an_unreachable_server_is_tried_again() -> None:
    unreachable = store_unreachable("s3://bucket", "http://127.0.0.1", "gone")
    assert isinstance(unreachable, NetworkFailure)
    assert unreachable.status == 3
    assert not issubclass(MachineError, NetworkFailure)


# A server that goes away


@pytest.fixture
def own_server(tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """A server that a test may end."""
    with serve_s3(tmp_path / "own") as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        yield server


def test_the_server_dies_while_a_blob_is_read(own_server: S3Server, tmp_path: Path, quick: None) -> None:
    store = open_store(f"s3://{own_server.make_bucket()}", endpoint=own_server.endpoint)
    digest = store.put_blob(io.BytesIO(pattern(4 * LARGE)))
    with pytest.raises(ServiceUnreachable, match="the store does not answer at"), store.open_blob(digest):  # noqa: PT012 - leaving the block reads
        own_server.process.kill()
        own_server.process.wait()
    with pytest.raises(ServiceUnreachable, match="the store does not answer at"):
        store.fetch_blob(digest, tmp_path / "copy")
    assert not list(tmp_path.glob("*copy*"))


def test_the_server_stops_while_a_blob_is_read(own_server: S3Server, quick: None) -> None:
    store = open_store(f"s3://{own_server.make_bucket()}", endpoint=own_server.endpoint)
    digest = store.put_blob(io.BytesIO(pattern(4 * LARGE)))
    with pytest.raises(ServiceUnreachable, match="the store does not answer at"), store.open_blob(digest):
        own_server.process.send_signal(signal.SIGSTOP)


def test_the_server_dies_while_a_blob_is_written(own_server: S3Server, quick: None) -> None:
    store = open_store(f"s3://{own_server.make_bucket()}", endpoint=own_server.endpoint)
    data = pattern(2 * LARGE)

    class Killing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > LARGE:
                own_server.process.kill()
            return super().read(size)

    with pytest.raises(ServiceUnreachable, match="the store does not answer at"):
        store.put_blob(Killing(data), digest_of(data))


def test_the_servers_disk_is_full(
    tmp_path: Path, small_disk: Path, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_s3(small_disk) as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        store = open_store(f"s3://{server.make_bucket()}", endpoint=server.endpoint)
        data = pattern(LARGE)
        with pytest.raises(MachineError, match="Free space"):
            store.put_blob(io.BytesIO(data))
        assert not store.has_blob(digest_of(data))


# An answer that is lost


class Forwarder(socketserver.BaseRequestHandler):
    """Forwards one connection, but not the answer to the first write."""

    server: LosingProxy

    def handle(self) -> None:
        with socket.create_connection(self.server.behind) as server:
            threading.Thread(target=self._pour, args=(self.request, server), daemon=True).start()
            while answer := server.recv(1 << 16):
                if self.server.lose.is_set() and self.written:
                    self.server.lose.clear()
                    return
                self.request.sendall(answer)

    written = False

    def _pour(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                self.written |= data.startswith(b"PUT ")
                sink.sendall(data)


class LosingProxy(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self, behind: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), Forwarder)
        self.behind, self.lose = behind, threading.Event()


@pytest.fixture
def losing(s3_server: S3Server) -> Iterator[LosingProxy]:
    """A way to the server that, once `lose` is set, loses the answer to the next write."""
    host, port = s3_server.endpoint.removeprefix("http://").split(":")
    with LosingProxy((host, int(port))) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield proxy
        proxy.shutdown()


def test_a_write_whose_answer_was_lost_is_no_conflict(losing: LosingProxy, bucket: str) -> None:
    store = open_store(f"s3://{bucket}", endpoint=f"http://127.0.0.1:{losing.server_address[1]}")
    losing.lose.set()
    version = store.create_document("inputs/a.json", b"1")
    assert not losing.lose.is_set()
    losing.lose.set()
    store.replace_document("inputs/a.json", b"2", version)
    assert not losing.lose.is_set()
    assert current(store, "inputs/a.json") == b"2"
    losing.lose.set()
    with pytest.raises(Conflict):
        store.replace_document("inputs/a.json", b"3", version)
    assert current(store, "inputs/a.json") == b"2"
