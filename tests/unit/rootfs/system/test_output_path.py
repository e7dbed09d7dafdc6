"""Output paths: only regular files are replaced."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.cli.main import main
from rootfs.errors import InputError
from rootfs.system.output_path import check_output_path


def _bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


MAKE: dict[str, Callable[[Path], object]] = {
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a link": lambda path: path.symlink_to("elsewhere"),
    "a socket": _bind,
}


def test_a_new_file_and_a_regular_one_may_be_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_output_path(tmp_path / "new.tar")
    check_output_path(Path("new.tar"))
    (tmp_path / "old.tar").touch()
    check_output_path(tmp_path / "old.tar")


@pytest.mark.parametrize("kind", MAKE)
def test_only_regular_files_are_replaced(tmp_path, kind):
    MAKE[kind](tmp_path / "x.tar")
    with pytest.raises(InputError, match=kind) as failed:
        check_output_path(tmp_path / "x.tar")
    assert failed.value.status == 2


@pytest.mark.parametrize("path", ["/dev/full", "/dev/null", "/dev/stdout", "/dev/fd/1", "-", "/proc/self/fd/1"])
def test_devices_and_standard_output_are_not_replaced(path):
    with pytest.raises(InputError, match=r"device|link|standard output"):
        check_output_path(Path(path))


def test_the_folder_must_be_there(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="No such file or directory"):
        check_output_path(tmp_path / "no/x.tar")
    with pytest.raises(InputError, match=r"[Nn]ot a (folder|directory)"):
        check_output_path(tmp_path / "file/x.tar")


@pytest.mark.parametrize("words", [["lock", "nothing", "--write"], ["export", "nothing"]])
def test_commands_refuse_it_before_they_do_anything(tmp_path, words, capsys, monkeypatch):
    monkeypatch.setattr("flows.runtime.signals.handle_interrupts", lambda: None)
    monkeypatch.setattr("flows.runtime.signals.ignore_interrupts", lambda: None)
    os.mkfifo(tmp_path / "x.tar")
    with pytest.raises(SystemExit) as ended:
        main([*words, str(tmp_path / "x.tar")])
    assert ended.value.code == 2
    assert "it is a pipe" in capsys.readouterr().err
    assert (tmp_path / "x.tar").is_fifo()
