"""What the steps of a run share: settings, the store, the terminal, the run's own log and seconds."""

from __future__ import annotations

import contextlib
import contextvars
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING

from flows.builders.engine import Engine, connect
from flows.builders.select import Chosen, choose
from flows.config.paths import cache_folder, check_data_folder, data_folder, enter_served_folder, make_data_folder
from flows.config.settings import Settings, load
from flows.runtime.progress import Progress, Timeline
from flows.store.base import Store
from flows.store.keys import is_part
from flows.store.open import open_store
from rootfs.apt.resolver import Apt
from rootfs.mask import masked
from rootfs.process.run import Log
from rootfs.recipe.builder import BuilderPlan
from rootfs.system.atomic_file import replace_link
from rootfs.system.disk import close_quietly, disk_full

if TYPE_CHECKING:
    from flows.inputs.resolve import Meant
    from flows.publish.record import Record
    from flows.published_names import Existing


NEWEST = "newest"  # a link beside the logs of an image
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC  # a file that was not there


@dataclass(frozen=True)
class Session:
    """One command, or one night: what is opened once for all its images, and how the builds of each have ended."""

    settings: Settings
    store: Store
    progress: Progress
    timeline: Timeline = field(default_factory=Timeline)
    done: dict[str, Record] = field(default_factory=dict)
    _apts: dict[bool, Apt] = field(default_factory=dict)
    _chosen: dict[tuple[str, str], Chosen] = field(default_factory=dict)
    _engines: list[Engine] = field(default_factory=list)

    def apt(self, *, offline: bool) -> Apt:
        """What resolves, once a session; an `offline` one asks no archive."""
        if offline not in self._apts:
            site = self.settings.site
            self._apts[offline] = Apt(cache_folder() / "apt", site, offline=offline, log=_say)
        return self._apts[offline]

    def builder(self, option: str, recipe: BuilderPlan | None) -> Chosen:
        """As `choose`, which asks buildx: once a session."""
        if (said := (option, recipe.model_dump_json() if recipe else "")) not in self._chosen:
            self._chosen[said] = choose(option, recipe, self.settings)
        return self._chosen[said]

    def engine(self) -> Engine:
        """The container engine, connected once a session. Raises what `connect` raises."""
        if not self._engines:
            self._engines.append(connect())
        return self._engines[0]

    def close(self) -> None:
        """Close what was opened."""
        while self._engines:
            self._engines.pop().close()


@dataclass(frozen=True)
class Run:
    """One build of one image: its build id, log and timeline, and what the image was found to mean."""

    image: str
    build: str
    log_file: Path
    log_stream: IO[str]
    progress: Progress
    timeline: Timeline = field(default_factory=Timeline)
    meant: dict[str, tuple[Meant, Existing | None]] = field(default_factory=dict)

    def log(self, line: str) -> None:
        """Keep a line of a program's output, and show it while it is the newest. Passwords in addresses are masked."""
        line = masked(line)
        with disk_full(self.log_file.parent):
            print(line, file=self.log_stream, flush=True)
        self.progress.detail(line)


_session: contextvars.ContextVar[Session] = contextvars.ContextVar("session")
_run: contextvars.ContextVar[Run] = contextvars.ContextVar("run")


def store_of(settings: Settings) -> Store:
    """The store that the settings name; nothing is asked of it yet. Raises FolderForeign, InputError."""
    check_data_folder()
    return open_store(settings.store, endpoint=settings.s3_endpoint or None, region=settings.s3_region or None)


def current() -> Session:
    """The session in force."""
    return _session.get()


def current_run() -> Run:
    """The build that is running."""
    return _run.get()


def timeline() -> Timeline:
    """Where a step's seconds go: to the build that is running, else to the session."""
    run = _run.get(None)
    return run.timeline if run else current().timeline


def logger() -> Log:
    """Where lines of a program's output go: into the log of the build that is running, if one is, and past a person."""
    run = _run.get(None)
    return run.log if run else current().progress.detail


def _say(line: str) -> None:
    """To whatever build runs when the line comes."""
    logger()(line)


@contextlib.contextmanager
def session(settings: Settings | None = None, progress: Progress | None = None) -> Iterator[Session]:
    """The session in force, or a new one for the block where there is none (a flow that a worker starts)."""
    if (known := _session.get(None)) and settings is None:
        yield known
        return
    if settings is None:
        enter_served_folder()
    make_data_folder()
    settings = settings or load()
    token = _session.set(opened := Session(settings, store_of(settings), progress or Progress()))
    try:
        yield opened
    finally:
        _session.reset(token)
        opened.close()


@contextlib.contextmanager
def new_run(image: str) -> Iterator[Run]:
    """The image's build in force, or a new one: an id that sorts by time, a log that outlives a failure."""
    if (known := _run.get(None)) and known.image == image:
        yield known
        return
    build = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    log_file = _logs(image) / f"{build}.log"
    with contextlib.ExitStack() as closing:
        with disk_full(log_file.parent):
            log_file.parent.mkdir(parents=True, exist_ok=True)
            stream = os.fdopen(os.open(log_file, NEW, 0o600), "w")
            closing.callback(close_quietly, stream)
            _note_newest(log_file)
        token = _run.set(Run(image, build, log_file, stream, current().progress))
        try:
            yield _run.get()
        finally:
            _run.reset(token)


def _logs(image: str) -> Path:
    return data_folder() / "logs" / image


def _note_newest(log_file: Path) -> None:
    """Let a link lead to the newest log: build ids sort by time, and a clock may have been wrong."""
    replace_link(log_file.with_name(NEWEST), log_file.name)


def newest_log(image: str, build: str = "") -> Path | None:
    """The newest log of an image's runs on this machine, or of the run whose id begins with `build`.

    None where there is none, and for what cannot be an image's name or the start of an id.
    """
    if not (is_part(image) and (not build or is_part(build))):
        return None
    link = _logs(image) / NEWEST
    if not build and link.is_symlink() and link.is_file():
        return link.parent / link.readlink()
    logs = (path for path in _logs(image).glob("*.log") if path.name.startswith(build))
    return max(logs, default=None)
