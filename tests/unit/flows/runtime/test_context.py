"""Runs: an id that sorts by time, and a log that outlives a failure."""

import re

import pytest

from flows.config.settings import Settings
from flows.runtime import context as session_module
from flows.runtime.context import new_run, newest_log, session
from rootfs.recipe.builder import named


@pytest.fixture(autouse=True)
def opened(tmp_path, monkeypatch):
    monkeypatch.setenv("BASEFORGE_HOME", str(tmp_path))
    with session(Settings(store=str(tmp_path / "store"))) as here:
        yield here


def test_a_build_id_sorts_by_time_and_the_newest_log_is_found():
    with new_run("noble") as run:
        run.log("I: hello")
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{8}", run.build)
    assert newest_log("noble") == newest_log("noble", run.build[:10]) == run.log_file
    assert run.log_file.read_text() == "I: hello\n"
    assert newest_log("noble", "1999") is None
    assert newest_log("other") is None


def test_the_newest_log_is_that_of_the_last_run_whatever_the_clock_said():
    with new_run("noble") as run:
        ahead = run.log_file.with_name("20990101T000000Z-00000000.log")
    run.log_file.rename(ahead)
    ahead.with_name("newest").unlink()
    assert newest_log("noble") == ahead
    with new_run("noble") as later:
        assert newest_log("noble") == later.log_file
    later.log_file.unlink()
    assert newest_log("noble") == ahead


def test_a_run_in_force_is_used_again_for_its_image_alone():
    with new_run("noble") as run, new_run("noble") as same, new_run("trixie") as other:
        assert same is run
        assert other.build != run.build


def test_buildx_is_asked_once_for_each_builder_that_may_be_meant(opened, monkeypatch):
    asked = []
    monkeypatch.setattr(session_module, "choose", lambda *said: asked.append(said[:2]) or len(asked))
    plan = named("fast").model_copy(update={"options": {"image": "local"}})
    said = [("", None), ("slow", None), ("", plan)]
    assert [opened.builder(*each) for each in said * 2] == [1, 2, 3] * 2
    assert asked == said


def test_a_session_in_force_is_used_again(opened):
    with session() as again:
        assert again is opened
