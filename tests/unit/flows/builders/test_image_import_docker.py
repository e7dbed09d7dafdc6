"""Loading into an engine that misbehaves."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from flows.builders.engine import connect
from flows.builders.errors import EngineRefused
from flows.builders.image_import import EngineBuilder, import_image
from flows.image.oci import Image
from rootfs.errors import BuildError, MachineError
from tests.support.samples import image_of
from tests.unit.flows.builders.fake import Answer, engine, send

OTHER = "sha256:" + "f" * 64


@pytest.fixture
def image(tmp_path: Path) -> Image:
    return image_of({"a": b"1"}, tmp_path / "made")


def swallow(request: BaseHTTPRequestHandler) -> int:
    """Read the whole of a body that comes in chunks; returns its length."""
    total = 0
    while size := int(request.rfile.readline(), 16):
        total += len(request.rfile.read(size))
        request.rfile.readline()
    request.rfile.readline()
    return total


def saying(*lines: dict[str, str], cut: bool = False) -> Answer:
    """Take the archive and answer with these lines, as the engine does; `cut` hangs up in the middle of them."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        swallow(request)
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        for line in lines:
            data = json.dumps(line).encode() + b"\r\n"
            request.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        if not cut:
            request.wfile.write(b"0\r\n\r\n")
        else:
            request.wfile.flush()
            request.connection.shutdown(socket.SHUT_RDWR)
            request.close_connection = True

    return answer


@contextmanager
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load: Answer, **more: Answer) -> Iterator[EngineBuilder]:
    answers = {"/images/load": load, "/images/json": lambda request: [], **more}
    with engine(tmp_path, answers) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        with connect() as reached:
            yield EngineBuilder(reached)


def test_an_engine_that_changes_the_image_is_caught(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[str] = []

    def other(request: BaseHTTPRequestHandler) -> dict[str, object]:
        if request.command == "DELETE":
            removed.append(request.path)
        return {"Id": OTHER, "RepoTags": []}

    answers = {f"/images/{OTHER}/json": other, f"/images/{OTHER}": other}
    with (
        builder(tmp_path, monkeypatch, saying({"stream": f"Loaded image ID: {OTHER}\n"}), **answers) as made,
        pytest.raises(BuildError, match="changed the image:") as caught,
    ):
        import_image(image, made)
    assert image.config_digest in str(caught.value)
    assert OTHER in str(caught.value)
    assert len(removed) == 1


def test_a_refusal_of_the_engine_is_reported(image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = saying({"stream": "Loading layer"}, {"error": "invalid diffID for layer 0"})
    with builder(tmp_path, monkeypatch, refusal) as made, pytest.raises(EngineRefused, match="invalid diffID"):
        import_image(image, made)


@pytest.mark.parametrize(
    "load",
    [
        saying({"stream": "Loading layer"}, cut=True),
        saying({"stream": "Loading layer"}),
        saying(),
        lambda request: request.connection.shutdown(socket.SHUT_RDWR),
    ],
    ids=["cut off", "no id", "empty", "hung up"],
)
def test_a_lost_connection_to_the_engine_is_reported(
    load: Answer, image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with builder(tmp_path, monkeypatch, load) as made, pytest.raises(MachineError, match="loading sample"):
        import_image(image, made)


def test_a_silent_engine_is_reported_in_time(image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sleep(request: BaseHTTPRequestHandler) -> None:
        swallow(request)
        request.rfile.read(1)  # until the client gives up

    with builder(tmp_path, monkeypatch, sleep) as made:
        made.engine.client.api.timeout = 0.3
        with pytest.raises(MachineError, match="timed out"):
            import_image(image, made)


def test_an_image_that_the_engine_has_is_not_sent(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = {"Id": image.config_digest, "RepoTags": []}

    def refuse(request: BaseHTTPRequestHandler) -> None:
        send(request, {"message": "sent twice"}, 500)

    answers = {
        "/images/json": lambda request: [here],
        f"/images/{image.config_digest}/json": lambda request: here,
    }
    with builder(tmp_path, monkeypatch, refuse, **answers) as made:
        assert import_image(image, made) == made.engine.image_id(image)
