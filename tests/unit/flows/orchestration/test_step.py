"""A step without Prefect: titled by what it is called with, timed by its first word, heeding interrupts."""

import time
from types import SimpleNamespace

import pytest

from flows.config.settings import Settings
from flows.orchestration import lost_server
from flows.orchestration.step import step
from flows.runtime import signals
from flows.runtime.context import session, timeline
from rootfs.errors import NetworkFailure


@pytest.fixture(autouse=True)
def opened(tmp_path):
    with session(Settings(store=str(tmp_path / "store"))):
        yield


@step("pack {recipe.name}")
def pack(recipe, *, number):
    """Pack it."""
    return recipe.name * number


@step("release {name}", last=True)
def release(name):
    return name


def test_it_is_the_function_timed_and_shown(capfd):
    assert pack.fn(SimpleNamespace(name="ab"), number=2) == "abab"
    assert list(timeline().seconds) == ["pack"]
    assert "✓ pack ab " in capfd.readouterr().err
    assert pack.__doc__ == "Pack it."


def test_nothing_begins_after_an_interrupt_but_what_gives_back(monkeypatch):
    monkeypatch.setattr(signals, "came", lambda: True)
    with pytest.raises(KeyboardInterrupt):
        pack.fn(SimpleNamespace(name="ab"), number=2)
    assert release.fn("it") == "it"


def test_what_it_is_called_with_has_to_fit():
    with pytest.raises(TypeError):
        pack.fn()


@step("ask {what}", network=True)
def ask(what, failures):
    if failures:
        raise failures.pop()
    return what


def test_without_a_server_a_step_of_the_network_is_tried_again_where_that_can_help(monkeypatch):
    monkeypatch.setattr(lost_server, "reason", lambda: "it was killed")
    monkeypatch.setattr(time, "sleep", lambda _: None)
    gone = [NetworkFailure("gone") for _ in range(3)]
    assert ask("it", gone[:2]) == "it"
    with pytest.raises(NetworkFailure):
        ask("it", gone)
    with pytest.raises(ZeroDivisionError):
        ask("it", [ZeroDivisionError()])
