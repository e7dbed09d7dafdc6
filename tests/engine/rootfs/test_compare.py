"""Different contents are shown by diffoscope if it is installed, and by Baseforge if diffoscope is too slow."""

import shutil

import pytest

from rootfs.layer.pack import pack
from rootfs.process.run import run
from rootfs.tree import content_diff
from rootfs.tree.compare import compare_layers
from rootfs.tree.member import Member


@pytest.fixture
def compared(tmp_path):
    """What is found between two contents, and what is logged."""

    def compare(old, new):
        for name, content in (("old", old), ("new", new)):
            pack([Member("a").with_content(content)], tmp_path / name)
        logged = []
        found = compare_layers(tmp_path / "old", tmp_path / "new", tmp_path / "work", logged.append)
        return str(next(each for each in found if each.aspect == "content")), logged

    return compare


def program(folder, text):
    """A real program for this machine, that says a text."""
    source = folder / "p.c"
    source.write_text(f'#include <stdio.h>\nint main(void) {{ puts("{text}"); return 0; }}\n')
    run(["gcc", "-O1", "-o", folder / text, source])
    return (folder / text).read_bytes()


def test_a_text(compared):
    said, logged = compared(b"one\ntwo\n", b"one\nTWO\n")
    assert ("-two" in said, "+TWO" in said, logged) == (True, True, [])
    assert "/work/" not in said


def test_a_binary(compared):
    said, logged = compared(b"\0\1" * 40, b"\0\1" * 39 + b"\0\2")
    assert ("0001" in said, "from byte" in said, logged) == (True, False, [])


def test_a_difference_in_a_program_is_shown(compared, tmp_path):
    said, _ = compared(program(tmp_path, "hello"), program(tmp_path, "hullo"))
    assert "+hullo" in said or "readelf" in said
    assert len(said.splitlines()) <= content_diff.LINES + 2


def test_a_timeout_is_reported_by_baseforge(compared, monkeypatch):
    monkeypatch.setattr(content_diff, "PATIENCE", 0.05)
    said, logged = compared(b"\0\1", b"\0\2")
    assert said == "a: content\n    from byte 1 on: was 01, is 02"
    assert "diffoscope" in logged[0]


def test_the_machine_has_diffoscope():
    assert shutil.which("diffoscope"), "tests/run installs it"
