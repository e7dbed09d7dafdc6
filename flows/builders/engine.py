"""The container engine behind the current docker context."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

from docker import DockerClient
from docker.constants import DEFAULT_DOCKER_API_VERSION
from docker.context import ContextAPI
from docker.context.config import get_current_context_name
from docker.errors import APIError, DockerException, ImageNotFound, StreamParseError
from docker.utils import kwargs_from_env
from requests import RequestException
from urllib3.exceptions import HTTPError

from flows.builders.errors import EngineRefused, context_unusable, engine_lost, engine_unreachable
from rootfs.errors import MachineError
from rootfs.system.stop import stoppable

Answer = TypeVar("Answer")

REACH = 10  # seconds in which an engine must answer
SILENCE = 120  # seconds without a byte from an engine before it counts as lost

CONTAINERD_STORE = ["driver-type", "io.containerd.snapshotter.v1"]  # a pair in `docker info`'s DriverStatus

LABEL = "baseforge.run"  # what a run makes in an engine or a cluster has this label with the run's id, where possible

# The errors of the SDK, and of the libraries under it, which it does not catch.
FAULTS = (DockerException, StreamParseError, RequestException, HTTPError, OSError)


class Digests(Protocol):
    """The digests of an image or of a record, for one platform."""

    @property
    def manifest_digest(self) -> str:
        """The digest of its manifest."""

    @property
    def config_digest(self) -> str:
        """The digest of its config."""


@dataclass(frozen=True)
class Engine:
    """A connection to an engine. Close it, or use it as a context manager.

    `containerd` says whether the engine uses containerd's image store: such an engine reads zstd layers, and its image
    ids are manifest digests instead of config digests.
    """

    client: DockerClient
    endpoint: str
    version: str
    architecture: str
    containerd: bool

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    @contextlib.contextmanager
    def during(self, doing: str) -> Iterator[None]:
        """Translate errors: EngineRefused if the engine refused, MachineError if it does not answer any more."""
        try:
            yield
        except APIError as error:
            raise EngineRefused(self.endpoint, doing, error.explanation or str(error)) from error
        except FAULTS as error:
            raise engine_lost(self.endpoint, doing, _reason(error)) from error

    @property
    def local(self) -> bool:
        """Whether the engine runs on this machine, according to its address."""
        return not self.endpoint.startswith(("tcp:", "http:", "https:", "ssh:"))

    def image_id(self, image: Digests) -> str:
        """The id that the image has in this engine."""
        return image.manifest_digest if self.containerd else image.config_digest

    def inspect(self, reference: str) -> dict[str, Any] | None:
        """Inspect an image by name or id; None if the engine does not have it. Raises MachineError, EngineRefused."""
        with self.during(f"looking for {reference}"):
            try:
                return self.client.images.get(reference).attrs
            except ImageNotFound:
                return None


def connect() -> Engine:
    """The engine that DOCKER_HOST, DOCKER_CONTEXT or the selected docker context names, in this order, as for `docker`.

    Raises MachineError and InputError.
    """
    arguments = _arguments()
    endpoint = str(arguments.get("base_url"))
    try:
        with contextlib.closing(_client(arguments, DEFAULT_DOCKER_API_VERSION)) as first:
            version = first.version(api_version=False)
        client = _client(arguments, version["ApiVersion"])
        info = client.info()
    except (*FAULTS, KeyError, ValueError) as error:  # the last two if something other than an engine answers
        if isinstance(_cause(error), PermissionError):
            raise MachineError(
                "this user may not use the container engine",
                where=endpoint,
                hint="Run with sudo, or have `sudo usermod --append --groups docker $USER` run, and log in again.",
            ) from None  # the causes contain the address, perhaps with a password
        raise engine_unreachable(endpoint, _reason(error)) from None
    client.api.timeout = SILENCE
    return Engine(
        client, endpoint, version["Version"], version.get("Arch", ""), CONTAINERD_STORE in info.get("DriverStatus", [])
    )


def context_name() -> str:
    """The current docker context, which is also the name of its engine's own builder."""
    if os.environ.get("DOCKER_HOST"):
        return "default"
    return os.environ.get("DOCKER_CONTEXT") or get_current_context_name() or "default"


def _client(arguments: dict[str, Any], version: str) -> DockerClient:
    """A client that uses the context's certificates and address, and no proxy.

    By default requests lets REQUESTS_CA_BUNDLE override the context's certificates, and uses HTTP_PROXY.
    """
    client = DockerClient(version=version, timeout=REACH, **arguments)
    client.api.trust_env = False
    return client


def unbroken(ask: Callable[[threading.Event], Answer]) -> Answer:
    """Ask the engine in a thread: after an interrupt this function still waits for the answer, and the event is set.

    The engine finishes what it has begun even if the client goes away, so clean-up must come after that.
    """
    asking, given_up = threading.Event(), threading.Event()
    answer: Future[Answer] = Future()

    def work() -> None:
        asking.set()
        try:
            answer.set_result(ask(given_up))
        except BaseException as error:  # raised again where it is waited for
            answer.set_exception(error)

    try:
        threading.Thread(target=work).start()
        with stoppable(given_up.set):
            return answer.result()
    except BaseException:
        given_up.set()
        if asking.wait(1):  # an interrupt may come before the thread has begun
            wait([answer])
        raise


def _arguments() -> dict[str, Any]:
    """The SDK's arguments for the engine. Its own `from_env` uses another engine if the context does not exist."""
    try:
        arguments = {**kwargs_from_env()}
    except DockerException as error:
        raise engine_unreachable(os.environ.get("DOCKER_HOST", ""), str(error)) from None
    if "base_url" in arguments:
        return arguments
    name = context_name()
    try:
        context = ContextAPI.kwargs_from_context(name)
    except Exception as error:  # the SDK raises no narrower type for a file it cannot read
        raise context_unusable(name, str(error)) from None
    if not context:
        raise context_unusable(name, "it does not exist, or has no address of an engine")
    return {**arguments, **context}


def _cause(error: BaseException) -> BaseException:
    """The innermost cause, which says what happened."""
    while isinstance(inner := error.__cause__ or error.__context__, FAULTS):
        error = inner
    return error


def _reason(error: BaseException) -> str:
    error = _cause(error)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
