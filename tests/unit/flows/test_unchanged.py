"""What a command checks before it builds anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows import unchanged
from flows.builders.errors import BuildxMissing
from flows.config.options import BuildOptions
from flows.publish.record import Record
from flows.runtime.context import Context, open_build
from flows.scheduled import night_run
from rootfs.errors import BuildError
from tests.support.contexts import context


@pytest.fixture
def ctx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """A site with a Dockerfile on a base image, on a machine without buildx."""
    recipes = tmp_path / "recipes"
    (recipes / "app").mkdir(parents=True)
    (recipes / "app/Dockerfile").write_text("FROM base\nCOPY x /x\n")
    (recipes / "app.yaml").write_text("kind: dockerfile\ncontexts: {base: low}\n")
    (recipes / "low.yaml").write_text("kind: scratch\nfiles: [{path: /motd, content: hello}]\n")
    monkeypatch.setenv("BASEFORGE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    monkeypatch.delenv("BUILDX_BUILDER", raising=False)
    return context(tmp_path, recipes=(recipes,))


@pytest.fixture
def without_buildx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unchanged, "available", lambda: False)


@pytest.mark.usefixtures("without_buildx")
def test_a_missing_buildx_is_found_before_base_images_are_built(ctx: Context) -> None:
    unchanged.check_buildx(ctx, ["low"], BuildOptions())
    with pytest.raises(BuildxMissing):
        unchanged.check_buildx(ctx, ["low", "app"], BuildOptions())


@pytest.mark.usefixtures("without_buildx")
def test_an_image_that_the_command_has_already_looked_up_needs_none(ctx: Context) -> None:
    ctx.results.update({name: Record(image=name, status="unchanged") for name in ("low", "app")})
    unchanged.check_buildx(ctx, ["low", "app"], BuildOptions())


@pytest.mark.usefixtures("without_buildx")
def test_a_night_finds_a_missing_buildx_before_it_builds_anything(
    ctx: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(night_run, "clean_up", lambda *_: [])
    with pytest.raises(BuildxMissing):
        night_run.run_night(ctx, (), BuildOptions(), lambda: pytest.fail("the flow ran"))
    assert ctx.results == {}


def test_the_record_of_a_failure_is_text_whatever_names_the_tree_has(ctx: Context) -> None:
    with open_build(ctx, "low", BuildOptions()) as build:
        record = unchanged.failed(build, BuildError("no file /\udcff", output="a\nb"))
    assert record.reason.encode() == b"no file /\\udcff\n  | a\n  | b"
    assert rb"no file /\udcff" in build.log_file.read_bytes()
