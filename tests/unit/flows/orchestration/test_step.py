"""Steps without Prefect: title, seconds, and interrupts."""

import time
from types import SimpleNamespace

import pytest

from flows.orchestration import lost_server
from flows.orchestration.step import step
from flows.runtime import signals
from rootfs.errors import NetworkFailure
from tests.support.contexts import context


@pytest.fixture
def ctx(tmp_path):
    return context(tmp_path)


@step("pack {recipe.name}")
def pack(ctx, recipe, *, number):
    """Pack it."""
    ctx.note("all of it")
    return recipe.name * number


@step("release {name}", last=True)
def release(ctx, name):
    return name


def test_a_step_runs_its_function_and_shows_its_seconds(ctx, capfd):
    assert pack.fn(ctx, SimpleNamespace(name="ab"), number=2) == "abab"
    assert list(ctx.timeline.seconds) == ["pack"]
    shown = capfd.readouterr().err
    assert "✓ pack ab " in shown
    assert "all of it" in shown
    assert pack.__doc__ == "Pack it."


def test_after_an_interrupt_only_steps_that_clean_up_begin(ctx, monkeypatch):
    monkeypatch.setattr(signals, "interrupted", lambda: True)
    with pytest.raises(KeyboardInterrupt):
        pack.fn(ctx, SimpleNamespace(name="ab"), number=2)
    assert release.fn(ctx, "it") == "it"


def test_a_step_checks_its_arguments(ctx):
    with pytest.raises(TypeError):
        pack.fn(ctx)


@step("ask {what}", network=True)
def ask(ctx, what, failures):
    if failures:
        raise failures.pop()
    return what


def test_without_a_server_a_failed_network_step_is_tried_again(ctx, monkeypatch):
    monkeypatch.setattr(lost_server, "reason", lambda: "it was killed")
    monkeypatch.setattr(time, "sleep", lambda _: None)
    gone = [NetworkFailure("gone") for _ in range(3)]
    assert ask(ctx, "it", gone[:2]) == "it"
    with pytest.raises(NetworkFailure):
        ask(ctx, "it", gone)
    with pytest.raises(ZeroDivisionError):
        ask(ctx, "it", [ZeroDivisionError()])
