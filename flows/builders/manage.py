"""Create, select, start, stop and remove builders: the commands `baseforge builder …`."""

from __future__ import annotations

import contextlib
import re
import secrets
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from pydantic import ValidationError

from flows.builders.buildx_cli import QUICK, available, builder_locked, buildx, described
from flows.builders.engine import connect, context_name
from flows.builders.errors import (
    BuilderFailing,
    BuilderNotStarted,
    BuildxFailed,
    OtherContext,
    cannot_create,
    invalid_builder,
)
from flows.builders.lifecycle import DRIVERS
from flows.builders.listing import RUNNING, ListedBuilder, fault_of, find, known_builders, listed, pick
from rootfs.errors import InputError, nearest
from rootfs.process.run import Log
from rootfs.recipe.builder import BuilderPlan, Driver

START = 300.0  # seconds for a builder to start; its image may have to be pulled
GONE = ("inactive", "stopped")  # buildx's states of a node that does not exist or does not run
FILES = ("cacert", "cert", "key")  # the options of the driver `remote` that name files


def planned(
    driver: str, endpoint: str, options: Sequence[str], config: Path | None, flags: str, platforms: Sequence[str]
) -> BuilderPlan:
    """The plan of the command line's options. Raises InputError."""
    if driver == "docker":
        raise invalid_builder(
            "builders of the driver 'docker' are not created: each engine has its own",
            "`docker context create` makes an engine known, and so its builder.",
        )
    if driver not in get_args(Driver):
        known_ones = ", ".join(get_args(Driver))
        raise invalid_builder(
            f"there is no driver {driver!r}", nearest(driver, get_args(Driver)) or f"Use {known_ones}."
        )
    values = {
        "lifecycle": "ephemeral",  # a persistent one needs a name; without a name buildx finds one
        "driver": driver,
        "endpoint": endpoint,
        "options": dict(map(_option, options)),
        "config": str(_file(config, "the configuration file")) if config else "",
        "flags": _words(flags),
        "platforms": [each for platform in platforms for each in platform.split(",")],
    }
    try:
        return BuilderPlan.model_validate(values)
    except ValidationError as error:
        raise invalid_builder(error.errors()[0]["msg"].removeprefix("Value error, ")) from None


def _option(option: str) -> tuple[str, str]:
    key, equals, value = option.partition("=")
    if not key or not equals:
        raise invalid_builder(f"{option!r} is not an option of a driver: write NAME=VALUE")
    return key, str(_file(Path(value), f"the file of {key}")) if key in FILES else value


def _file(path: Path, what: str) -> Path:
    if not path.is_file():
        raise invalid_builder(f"{what} is not there: {path}", "Name a file that can be read.")
    return path.absolute()  # buildx refuses relative ones


def _words(flags: str) -> list[str]:
    try:
        return shlex.split(flags)
    except ValueError as error:
        raise invalid_builder(f"the flags cannot be read: {error}") from None


def create(name: str, plan: BuilderPlan, *, node: str = "") -> str:
    """Create a builder, without starting it, and return its name. Without a name buildx finds one.

    Raises InputError, and the errors of the engine or the cluster.
    """
    _reach(plan)
    with builder_locked(name) if name else contextlib.nullcontext():
        if name in known_builders():
            raise invalid_builder(f"there is a builder {name!r} already", "Choose another name, or `--append` a node.")
        return _create(name or "without a name", plan, *_named(name, node))


def append(name: str, plan: BuilderPlan, *, node: str = "") -> str:
    """Give a builder one more node. Raises InputError and what `create` raises.

    buildx damages the builder when it undoes a failed append: the other nodes lose their platforms, flags and files
    (its `Node.Copy` copies into empty slices). So a builder of that one node is created first, and forgotten.
    """
    with builder_locked(name):
        builder = _existing(name, "given nodes")
        if builder.driver != plan.driver:
            raise invalid_builder(f"{name!r} is a builder of the driver {builder.driver!r}, not {plan.driver!r}")
        if node in {each.name for each in builder.nodes}:
            raise invalid_builder(f"{name!r} has a node {node!r} already", "Take another name for it.")
        _reach(plan)
        trial = f"trial-{secrets.token_hex(8)}"
        _create(name, plan, *_named(trial))
        buildx("rm", "--keep-daemon", trial)
        return _create(name, plan, "--append", *_named(name, node))


def _named(name: str, node: str = "") -> list[str]:
    return [*(["--name", name] if name else []), *(["--node", node] if node else [])]


def _create(name: str, plan: BuilderPlan, *words: str) -> str:
    try:
        return buildx("create", *words, *described(plan)).strip()
    except BuildxFailed as error:
        reason = re.sub(r"^failed to initialize builder \S+ \(\S+\): ", "", error.message)
        raise cannot_create(name, plan.driver, reason) from error


def _reach(plan: BuilderPlan) -> None:
    """Check the engine or the cluster. A remote builder may be created before its daemon runs."""
    if plan.driver == "docker-container" and not plan.endpoint:
        with connect():
            pass
    elif plan.driver == "kubernetes":
        DRIVERS[plan.driver].reach(plan)


def boot(name: str, log: Log) -> ListedBuilder:
    """Start a builder's nodes. Raises InputError, LockHeld and BuilderNotStarted."""
    if _existing(name, "", engine=True).is_engine and not available():  # the engine runs by itself
        return find(name)
    hint = f"`baseforge builder inspect {name}` shows how it was created."

    def step(line: str) -> None:
        if line.startswith("#"):
            log(line)

    try:
        with builder_locked(name, START + QUICK):
            buildx("inspect", "--bootstrap", name, wait=START, log=step)
    except BuildxFailed as error:
        raise BuilderNotStarted(name, error.message, hint) from error
    builder = find(name)
    if builder.errors or any(node.status != RUNNING for node in builder.nodes):
        raise BuilderNotStarted(name, "; ".join(builder.errors) or f"it is {builder.status}", hint)
    return builder


def first_boot(name: str, log: Log, *, undo: bool) -> None:
    """Start a new builder; with `undo` it is removed if it does not start. Raises BuilderNotStarted."""
    try:
        boot(name, log)
    except BuilderNotStarted as error:
        if undo:
            buildx("rm", name)
            error.hint = "It was removed again. Look at its options, such as `image` and `network`."
        raise


def use(name: str, *, default: bool = False, everywhere: bool = False) -> None:
    """Select a builder for the current docker context.

    With `default` it is selected whenever that context is; with `everywhere` it is selected in every context.
    Raises InputError, OtherContext, BuildxMissing and BuildxFailed.
    """
    if _existing(name, "", engine=True).is_engine and name != context_name():
        raise OtherContext(name)
    if name == context_name() and not available():  # then nothing else can be selected
        return
    buildx("use", name, *(["--default"] if default else []), *(["--global"] if everywhere else []))


def stop(name: str) -> None:
    """Stop a builder. Its cache stays. Raises LockHeld and BuildxFailed."""
    with builder_locked(name):
        buildx("stop", name)


def check(names: Sequence[str], doing: str) -> list[ListedBuilder]:
    """The builders of these names. Raises InputError if one does not exist, so that nothing is done to any."""
    return [_existing(name, doing) for name in names]


def _existing(name: str, doing: str, *, engine: bool = False) -> ListedBuilder:
    builder = pick(name, known_builders())
    if builder.is_engine and not engine:
        raise InputError(
            f"the builder {name!r} is the engine of a docker context itself: it cannot be {doing}",
            hint="It comes and goes with its docker context: see `docker context ls`.",
        )
    return builder


def inactive(*, failing: bool) -> list[str]:
    """The builders without a running node; with `failing` also those that cannot be reached."""
    return [
        builder.name
        for builder in listed()
        if not builder.is_engine and (failing if builder.errors else all(node.status in GONE for node in builder.nodes))
    ]


def remove(name: str, *, keep_state: bool = False, keep_daemon: bool = False, force: bool = False) -> None:
    """Remove a builder and its cache; of a remote one, only buildx's entry.

    A builder that cannot be reached is left alone unless `force` is given: buildx would forget it, and its container
    and cache would stay behind unnoticed. Raises InputError, LockHeld, BuilderFailing and BuildxFailed.
    """
    with builder_locked(name):
        builder = _existing(name, "removed")
        if builder.driver != "remote" and not force and not keep_daemon and (reason := fault_of(name)):
            raise BuilderFailing(name, reason)
        words = [*(["--keep-state"] if keep_state else []), *(["--keep-daemon"] if keep_daemon else [])]
        lines: list[str] = []
        try:
            buildx("rm", *words, name, log=lines.append)
        except BuildxFailed as error:
            if not force or name in known_builders():
                begin = f"failed to remove {name}: "
                reasons = [line.removeprefix(begin) for line in lines if line.startswith(begin)]
                raise BuildxFailed("rm", "\n".join(reasons) or error.message) from error
    if builder.selected:  # otherwise buildx would select a new builder of that name
        buildx("use", context_name())
