"""A step without Prefect: titled by what it is called with, timed by its first word, heeding interrupts."""

from types import SimpleNamespace

import pytest

from flows import interrupt
from flows.session import session, timeline
from flows.settings import Settings
from flows.steps import step


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
    monkeypatch.setattr(interrupt, "came", lambda: True)
    with pytest.raises(KeyboardInterrupt):
        pack.fn(SimpleNamespace(name="ab"), number=2)
    assert release.fn("it") == "it"


def test_what_it_is_called_with_has_to_fit():
    with pytest.raises(TypeError):
        pack.fn()
