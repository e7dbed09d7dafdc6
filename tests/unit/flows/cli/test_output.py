"""Output of commands about builds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.cli import builds, output
from flows.publish.newest import Move, Newest
from flows.publish.record import Record
from flows.store.open import open_store
from rootfs.errors import InputError

DIGEST = f"sha256:{0:064}"
MOVED = f"moved to build 1, which has these inputs ({DIGEST}): the newest was build 2"
SAID = {"image": "noble", "build": "1", "manifest_digest": DIGEST}


def record(status: str, **more: str) -> Record:
    return Record.model_validate({**SAID, "status": status, **more})


def latest(build: str, named: bool = True) -> Newest:
    before = Move(build="2", number=2, at="2026-11-29T00:00:00Z", why="a new build")
    return Newest(build=build, number=3, at="2026-11-30T00:00:00Z", why="a test", named=named, history=(before,))


def test_a_moved_image_names_the_build_and_the_reason() -> None:
    assert output.ending(record("moved", reason="the newest was build 2")) == f"noble: {MOVED}"
    assert output.ending(record("unchanged")) == f"noble: unchanged, build 1 has these inputs ({DIGEST})"


@pytest.mark.parametrize(
    ("newest", "words"),
    [
        (latest("1"), "this build, since 2026-11-30T00:00:00Z: a test"),
        (latest("3"), "build 3, since 2026-11-30T00:00:00Z: a test"),
        (latest("1", named=False), "a test; not all names in the registry and the engine have followed yet\n"),
    ],
)
def test_a_build_is_shown_with_what_latest_means(
    newest: Newest, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    output.one(record("published"), newest, as_json=False)
    shown = capsys.readouterr().out
    assert words in shown
    assert "build 2, since 2026-11-29T00:00:00Z: a new build" in shown
    output.one(record("published"), newest, as_json=True)
    said = json.loads(capsys.readouterr().out)
    assert (said["build"], said["latest"]["build"]) == ("1", newest.build)
    assert said["latest"]["history"][0]["build"] == "2"


ID = "20261130T163246Z-92d39eb7"
BUILT = Record.model_validate(
    {**SAID, "build": ID, "status": "published", "platforms": ["linux/amd64"], "packages": 91, "size": 30_500_000}
    | {"builder": {"name": "default", "driver": "docker"}}
)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Make standard output a terminal of a width."""

    def widen(columns: int) -> None:
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("COLUMNS", str(columns))

    return widen


@pytest.mark.parametrize("columns", [40, 60, 80, 120, 200])
def test_a_list_has_whole_names_and_builds_at_any_width(
    columns: int, terminal: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    terminal(columns)
    builds.listing([BUILT, BUILT.model_copy(update={"image": "trixie-slim", "size": 1})], as_json=False)
    said = capsys.readouterr()
    shown = re.sub(r"\x1b\[\d*m", "", said.out)
    hidden = [title for title in builds.ALWAYS if title not in shown.splitlines()[0]]
    assert said.err == (f"Too narrow for {', '.join(hidden)}: `baseforge list --json`\n" if hidden else "")
    assert bool(hidden) == (columns < 120)
    assert max(map(len, shown.splitlines())) <= columns
    assert [line.split()[:2] for line in shown.splitlines()[1:]] == [["noble", ID], ["trixie-slim", ID]]
    assert "…" not in shown
    assert ("30.5 MB" in shown, "sha256:000000000000" in shown, DIGEST in shown) == (
        columns >= 60,
        columns >= 120,
        columns >= 200,
    )


def test_tables_that_go_to_programs_have_no_trailing_blanks(capsys: pytest.CaptureFixture[str]) -> None:
    builds.listing([BUILT, record("damaged")], as_json=False)
    output.one(BUILT, latest("1"), as_json=False, installed={"linux/amd64": {"a:all": "1", "longer:amd64": "2.0"}})
    shown = capsys.readouterr().out.splitlines()
    assert [line for line in shown if line != line.rstrip()] == []
    assert f"linux/amd64  91        30.5 MB  {DIGEST}" in shown[1]
    assert shown[-3:] == ["PACKAGE (linux/amd64)  VERSION", "a:all                  1", "longer:amd64           2.0"]


def test_a_build_is_shown_without_facts_that_have_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    output.one(BUILT, None, as_json=False)
    shown = capsys.readouterr().out
    assert "builder          name default, driver docker\n" in shown
    assert not re.search(r"^lock\b *$", shown, re.MULTILINE)


def test_the_base_images_of_a_dockerfile_are_shown_with_their_builds(capsys: pytest.CaptureFixture[str]) -> None:
    bases = [{"image": name, "build": ID, "manifest_digest": DIGEST} for name in ("noble", "static")]
    output.one(Record.model_validate({**dict(BUILT), "bases": bases}), None, as_json=False)
    assert re.search(rf"^bases +noble@{ID}, static@{ID}$", capsys.readouterr().out, re.MULTILINE)


ESCAPE = "\x1b]52;c;aGk=\x07\x9b2J\x7f"


def test_control_characters_of_records_and_logs_do_not_reach_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BASEFORGE_HOME", str(tmp_path))
    (tmp_path / "logs/noble").mkdir(parents=True)
    (tmp_path / "logs/noble/1.log").write_bytes(f"one\t1\n{ESCAPE}\n".encode() + b"\xff\n")
    store = open_store(str(tmp_path / "store"))
    hostile = record("damaged", reason=ESCAPE, distribution=ESCAPE, created=ESCAPE)
    output.log(store, "noble")
    assert capsys.readouterr().out == ("one\t1\n\\x1b]52;c;aGk=\\x07\\x9b2J\\x7f\n\ufffd\n")
    builds.listing([hostile], as_json=False)
    output.one(hostile, latest("1").model_copy(update={"why": ESCAPE}), as_json=False)
    output.one(hostile, None, as_json=True)
    said = capsys.readouterr()
    assert json.loads(said.out[said.out.index("{") :])["reason"] == ESCAPE
    assert not any(each in f"{said.out}{said.err}" for each in ("\x1b", "\x07", "\x9b", "\x7f"))


@pytest.mark.parametrize("reference", ["..", ".", "/etc", "noble@/etc/", "noble@**", "noble@../x", "a" * 5000, "a\0"])
def test_an_invalid_name_has_no_log(
    reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("BASEFORGE_HOME", str(tmp_path))
    (tmp_path / "logs/noble").mkdir(parents=True)
    for path in ("setup.log", "logs/any.log", "logs/noble/1.log"):
        (tmp_path / path).write_text("a log")
    with pytest.raises(InputError):
        output.log(open_store(str(tmp_path / "store")), reference)
    assert capsys.readouterr().out == ""


def test_a_store_of_an_earlier_version_does_not_say_what_latest_means(capsys: pytest.CaptureFixture[str]) -> None:
    output.one(record("published"), None, as_json=True)
    assert json.loads(capsys.readouterr().out)["latest"] is None
