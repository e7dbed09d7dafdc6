"""One command in one container, as `docker run --rm` would, with as little as an image can be given."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from docker.errors import APIError
from docker.types import CancellableStream, LogConfig

from flows.builders.engine import FAULTS, Engine

LABEL = "baseforge.run"
MEMORY = "512m"
PIDS = 256
KEPT = 64 << 10  # bytes kept of each stream
GRACE = 10  # seconds for a stream to end when its container has


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it printed, of which the middle is left out where it was much.

    `broken` says why it did not come to an end of its own; there is no `status` then.
    """

    status: int | None
    stdout: str
    stderr: str
    seconds: float
    broken: str = ""
    out_of_memory: bool = False


@dataclass
class _Kept:
    """The beginning and the end of a stream, however long it is."""

    head: bytearray = field(default_factory=bytearray)
    tail: bytearray = field(default_factory=bytearray)
    left_out: int = 0

    def add(self, data: bytes) -> None:
        room = KEPT // 2 - len(self.head)
        self.head += data[:room]
        self.tail += data[room:]
        if (surplus := len(self.tail) - KEPT // 2) > 0:
            del self.tail[:surplus]
            self.left_out += surplus

    def text(self) -> str:
        gap = f"\n[{self.left_out} bytes left out]\n".encode() if self.left_out else b""
        return (self.head + gap + self.tail).decode(errors="replace")


class _Output:
    """What a container prints, read as it comes, its two streams apart."""

    def __init__(self, stream: CancellableStream[tuple[bytes | None, bytes | None]]) -> None:
        self.stdout, self.stderr = _Kept(), _Kept()
        self._stream = stream
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for out, err in self._stream:
            self.stdout.add(out or b"")
            self.stderr.add(err or b"")

    def finish(self) -> None:
        """Read to the end, which comes with the container's; an engine that does not send it is not waited for."""
        self._reader.join(GRACE)
        with contextlib.suppress(OSError):  # already closed by the engine
            self._stream.close()
        self._stream._response.close()  # type: ignore[attr-defined] # the SDK closes the socket, but not what holds it
        self._reader.join(GRACE)


def run_once(engine: Engine, image_id: str, command: Sequence[str], *, timeout: float, run_label: str) -> Ran:
    """Run a command (the image's entry point, if any, comes before it) and return how it went, after `timeout` s at most.

    Raises EngineLost and EngineRefused.
    """
    with engine.during("running a smoke test"), _container(engine, image_id, command, run_label) as container:
        output = _Output(engine.client.api.attach(container, stream=True, demux=True))
        try:
            ended = _run(engine, container, timeout)
        finally:
            remove(engine, container)
            output.finish()
        return Ran(stdout=output.stdout.text(), stderr=output.stderr.text(), **ended)


def _run(engine: Engine, container: str, timeout: float) -> dict[str, Any]:
    """Start the container and wait; a command that outlives its time is killed."""
    api, started, expired = engine.client.api, time.monotonic(), threading.Event()

    def kill() -> None:
        expired.set()
        with contextlib.suppress(*FAULTS):  # it ended by itself just now, or the engine is gone, which the wait will say
            api.kill(container)

    timer = threading.Timer(timeout, kill)
    try:
        api.start(container)
        timer.start()
        status = api.wait(container, timeout=timeout + api.timeout)["StatusCode"]
        state = api.inspect_container(container)["State"]
    except APIError as error:
        return {"status": None, "seconds": 0.0, "broken": f"it could not be started: {error.explanation}"}
    finally:
        timer.cancel()
    seconds = time.monotonic() - started
    if expired.is_set():
        return {"status": None, "seconds": seconds, "broken": f"it did not end within {timeout:g} s and was stopped"}
    return {"status": status, "seconds": seconds, "out_of_memory": state["OOMKilled"]}


@contextlib.contextmanager
def _container(engine: Engine, image_id: str, command: Sequence[str], run_label: str) -> Iterator[str]:
    """A container that is gone when the block ends, and also when the block is never reached.

    It is created in a thread: an interrupt then still waits for the engine's answer, so that what is to be removed is
    there to be removed.
    """
    name = f"baseforge-smoke-{uuid.uuid4().hex}"
    try:
        with ThreadPoolExecutor(max_workers=1) as pool:
            pool.submit(_create, engine, image_id, command, name, run_label).result()
        yield name
    finally:
        remove(engine, name)


def _create(engine: Engine, image_id: str, command: Sequence[str], name: str, run_label: str) -> None:
    api = engine.client.api
    limits = api.create_host_config(
        network_mode="none",
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        mem_limit=MEMORY,
        pids_limit=PIDS,
        log_config=LogConfig(type=LogConfig.types.NONE),  # what is printed comes to us alone, and not onto a disk
    )
    api.create_container(
        image_id, list(command), name=name, labels={LABEL: run_label}, host_config=limits, use_config_proxy=False
    )


def remove(engine: Engine, container: str) -> None:
    """Remove a container and its volumes, running or not. One that is gone, or going, or whose engine is gone is no error:
    this runs on the way out, and `remove_leftovers` finds by label what it could not remove.
    """
    with contextlib.suppress(*FAULTS):
        engine.client.api.remove_container(container, force=True, v=True)
