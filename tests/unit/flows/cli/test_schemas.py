"""The schemas in deploy/schemas are those of the models, and the output of commands matches them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer

from flows.builders.listing import BuilderNode, ListedBuilder
from flows.builders.usage import AllUsage, Cached, Cleared, Usage
from flows.cli import builds, night_output, output, schemas
from flows.cli.json_output import Finding
from flows.cli.main import app
from flows.cli.recipe_check import check_recipes
from flows.config.settings import load, origins
from flows.config.site_folders import SHELF, find_site
from flows.night.document import ImageNight, Night, NightPlan, PackageChange, PlannedImage
from flows.publish.newest import Move, Newest
from flows.publish.record import BaseImageBuild, Record, SmokeCounts, UsedBuilder
from flows.publish.verification import Link, Verification
from flows.runtime.progress import Progress
from rootfs.lock.lock import Lock, Package, Release
from tests.support.schemas import SCHEMAS, schema_name, validate

DIGEST = f"sha256:{0:064}"
LOCK = Lock(
    releases=(Release(address="http://a", suite="trixie", sha256="cd" * 32, date=0, signer="F" * 40),),
    packages=(
        Package(
            name="a",
            version="1",
            architecture="all",
            sha256="ab" * 32,
            size=1,
            source="a",
            archive="http://a",
            suite="trixie",
            path="pool/a.deb",
        ),
    ),
)
PART = Record(
    image="noble",
    build="1",
    status="published",
    platforms=("linux/amd64",),
    input_digest=DIGEST,
    lock=LOCK,
    parent=BaseImageBuild(image="base", build="1", manifest_digest=DIGEST),
    builder=UsedBuilder(name="default", driver="docker"),
    seconds={"lock": 0.5},
    smoke=SmokeCounts(passed=1, failed=0),
    example=("true",),
)
RECORD = PART.model_copy(update={"parts": (PART,), "versions": {"a": {"linux/amd64": "1", "linux/arm64": "2"}}})
FAILED = Record(image="noble", status="failed", reason="it broke", exit_status=1)
MOVE = Move(build="1", number=1, at="2026-11-29T00:00:00Z", why="a new build")
NEWEST = Newest(**dict(MOVE), named=True, history=(MOVE,))
VERDICT = Verification(
    image="noble",
    build="1",
    links=(Link(name="lock", recorded=DIGEST, found=DIGEST),),
    tools={"apt": ("1", "2")},
    differences=("/etc/x: other bytes",),
    different=1,
    seconds={"make": 1.5},
    damage=("a blob is missing",),
)
CHANGE = PackageChange(name="openssl", old="1", new="2", cves=("CVE-2026-1234",))
PLAN = NightPlan(images=(PlannedImage(image="noble", action="build", reason="openssl 1 → 2", changes=(CHANGE,)),))
NIGHT = Night(
    date="20261130T020000Z",
    number=1,
    started="2026-11-30T02:00:00Z",
    ended="2026-11-30T02:01:00Z",
    images=(ImageNight(image="noble", status="published", planned="build", changes=(CHANGE,)),),
    builds=(RECORD, FAILED),
    seconds={"acquire": 1.0},
)


def doctor() -> None:
    output.doctor(
        [Finding("buildx", "0.38", ok=True, needed=False, hint="")], load(), origins(find_site()), as_json=True
    )


OUTPUTS: dict[str, Callable[[], object]] = {
    "build": lambda: output.builds([RECORD, FAILED], load(), Progress(), as_json=True),
    "nightly": lambda: night_output.night(NIGHT, Progress(), as_json=True),
    "nightly-plan": lambda: night_output.plan(PLAN, as_json=True),
    "list": lambda: builds.listing([RECORD, FAILED], as_json=True),
    "show": lambda: output.one(RECORD, NEWEST, as_json=True),
    "show of a build with its packages": lambda: output.one(
        RECORD, NEWEST, as_json=True, installed={"linux/amd64": {"a:all": "1"}}
    ),
    "validate": lambda: output.checked(check_recipes(["static"], [SHELF]), as_json=True),
    "show of an earlier version's store": lambda: output.one(RECORD, None, as_json=True),
    "lock": lambda: output.locks({"linux/amd64": LOCK}, None, as_json=True),
    "lock for several platforms": lambda: output.locks(dict.fromkeys(("linux/amd64", "linux/arm64"), LOCK), None, True),
    "verify": lambda: output.verdict(VERDICT, as_json=True),
    "doctor": doctor,
    "gc": lambda: output.removed(["a run"], as_json=True),
}


def json_commands() -> Iterator[tuple[str, ...]]:
    """The commands that have the option `--json`."""
    for name, command in vars(typer.main.get_command(app))["commands"].items():
        if has_json(command):
            yield (name,)
        yield from ((name, inner) for inner, each in vars(command).get("commands", {}).items() if has_json(each))


def has_json(command: Any) -> bool:
    return any("--json" in option.opts for option in command.params)


def test_the_schemas_are_those_of_the_models() -> None:
    made = dict(schemas.texts())
    assert {path.name: path.read_text() for path in SCHEMAS.iterdir()} == made, (
        "run: python -m flows.cli.schemas deploy/schemas"
    )
    for text in made.values():
        jsonschema.Draft202012Validator.check_schema(json.loads(text))


def test_each_command_with_json_has_a_schema() -> None:
    found = {schema_name(words) for words in (*json_commands(), ("nightly", "--dry-run"))}
    assert found == schemas.types().keys() - set(schemas.DOCUMENTS)
    assert len(found) > 10


@pytest.mark.parametrize("case", OUTPUTS)
def test_printed_json_matches_its_schema(
    case: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASEFORGE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    OUTPUTS[case]()
    validate(case.partition(" ")[0], json.loads(capsys.readouterr().out))


def test_printed_json_of_builders_matches_its_schema() -> None:
    node = BuilderNode.model_validate(
        {"Name": "one0", "Labels": {"a": "b"}, "GCPolicy": [{"all": True, "filter": None}]}
    )
    builder = ListedBuilder.model_validate({"Name": "one", "Driver": "remote", "Nodes": [node]})
    usage = Usage(builder="one", driver="remote", status="running", records=(Cached.model_validate({"ID": "x"}),))
    validate("builder-list", [builder.model_dump(mode="json")])
    validate("builder-inspect", builder.model_dump(mode="json"))
    validate("builder-du", AllUsage.of([usage, usage]).model_dump(mode="json"))
    validate("builder-prune", Cleared.of(usage).model_dump(mode="json"))


@pytest.mark.parametrize("harm", [{"image": 5}, {"unknown": 1}, {"platforms": None}])
def test_a_wrong_output_does_not_match_the_schema(harm: dict[str, Any]) -> None:
    validate("build", [PART.model_dump(mode="json")])
    with pytest.raises(jsonschema.ValidationError):
        validate("build", [{**PART.model_dump(mode="json"), **harm}])


def test_a_document_of_an_earlier_version_matches_the_schema() -> None:
    """It has fewer keys; what scripts read of a store may lack them."""
    validate("record", {"image": "noble", "build": "1", "status": "published"})
    validate("newest", {"build": "1", "number": 1, "at": "2026-11-29T00:00:00Z", "why": "a new build"})
