"""Models of what `--json` prints where that is no document of a store. People script on these: keys stay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from flows.night.freshness import Freshness, Support
from flows.publish.checks import WaitingPackage
from flows.publish.newest import Newest
from flows.publish.record import Record


class Output(BaseModel):
    """One document on standard output, or a part of it."""

    model_config = ConfigDict(frozen=True)


class ListedImage(Record):
    """The record of an image's newest build, and what the last check of the image has found.

    `freshness` is null for an image without a recipe, `support` if no end of support is known of its distribution.
    `waiting` are the packages with newer versions in the archive.
    """

    freshness: Freshness | None
    support: Support | None
    waiting: tuple[WaitingPackage, ...]


class ShownBuild(ListedImage):
    """A build's record, and which build `latest` is: null if the store does not say so.

    `installed` has the image's packages by platform, as `NAME:ARCHITECTURE` with their versions; null unless they are
    asked for.
    """

    latest: Newest | None
    installed: dict[str, dict[str, str]] | None


class RecipeProblem(Output):
    """A mistake in a recipe: in which file, on which line and in which column, and what to do.

    Line and column are null where the whole file is meant; the file is empty where there is none.
    """

    image: str
    file: str
    line: int | None
    column: int | None
    message: str
    hint: str


class CheckedRecipe(Output):
    """A recipe: the image's name, the recipe's kind (empty where the recipe has mistakes), and its mistakes."""

    name: str
    kind: str
    problems: tuple[RecipeProblem, ...]


@dataclass(frozen=True)
class Finding:
    """One check of this machine: what was found, whether it is enough, whether every build needs it, and a hint."""

    name: str
    found: str
    ok: bool
    needed: bool
    hint: str


class SettingValue(Output):
    """A setting's value, secrets masked, and where it comes from: a file, a variable or the default."""

    value: Any
    origin: str = Field(serialization_alias="from")


class Diagnosis(Output):
    """What `doctor` finds on this machine, and the settings in force by name."""

    machine: tuple[Finding, ...]
    settings: dict[str, SettingValue]


class CleanedRuns(Output):
    """The ids of the runs whose leftovers were removed."""

    runs: tuple[str, ...]
