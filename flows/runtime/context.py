"""The context of a command and of each build in it: made where a command or a flow begins, and passed on from there."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, TypeVar, cast

from flows.builders.engine import Engine, connect
from flows.builders.lifecycle import Leases
from flows.builders.select import SelectedBuilder, select_builder
from flows.config.options import BuildOptions
from flows.config.paths import cache_folder, check_data_folder, data_folder, enter_served_folder, make_data_folder
from flows.config.settings import Settings, load
from flows.publish.checks import Check
from flows.publish.record import Record
from flows.runtime.progress import Progress, Timeline
from flows.store.keys import is_valid_name
from flows.store.open import open_store
from flows.store.store import Store
from rootfs.apt.resolve import Apt
from rootfs.mask import masked
from rootfs.recipe.builder import BuilderPlan
from rootfs.system.atomic_file import replace_link
from rootfs.system.disk import close_quietly, disk_full

T = TypeVar("T")

NEWEST = "newest"  # a link beside the logs of an image
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC  # a file that was not there


class Once:
    """Values that are made once, whichever thread asks first."""

    def __init__(self) -> None:
        self._values: dict[Hashable, object] = {}
        self._lock = threading.RLock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of a key, made now if there is none. Raises what `make` raises; the next call tries again."""
        with self._lock:
            if key not in self._values:
                self._values[key] = make()
            return cast(T, self._values[key])

    def take_all(self) -> list[object]:
        """Forget all values, and return them."""
        with self._lock:
            values = list(self._values.values())
            self._values.clear()
        return values


@dataclass(frozen=True)
class Context:
    """The context of one command or one night: what is opened once for all its images.

    `builds` has the contexts of builds that are open, `results` how each image's build ended, `checks` what was found
    when an image was compared with the archives. `run_id` is that of the
    flow run, `builders` are those that it holds for all builds in it.
    """

    settings: Settings
    store: Store
    cache: Path
    progress: Progress
    run_id: str = ""
    builders: Leases | None = None
    timeline: Timeline = field(default_factory=Timeline)
    builds: dict[str, BuildContext] = field(default_factory=dict)
    results: dict[str, Record] = field(default_factory=dict)
    checks: dict[str, Check] = field(default_factory=dict)
    opened: Once = field(default_factory=Once)

    def log(self, line: str) -> None:
        """Show a line of a program's output while it is the newest. Passwords in addresses are masked."""
        self.progress.detail(line, self.timeline)

    def note(self, text: str) -> None:
        """Set what the closing line of the running step says besides its seconds."""
        self.timeline.note = text

    def reached(self, moment: str) -> None:
        """Note that something is reached now, such as `built`."""
        self.timeline.moments[moment] = time.time()

    def apt(self, *, offline: bool) -> Apt:
        """The apt that resolves; archives are asked once a command, and never when `offline`."""
        made = self.opened.get(
            ("apt", offline), lambda: Apt(self.cache / "apt", self.settings.site, offline=offline, log=self.log)
        )
        return made.with_log(self.log)

    def builder(self, option: str, recipe: BuilderPlan | None) -> SelectedBuilder:
        """The selected builder, as `select_builder` selects it. buildx is asked once a command."""
        key = ("builder", option, recipe.model_dump_json() if recipe else "")
        return self.opened.get(key, lambda: select_builder(option, recipe, self.settings))

    def engine(self) -> Engine:
        """The container engine, connected once a command. Raises what `connect` raises."""
        return self.opened.get("engine", connect)

    def close(self) -> None:
        """Close what was opened."""
        for each in self.opened.take_all():
            if isinstance(each, Engine):
                each.close()


@dataclass(frozen=True, kw_only=True)
class BuildContext(Context):
    """The context of the build of one image: the command's, and its build id, options, log and timeline.

    `answers` has what is asked once a build, such as the image's inputs.
    """

    image: str
    build: str
    options: BuildOptions
    log_file: Path
    log_stream: IO[str]
    answers: Once = field(default_factory=Once)

    def log(self, line: str) -> None:
        """Write a line of a program's output to the build's log, and show it. Passwords in addresses are masked."""
        line = masked(line)
        with disk_full(self.log_file.parent):
            print(line, file=self.log_stream, flush=True)
        super().log(line)

    def warn(self, text: str) -> None:
        """Show a warning about this image as a line of its own, and write it to the build's log."""
        self.log(f"warning: {text}")
        self.progress.say(f"{self.image}: warning: {text}")


def store_of(settings: Settings) -> Store:
    """The store that the settings name; nothing is asked of it yet. Raises FolderForeign, InputError."""
    check_data_folder()
    return open_store(
        settings.store,
        endpoint=settings.s3_endpoint or None,
        region=settings.s3_region or None,
        authorities=settings.authorities,
    )


@contextlib.contextmanager
def open_context(settings: Settings | None = None) -> Iterator[Context]:
    """A new context for the block; without settings, one for a flow that a worker starts."""
    if settings is None:
        enter_served_folder()
    make_data_folder()
    settings = settings or load()
    ctx = Context(settings, store_of(settings), cache_folder(), Progress())
    try:
        yield ctx
    finally:
        ctx.close()


@contextlib.contextmanager
def open_build(ctx: Context, image: str, options: BuildOptions) -> Iterator[BuildContext]:
    """A context for the image's build: an id that sorts by time, and a log that outlives a failure.

    The build of this image that is open already is used again.
    """
    if existing := ctx.builds.get(image):
        yield replace(existing, run_id=ctx.run_id, builders=ctx.builders)
        return
    build = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"
    log_file = _logs(image) / f"{build}.log"
    with contextlib.ExitStack() as closing:
        with disk_full(log_file.parent):
            log_file.parent.mkdir(parents=True, exist_ok=True)
            stream = os.fdopen(os.open(log_file, NEW, 0o600), "w", encoding="utf-8", errors="backslashreplace")
            closing.callback(close_quietly, stream)
            # The newest log has a link: build ids sort by time, and a clock may have been wrong.
            replace_link(log_file.with_name(NEWEST), log_file.name)
        ctx.builds[image] = opened = _build_context(ctx, image, build, options, log_file, stream)
        closing.callback(ctx.builds.pop, image)
        yield opened


@contextlib.contextmanager
def open_look(ctx: Context, image: str, options: BuildOptions) -> Iterator[BuildContext]:
    """A context to look at an image and to build nothing: it has no log."""
    nowhere = Path(os.devnull)
    with nowhere.open("w") as stream:
        yield _build_context(ctx, image, "", options, nowhere, stream)


def _build_context(
    ctx: Context, image: str, build: str, options: BuildOptions, log_file: Path, stream: IO[str]
) -> BuildContext:
    shared: dict[str, Any] = {each.name: getattr(ctx, each.name) for each in fields(Context)}
    own = {"image": image, "build": build, "options": options, "log_file": log_file, "log_stream": stream}
    return BuildContext(**{**shared, **own, "timeline": Timeline()})


def _logs(image: str) -> Path:
    return data_folder() / "logs" / image


def newest_log(image: str, build: str = "") -> Path | None:
    """The newest log of an image's runs on this machine, or of the run whose id begins with `build`.

    None where there is none, and for what cannot be an image's name or the start of an id.
    """
    if not (is_valid_name(image) and (not build or is_valid_name(build))):
        return None
    link = _logs(image) / NEWEST
    if not build and link.is_symlink() and link.is_file():
        return link.parent / link.readlink()
    logs = (path for path in _logs(image).glob("*.log") if path.name.startswith(build))
    return max(logs, default=None)
