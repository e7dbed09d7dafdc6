"""A remote builder is asked for an answer before buildx waits for it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.builders import remote as module
from flows.builders.remote import reach, with_driver_options
from rootfs.errors import ServiceUnreachable
from rootfs.recipe.builder import BuilderPlan


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    monkeypatch.setattr(module, "REACH", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def answering(listener: socket.socket, answer: bytes) -> str:
    """The address of something that says this to whoever comes."""

    def serve() -> None:
        with contextlib.suppress(OSError), listener.accept()[0] as connection:  # who came may be gone already
            connection.recv(1 << 10)
            connection.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()
    return f"tcp://127.0.0.1:{listener.getsockname()[1]}"


def planned(address: str, options: dict[str, str] | None = None) -> BuilderPlan:
    described = {"lifecycle": "ephemeral", "driver": "remote", "endpoint": address, "options": options or {}}
    return BuilderPlan.model_validate(described)


def refused(address: str, said: str, options: dict[str, str] | None = None) -> None:
    with pytest.raises(ServiceUnreachable, match=said) as caught:
        reach(planned(address, options))
    assert caught.value.where == address


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "does not speak HTTP/2, or only with TLS"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak HTTP/2"),
        (b"\x15\x03\x01\x00\x02\x02\x16", "does not speak HTTP/2"),  # a TLS alert
    ],
)
def test_a_server_that_is_no_builder_is_refused(answer: bytes, said: str, listener: socket.socket) -> None:
    refused(answering(listener, answer), said)


def test_a_server_that_answers_as_buildkit_is_accepted(listener: socket.socket) -> None:
    reach(planned(answering(listener, b"\0\0\0\4\0\0\0\0\0")))  # an empty SETTINGS frame


def test_a_server_that_never_answers_is_reported_in_time(listener: socket.socket) -> None:
    refused(f"tcp://127.0.0.1:{listener.getsockname()[1]}", "timed out")


def test_a_closed_port_of_a_remote_builder_is_reported(listener: socket.socket) -> None:
    address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    refused(address, "refused")


def test_missing_certificates_are_reported(listener: socket.socket, tmp_path: Path) -> None:
    refused(answering(listener, b""), "No such file", {"cacert": str(tmp_path / "ca.pem")})


def test_other_endpoints_than_tcp_are_left_to_buildx() -> None:
    reach(planned("unix:///nowhere.sock"))


def test_the_plan_of_a_remote_builder_is_not_changed() -> None:
    plan = planned("tcp://builder.example:1234", {"servername": "builder"})
    assert with_driver_options(plan, "a-run") == plan
