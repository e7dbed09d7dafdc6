"""Progress lines, with and without a terminal."""

import io

import pytest
from rich.console import Console

from flows.runtime.progress import Progress, Timeline


@pytest.fixture
def out():
    return io.StringIO()


def fail():
    raise KeyError("why")


def test_a_step_is_one_plain_line_with_seconds_and_note(out):
    progress, timeline = Progress(Console(file=out, highlight=False)), Timeline()
    with progress.step("pack noble/amd64", timeline):
        progress.detail("E: [weird] line", timeline)
        timeline.note = "75 MB to 24 MB"
    assert out.getvalue() == "✓ pack noble/amd64                   0.0 s  75 MB to 24 MB\n"
    assert list(timeline.seconds) == ["pack"]


ESCAPES = "\x1b]52;c;aGk=\x07 \x9b2J \r \x1b]0;title\x07 [bold]x[/bold] \\"


def test_control_characters_of_programs_do_not_reach_the_terminal(out):
    progress = Progress(Console(file=out, force_terminal=True, width=200))
    with progress.step("tree noble/amd64", timeline := Timeline()):
        progress.detail(ESCAPES, timeline)
        progress._bars.refresh()
        progress.say(f"one\n{ESCAPES}")
    shown = out.getvalue()
    assert r"\x1b]52;c;aGk=\x07 \x9b2J \x0d" in shown
    assert "[bold]x[/bold]" in shown
    assert not any(each in shown for each in ("\x1b]", "\x07", "\x9b"))


def test_a_step_that_fails_is_marked(out):
    progress = Progress(Console(file=out, highlight=False))
    with pytest.raises(KeyError, match="why"), progress.step("smoke noble", Timeline()):
        fail()
    assert out.getvalue().startswith("✗ smoke noble")


def test_a_terminal_shows_the_running_step_and_its_newest_line(out):
    progress = Progress(Console(file=out, force_terminal=True, width=100))
    with progress.step("tree noble/amd64", timeline := Timeline()):
        progress.detail("I: downloading [packages]", timeline)
        progress._bars.refresh()
    assert "I: downloading [packages]" in out.getvalue()
