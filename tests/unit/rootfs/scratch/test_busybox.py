"""busybox's programs in scratch images: the names come from the program itself, which may be for another machine."""

from __future__ import annotations

import pytest

from rootfs.errors import BuildError
from rootfs.scratch.busybox import program_names
from tests.support.debian import Deb

PROGRAM = "\x7fELF\0text ls\0[[\0\1[\0[[\0ash\0ls\0sh\0vi\0\0usage\0"
BUSYBOX = Deb("busybox-static", files={"bin/busybox": PROGRAM, "usr/share/doc/busybox-static/copyright": "free"})
NAMES = ["[", "[[", "ash", "ls", "sh", "vi"]


def test_each_program_is_a_link_to_busybox(make):
    made = make("suite: trixie\ningredients: [busybox]\nfiles: [{path: /bin/vi, content: own}]\n", BUSYBOX)
    assert made.contents["usr/bin/busybox"] == PROGRAM.encode()
    links = {path: target for path, target in made.links.items() if path.startswith("usr/bin/")}
    assert links == {f"usr/bin/{name}": "busybox" for name in NAMES if name != "vi"}
    assert made.contents["usr/bin/vi"] == b"own"
    assert "usr/share/doc/busybox-static/copyright" in made.files


def test_images_for_debugging_have_a_folder_that_can_be_copied_as_a_whole(make):
    made = make("suite: trixie\ningredients: [debug-shell]\n", BUSYBOX)
    assert made.contents["busybox/busybox"] == PROGRAM.encode()
    assert {path: target for path, target in made.links.items() if path.startswith("busybox/")} == {
        f"busybox/{name}": "busybox" for name in NAMES
    }
    assert not any(path.startswith("usr/bin") for path in made.files)


@pytest.mark.parametrize("program", [b"", b"[\0[[\0", b"[\0[[\0ls\0ash\0sh\0", b"[\0[[\0sh"])
def test_a_program_without_the_names_is_an_error(program):
    with pytest.raises(BuildError, match="no table of programs"):
        program_names(program)


def test_the_table_ends_where_the_names_are_no_longer_sorted():
    assert program_names(b"x[\0[[\0ls\0sh\0applet\0") == ["[", "[[", "ls", "sh"]
