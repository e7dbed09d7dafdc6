"""Run one command in one container, like `docker run --rm`, without network, rights and a writable file system."""

from __future__ import annotations

import contextlib
import math
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from docker.errors import APIError
from docker.types import LogConfig

from flows.builders.engine import FAULTS, LABEL, SILENCE, Engine, unbroken
from rootfs.system.stop import stoppable

if TYPE_CHECKING:
    from docker.types import CancellableStream

    Stream = CancellableStream[tuple[bytes | None, bytes | None]]  # generic in its stubs alone

MEMORY = "512m"
PIDS = 256
KEPT = 64 << 10  # bytes kept of each stream
BROUGHT = "/smoke"  # the folder in the container with the check's own files
GRACE = 10  # seconds for a stream to end after its container


@dataclass(frozen=True)
class ContainerResult:
    """How a command ended and what it printed. The middle of long output is left out.

    `broken` says why it did not end by itself; there is no `status` then.
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
    """A container's output, the two streams apart. The end of the block reads the rest, for at most GRACE seconds; not
    after an error, as the streams of a container that never started do not end.
    """

    def __init__(self) -> None:
        self.stdout, self.stderr = _Kept(), _Kept()
        self._stream: Stream | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        return self

    def follow(self, stream: Stream) -> None:
        """Start to read a container's output."""
        self._stream = stream
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(*FAULTS, ValueError):  # the engine or this class closed it
            for out, err in self._stream or ():
                self.stdout.add(out or b"")
                self.stderr.add(err or b"")

    def __exit__(self, error: object, *_: object) -> None:
        if self._stream:
            if error is None:
                self._reader.join(GRACE)
            with contextlib.suppress(OSError):  # already closed by the engine
                self._stream.close()
            self._reader.join(GRACE)
            # The SDK closes the socket, but not the response that holds it.
            self._stream._response.close()  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Container:
    """What to run: the image, the command behind its entry point if it has one, and its `platform` if it is foreign.

    The files of the tar `brought` are in /smoke.
    """

    image_id: str
    command: Sequence[str]
    run_label: str
    platform: str = ""
    brought: Path | None = None


def run_container(engine: Engine, container: Container, *, timeout: float) -> ContainerResult:
    """Run a container for at most `timeout` seconds and return the result. Raises MachineError and EngineRefused."""
    with engine.during("running a smoke test"), _Output() as output, _created(engine, container) as name:
        if container.brought:
            with container.brought.open("rb") as tar:  # into the volume: all else is read-only
                engine.client.api.put_archive(name, BROUGHT, tar)
        output.follow(engine.client.api.attach(name, stream=True, demux=True))
        ended = _run(engine, name, timeout)
    return ContainerResult(stdout=output.stdout.text(), stderr=output.stderr.text(), **ended)


def _run(engine: Engine, container: str, timeout: float) -> dict[str, Any]:
    """Start the container and wait for its end; returns how it ended."""
    api, started = engine.client.api, time.monotonic()
    try:
        api.start(container)
    except APIError as error:
        return {"status": None, "seconds": 0.0, "broken": f"it could not be started: {error.explanation}"}
    with _killed_after(timeout, engine, container) as expired:
        status = api.wait(container, timeout=math.ceil(timeout) + SILENCE)["StatusCode"]
    seconds = time.monotonic() - started
    if expired.is_set():
        return {"status": None, "seconds": seconds, "broken": f"it did not end within {timeout:g} s and was stopped"}
    out_of_memory = api.inspect_container(container)["State"]["OOMKilled"]
    return {"status": status, "seconds": seconds, "out_of_memory": out_of_memory}


@contextlib.contextmanager
def _killed_after(timeout: float, engine: Engine, container: str) -> Iterator[threading.Event]:
    """Kill the container if the block takes longer. The event says that this happened.

    This needs a timer: the engine's answer to a wait begins at once, so the client's timeout does not apply.
    """
    expired = threading.Event()

    def kill() -> None:
        expired.set()
        with contextlib.suppress(*FAULTS):  # it has just ended, or the engine is gone: the wait reports that
            engine.client.api.kill(container)

    timer = threading.Timer(timeout, kill)
    timer.daemon = True
    timer.start()
    try:
        with stoppable(kill, also_later=True):
            yield expired
    finally:
        timer.cancel()


@contextlib.contextmanager
def _created(engine: Engine, container: Container) -> Iterator[str]:
    """A container that is removed when the block ends, and also if an interrupt comes before the block begins."""
    name = f"baseforge-smoke-{uuid.uuid4().hex}"
    try:
        unbroken(lambda _: _create(engine, container, name))
        yield name
    finally:
        remove(engine, name)


def _create(engine: Engine, container: Container, name: str) -> None:
    api = engine.client.api
    limits = api.create_host_config(
        network_mode="none",
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        mem_limit=MEMORY,
        pids_limit=PIDS,
        log_config=LogConfig(type=LogConfig.types.NONE),  # the engine does not write the output to a disk
    )
    api.create_container(
        container.image_id,
        list(container.command),
        name=name,
        labels={LABEL: container.run_label},
        host_config=limits,
        use_config_proxy=False,
        volumes=[BROUGHT] if container.brought else [],
        platform=container.platform or None,
    )


def remove(engine: Engine, container: str) -> None:
    """Remove a container and its volumes, running or not. A missing container or engine is no error: this is clean-up,
    and `remove_leftovers` finds by label what could not be removed.
    """
    with contextlib.suppress(*FAULTS):
        engine.client.api.remove_container(container, force=True, v=True)
