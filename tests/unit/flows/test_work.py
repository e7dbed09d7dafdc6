"""Work folders: there while a run lives, gone when it ends, found when it was killed."""

import os
import subprocess
import sys

import pytest

from flows.work import alive, sweep, work_folder
from rootfs.errors import WorkFolderFailed


def test_a_folder_is_gone_when_the_block_ends(tmp_path):
    with work_folder(tmp_path, "r1") as folder:
        (folder / "deep/er").mkdir(parents=True)
        assert folder.stat().st_mode & 0o777 == 0o755
    with pytest.raises(KeyboardInterrupt), work_folder(tmp_path, "r2"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_living_runs_folder_is_not_swept(tmp_path):
    with work_folder(tmp_path, "alive") as folder:
        script = "import sys; from pathlib import Path; from flows.work import sweep; print(sweep([Path(sys.argv[1])]))"
        seen = subprocess.run([sys.executable, "-c", script, tmp_path], check=True, capture_output=True, text=True)
        assert seen.stdout == "{}\n"
        assert folder.is_dir()


def test_a_run_is_alive_while_its_lock_is_held(tmp_path):
    with work_folder(tmp_path, "r"):
        assert alive([tmp_path], "r")
        assert not alive([tmp_path], "another")
    assert not alive([tmp_path], "r")
    (tmp_path / "baseforge-killed.lock").touch()
    assert not alive([tmp_path], "killed")
    assert list(tmp_path.iterdir()) == [tmp_path / "baseforge-killed.lock"]


def test_a_killed_runs_folder_is_swept(tmp_path):
    script = (
        "import os, sys; from pathlib import Path; from flows.work import note_image, work_folder\n"
        "with work_folder(Path(sys.argv[1]), 'dead') as folder:\n"
        "    note_image(folder, 'sha256:1'); note_image(folder, 'sha256:2')\n"
        "    os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path], check=False)
    assert (tmp_path / "baseforge-dead").is_dir()
    assert sweep([tmp_path]) == {"dead": ["sha256:1", "sha256:2"]}
    assert list(tmp_path.iterdir()) == []


def test_other_files_are_left_alone(tmp_path):
    (tmp_path / "baseforge-notes").mkdir()
    assert sweep([tmp_path]) == {}
    assert (tmp_path / "baseforge-notes").is_dir()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkFolderFailed, match="file"), work_folder(tmp_path / "file", "r"):
        os.abort()
