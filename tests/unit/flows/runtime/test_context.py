"""Contexts: what is opened once for a command; build ids sort by time, and logs stay after a failure."""

import re
import threading

import pytest

from flows.config.options import BuildOptions
from flows.config.settings import Settings
from flows.runtime import context as context_module
from flows.runtime.context import Once, newest_log, open_build, open_context
from rootfs.recipe.builder import existing_builder

OPTIONS = BuildOptions()


@pytest.fixture
def ctx(tmp_path, monkeypatch):
    monkeypatch.setenv("BASEFORGE_HOME", str(tmp_path))
    with open_context(Settings(store=str(tmp_path / "store"))) as opened:
        yield opened


def test_a_build_id_sorts_by_time_and_the_newest_log_is_found(ctx):
    with open_build(ctx, "noble", OPTIONS) as build:
        build.log("I: hello")
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{8}", build.build)
    assert newest_log("noble") == newest_log("noble", build.build[:10]) == build.log_file
    assert build.log_file.read_text() == "I: hello\n"
    assert newest_log("noble", "1999") is None
    assert newest_log("other") is None


def test_a_log_takes_bytes_that_are_no_text(ctx):
    with open_build(ctx, "noble", OPTIONS) as build:
        build.log("I: é /\udcff")
    assert build.log_file.read_bytes() == "I: é /\\udcff\n".encode()


def test_the_newest_log_is_that_of_the_last_run_whatever_the_clock_said(ctx):
    with open_build(ctx, "noble", OPTIONS) as build:
        ahead = build.log_file.with_name("20990101T000000Z-00000000.log")
    build.log_file.rename(ahead)
    ahead.with_name("newest").unlink()
    assert newest_log("noble") == ahead
    with open_build(ctx, "noble", OPTIONS) as later:
        assert newest_log("noble") == later.log_file
    later.log_file.unlink()
    assert newest_log("noble") == ahead


def test_a_build_that_is_open_is_used_again_for_its_image_alone(ctx):
    with (
        open_build(ctx, "noble", OPTIONS) as build,
        open_build(build, "noble", OPTIONS) as same,
        open_build(build, "trixie", OPTIONS) as other,
    ):
        assert (same.build, same.answers, same.timeline) == (build.build, build.answers, build.timeline)
        assert other.build != build.build
        assert (other.results, other.opened) == (ctx.results, ctx.opened)
        assert other.timeline is not build.timeline
    with open_build(ctx, "noble", OPTIONS) as later:
        assert later.build != build.build


def test_builds_side_by_side_have_logs_and_seconds_of_their_own(ctx):
    both = threading.Barrier(2)

    def run(image):
        with open_build(ctx, image, OPTIONS) as build, build.progress.step(f"pack {image}", build.timeline):
            both.wait(10)
            build.log(image)
            build.note(image)
            both.wait(10)
            found[image] = build.timeline.note, build.log_file.read_text()

    found = {}
    threads = [threading.Thread(target=run, args=(image,)) for image in ("noble", "trixie")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == {"noble": ("noble", "noble\n"), "trixie": ("trixie", "trixie\n")}


def test_buildx_is_asked_once_for_each_builder_that_may_be_selected(ctx, monkeypatch):
    asked = []
    monkeypatch.setattr(context_module, "select_builder", lambda *said: asked.append(said[:2]) or len(asked))
    plan = existing_builder("fast").model_copy(update={"options": {"image": "local"}})
    said = [("", None), ("slow", None), ("", plan)]
    assert [ctx.builder(*each) for each in said * 2] == [1, 2, 3] * 2
    assert asked == said


def test_a_value_that_could_not_be_made_is_asked_for_again():
    answers, once = [ZeroDivisionError(), 5], Once()

    def make():
        if isinstance(answer := answers.pop(0), Exception):
            raise answer
        return answer

    with pytest.raises(ZeroDivisionError):
        once.get("a", make)
    assert [once.get("a", make), once.get("a", make)] == [5, 5]
    assert once.take_all() == [5]
