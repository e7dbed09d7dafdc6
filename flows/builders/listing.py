"""List the builders that buildx knows, with their state."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.alias_generators import to_camel, to_pascal

from flows.builders.buildx_cli import available, buildx
from flows.builders.engine import connect, context_name
from flows.builders.errors import BuildxMissing, BuildxTooOld, unknown_builder
from rootfs.errors import BaseforgeError

SLOWEST = 30.0  # seconds: buildx itself gives every builder 20 to answer
# With this timeout buildx asks no builder and lists only what is in its own files. A longer one may end while buildx
# looks up an engine's driver, and the driver is wrong then.
AT_ONCE = "1ns"

# Only the text for people says which platforms are fixed. A format other than table and `json` has a line per node.
FORMAT = '{{json .}}{{"\\t"}}{{.Platforms}}'
ENGINE = "docker"  # the driver of the builder that is the engine itself
RUNNING = "running"
NEVER = "0001-01-01T00:00:00Z"  # Go's zero time


class Rule(BaseModel):
    """One rule of BuildKit's garbage collection: space in bytes, time in nanoseconds."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel)

    all: bool = False
    filter: tuple[str, ...] | None = None
    keep_duration: int = 0
    reserved_space: int = 0
    max_used_space: int = 0
    min_free_space: int = 0


class _Read(BaseModel):
    """A part of what `docker buildx ls --format json` prints. Keys of newer versions are ignored."""

    model_config = ConfigDict(frozen=True, alias_generator=to_pascal)


class BuilderNode(_Read):
    """One BuildKit of a builder. `fixed` are the platforms that its owner has configured."""

    name: str
    endpoint: str = ""
    status: str = ""
    version: str = ""
    error: str = Field("", alias="Err")
    platforms: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    driver_options: dict[str, str] = Field({}, alias="DriverOpts")
    flags: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    gc_rules: tuple[Rule, ...] = Field((), alias="GCPolicy")


class ListedBuilder(_Read):
    """A builder that buildx knows. `error` says why it cannot be loaded; `selected` is set by `builder use`."""

    name: str
    driver: str
    selected: bool = Field(False, alias="Current")
    last_activity: str = ""
    error: str = Field("", alias="Err")
    nodes: tuple[BuilderNode, ...] = ()

    @field_validator("last_activity")
    @classmethod
    def _ever(cls, value: str) -> str:
        return "" if value == NEVER else value

    @property
    def is_engine(self) -> bool:
        """Whether it is an engine's own builder. buildx names no driver if the engine does not answer."""
        return self.driver in (ENGINE, "")

    @property
    def errors(self) -> list[str]:
        """The errors of the builder and of its nodes."""
        nodes = [f"{node.name}: {node.error}" for node in self.nodes if node.error]
        return [self.error, *nodes] if self.error else nodes

    @property
    def status(self) -> str:
        """The status of all its nodes: `running` if one of them runs."""
        found = {node.status for node in self.nodes}
        if self.error or RUNNING in found:
            return "error" if self.error else RUNNING
        return ", ".join(sorted(found))


def listed() -> list[ListedBuilder]:
    """Every builder in buildx's order, with its error if it cannot be reached; without buildx the engine's own.

    Raises BuildxFailed.
    """
    try:
        return parse(buildx("ls", "--format", FORMAT, wait=SLOWEST))
    except BuildxMissing:
        return [engine_builder()]


def known_builders() -> dict[str, ListedBuilder]:
    """Every builder by name, without its state, as none is asked; without buildx the engine's own.

    Raises BuildxFailed.
    """
    try:
        found = parse(buildx("ls", "--timeout", AT_ONCE, "--format", FORMAT))
    except BuildxTooOld:  # it asks all builders
        found = listed()
    except BuildxMissing:
        found = [ListedBuilder.model_validate({"Name": context_name(), "Driver": ENGINE})]
    return {builder.name: builder for builder in found}


def engine_builder() -> ListedBuilder:
    """The builder that the current docker context's engine has, as buildx lists it; it needs no buildx."""
    name = context_name()
    node: dict[str, Any] = {"Name": name, "Endpoint": name}
    found: dict[str, Any] = {"Name": name, "Driver": ENGINE, "Current": True}
    try:
        with connect() as engine:
            node |= {"Status": RUNNING, "Platforms": [f"linux/{engine.architecture}"]}
    except BaseforgeError as error:
        return ListedBuilder.model_validate({**found, "Err": error.message})
    return ListedBuilder.model_validate({**found, "Nodes": [node]})


def parse(text: str) -> list[ListedBuilder]:
    """Parse buildx's output in our format: a line for each builder and each of its loaded nodes."""
    rows = [line.partition("\t") for line in text.split("\n") if line]
    grouped = itertools.groupby(rows, key=lambda row: row[0])
    return [_listed(json, [platforms for _, _, platforms in lines][1:]) for json, lines in grouped]


def _listed(json: str, platforms: list[str]) -> ListedBuilder:
    builder = ListedBuilder.model_validate_json(json)
    if builder.error:  # its nodes are blank
        return builder.model_copy(update={"nodes": ()})
    marked = zip(builder.nodes, platforms, strict=False)
    nodes = tuple(node.model_copy(update={"fixed": tuple(re.findall(r"([^\s,]+)\*", row))}) for node, row in marked)
    return builder.model_copy(update={"nodes": nodes})


def find(name: str) -> ListedBuilder:
    """The builder of this name. Raises as `pick`, and BuildxFailed."""
    return pick(name, {builder.name: builder for builder in listed()})


def pick(name: str, there: Mapping[str, ListedBuilder]) -> ListedBuilder:
    """The builder of this name. Raises InputError, which suggests the nearest name, or BuildxMissing."""
    if name not in there:
        if not available():
            raise BuildxMissing
        raise unknown_builder(name, there)
    return there[name]


def name_or_selected(name: str) -> str:
    """This name, or else that of BUILDX_BUILDER or of the selected builder. Raises BuildxFailed."""
    name = name or os.environ.get("BUILDX_BUILDER", "")
    return name or selected()[0]


def fault_of(name: str) -> str:
    """The error of the builder of this name, or an empty string. Others are not asked. Raises BuildxFailed."""
    return next(iter(values("Error", buildx("inspect", name, wait=SLOWEST))), "")


def selected() -> tuple[str, str]:
    """Name and driver of the builder that `builder use` selected, or else the docker context's. No other is asked.

    Without buildx nothing else can be selected. Raises BuildxFailed.
    """
    try:
        text = buildx("inspect", wait=SLOWEST)
    except BuildxMissing:
        return context_name(), ENGINE
    name, driver = (next(iter(values(key, text)), "") for key in ("Name", "Driver"))
    return name, driver


def driver_of(name: str) -> str:
    """The driver of the builder of this name, `docker` for an engine. No builder is asked. Raises as `find`."""
    builder = pick(name, known_builders())
    return ENGINE if builder.is_engine else builder.driver


def values(key: str, text: str) -> list[str]:
    """Each value of a key in the output of `docker buildx inspect`, which has one format; builders before nodes."""
    return re.findall(rf"^{key}:[ \t]+(\S.*?)[ \t]*$", text, re.MULTILINE)
