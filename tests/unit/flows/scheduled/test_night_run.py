"""Nights without Prefect and without an engine: what is planned, held and paused, and what is kept of a night."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from flows.config.options import BuildOptions
from flows.night import history
from flows.night.document import Night
from flows.publish.record import Record
from flows.runtime.context import BuildContext, Context, open_build
from flows.scheduled.night_run import attempt_image, end_night, forget_failures
from flows.scheduled.planning import dry_run, open_night
from flows.store.errors import store_unreachable
from flows.unchanged import failed
from rootfs.apt.errors import ArchiveUnreachable
from rootfs.errors import BaseforgeError, BuildError, InputError
from rootfs.system.errors import DiskFull
from tests.support.contexts import context

GOOD = "kind: scratch\nfiles: [{path: /motd, content: hello}]\n"
APP = "kind: dockerfile\ncontexts: {base: low}\n"
TESTED = BuildError("a check failed")


class Site:
    """A folder of recipes and a store. Building an image ends with its error in `errors`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.recipes, self.errors = folder, folder / "recipes", dict[str, BaseforgeError]()
        (self.recipes / "app").mkdir(parents=True)
        (self.recipes / "app/Dockerfile").write_text("FROM base\n")
        self.recipe("low", GOOD)
        self.recipe("app", APP)
        self.recipe("other", GOOD)
        self.errors |= dict.fromkeys(("low", "app", "other"), TESTED)
        self.tried: list[str] = []

    def recipe(self, name: str, text: str) -> None:
        (self.recipes / f"{name}.yaml").write_text(text)

    def context(self) -> Context:
        return context(self.folder, recipes=(self.recipes,))

    def night(self, *only: str, ctx: Context | None = None, **options: Any) -> Night:
        """A night as the flow has it: its plan, each image in its turn, its end."""
        ctx, self.tried = ctx or self.context(), []
        night = open_night(ctx, only, BuildOptions(**options))
        for image in night.bases:
            if image not in ctx.results:
                attempt_image(ctx, night, image, self.attempt)
        return end_night(ctx, night)

    def attempt(self, ctx: Context, image: str, options: BuildOptions) -> Record:
        self.tried.append(image)
        with open_build(ctx, image, options) as build:
            ctx.results[image] = record = failed(build, self.errors[image])
        return record

    def plan(self, *only: str) -> dict[str, tuple[str, str]]:
        return {each.image: (each.action, each.reason) for each in dry_run(self.context(), only, BuildOptions()).images}


def statuses(night: Night) -> dict[str, str]:
    return {each.image: each.status for each in night.images}


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setenv("BASEFORGE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    return Site(tmp_path)


def test_sixteen_nights_with_the_same_inputs(site: Site) -> None:
    tried = []
    for number in range(1, 17):
        night = site.night()
        assert (night.number, night.images[0].image) == (number, "low")
        assert statuses(night)["app"] == "held"
        tried += [number] if site.tried else []
        assert site.tried in ([], ["low", "other"])
    assert tried == [1, 2, 4, 8, 16]
    assert len(site.context().store.list_documents("nights")) == 18  # with the list, and the checks


def test_a_pause_ends_for_the_image_whose_inputs_change(site: Site) -> None:
    for _ in range(4):
        site.night()
    assert statuses(site.night()) == {"low": "paused", "app": "held", "other": "paused"}
    site.recipe("other", GOOD.replace("hello", "other"))
    assert {name: action for name, (action, _) in site.plan().items()} == {
        "low": "paused",
        "app": "held",
        "other": "build",
    }
    assert site.plan()["app"] == ("held", "its base image low is paused")


@pytest.mark.parametrize(("only", "options"), [(("low",), {}), ((), {"force": True})], ids=["by name", "forced"])
def test_a_named_or_forced_image_is_tried_although_it_is_paused(
    site: Site, only: tuple[str, ...], options: dict[str, Any]
) -> None:
    site.night()
    site.night()
    site.night(*only, **options)
    assert "low" in site.tried


def test_a_build_by_hand_ends_a_pause(site: Site) -> None:
    site.night()
    site.night()
    ctx = site.context()
    site.attempt(ctx, "low", BuildOptions())
    forget_failures(ctx, ["low"])
    assert site.plan()["low"] == ("build", "new image")
    assert site.plan()["other"][0] == "paused"


def test_a_failure_that_may_pass_is_tried_every_night(site: Site) -> None:
    site.errors["low"] = ArchiveUnreachable("http://archive", "502 Bad Gateway")
    for _ in range(5):
        night = site.night()
        assert "low" in site.tried
    assert {each.image: each.transient for each in night.images} == {"low": True, "app": False, "other": False}


def test_a_broken_recipe_fails_itself_and_holds_its_children(site: Site) -> None:
    for text in ("kind: scratch\nfile: []\n", "kind: [scratch\n"):  # an unknown key, and no YAML
        site.recipe("low", text)
        plan = site.plan()
        assert plan["low"][0] == "failed"
        assert "low.yaml:2:1" in plan["low"][1]
        assert plan["app"] == ("held", "its base image low failed")
        assert plan["other"] == ("build", "new image")
    site.night()
    assert site.tried == ["other"]
    site.night()
    found = site.night()
    assert statuses(found) == {"low": "paused", "app": "held", "other": "paused"}
    assert "low.yaml:2:1" in found.images[0].reason


def test_images_in_a_circle_fail_and_name_it(site: Site) -> None:
    for name, base in (("one", "two"), ("two", "one")):
        (site.recipes / name).mkdir()
        (site.recipes / f"{name}/Dockerfile").write_text("FROM base\n")
        site.recipe(name, f"kind: dockerfile\ncontexts: {{base: {base}}}\n")
    plan = site.plan()
    assert {plan[name][0] for name in ("one", "two")} == {"failed"}
    assert "an image cannot build on itself: one is from two is from one" in plan["one"][1]
    assert plan["other"][0] == "build"


def test_images_in_a_circle_on_a_recipe_that_is_no_yaml_are_held(site: Site) -> None:
    site.recipe("low", "kind: [scratch\n")
    for name, base in (("one", "two"), ("two", "one")):
        (site.recipes / name).mkdir()
        (site.recipes / f"{name}/Dockerfile").write_text("FROM low\n")
        site.recipe(name, f"kind: dockerfile\ncontexts: {{low: low, other: {base}}}\n")
    plan = site.plan()
    assert {name: action for name, (action, _) in plan.items()} == {
        "low": "failed",
        **dict.fromkeys(("app", "one", "two"), "held"),
        "other": "build",
    }


def test_a_missing_base_image_fails_the_image_that_names_it(site: Site) -> None:
    site.recipe("app", APP.replace("low", "lows"))
    plan = site.plan()
    assert plan["app"][0] == "failed"
    assert "there is no recipe 'lows'" in plan["app"][1]
    assert "Did you mean 'low'?" in plan["app"][1]
    assert plan["low"][0] == "build"


SAME_NAME = {
    "two endings": ("recipes/low.yml", GOOD),
    "two folders": ("more/low.yaml", GOOD),
    "an image for debugging": ("recipes/low-debug.yaml", GOOD),
}


@pytest.mark.parametrize("case", SAME_NAME)
def test_two_recipes_of_one_name_are_refused_with_their_files(site: Site, case: str) -> None:
    path, text = SAME_NAME[case]
    (site.folder / "more").mkdir()
    (site.folder / path).write_text(text)
    site.recipe("low", f"{GOOD}debug: true\nsuite: trixie\n" if "debug" in path else GOOD)
    ctx = context(site.folder, recipes=(site.recipes, site.folder / "more"))
    with pytest.raises(InputError) as refused:
        dry_run(ctx, (), BuildOptions())
    assert {str(site.recipes / "low.yaml"), str(site.folder / path)} == set(
        re.findall(r"\S+\.ya?ml", str(refused.value))
    )


def test_an_offline_night_counts_no_failure(site: Site) -> None:
    for _ in range(4):
        site.night(offline=True)
    assert site.tried == ["low", "other"]


def test_a_night_whose_logs_cannot_be_written_says_so_for_each_image(site: Site) -> None:
    def full(*_: object) -> AbstractContextManager[BuildContext]:
        raise DiskFull("/var")

    ctx = site.context()
    night = open_night(ctx, (), BuildOptions(), full)
    assert {each.image: each.action for each in night.plan.images} == {
        "low": "failed",
        "app": "held",
        "other": "failed",
    }
    assert all(each.transient for each in end_night(ctx, night).images if each.status == "failed")


def test_a_dry_run_writes_nothing(site: Site) -> None:
    before = {path for path in site.folder.rglob("*") if path.is_file()}
    assert site.plan() == {
        "low": ("build", "new image"),
        "app": ("wait", "its base image low is built first"),
        "other": ("build", "new image"),
    }
    assert {path for path in site.folder.rglob("*") if path.is_file()} == before


def test_a_night_whose_store_is_away_says_so_and_ends(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise store_unreachable("s3://bucket", "http://s3", "refused")

    ctx = site.context()
    for method in ("read_document", "create_document", "replace_document"):
        monkeypatch.setattr(type(ctx.store), method, away)
    monkeypatch.setattr("flows.orchestration.step.time.sleep", lambda _: None)
    night = site.night(ctx=ctx)
    assert statuses(night) == {"low": "failed", "app": "held", "other": "failed"}
    assert [each.transient for each in night.images] == [True, False, True]
    assert "the document of this night is not in the store" in night.alarms[-1]


def test_the_document_is_the_night(site: Site) -> None:
    night = site.night("other")
    [listed] = history.read_nights(site.context().store).nights
    kept = history.read_night(site.context().store, listed.date)
    assert kept
    assert dict(kept) == {key: value for key, value in night if key != "builds"}
    assert (kept.only, kept.number, kept.summary) == (("other",), 0, {"failed": 1})
    [image] = kept.images
    assert (image.planned, image.why, image.reason) == ("build", "new image", "a check failed")
    assert kept.version
    assert kept.host
