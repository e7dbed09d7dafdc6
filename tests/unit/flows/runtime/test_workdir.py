"""Work folders exist while a run lives, are removed at its end or after a kill, and are never another user's."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.runtime import workdir
from flows.runtime.workdir import (
    has_room,
    is_running,
    own_folder,
    remove_dead_folders,
    size_of_work,
    tree_folder,
    work_folder,
)
from rootfs.bootstrap.bootstrapper import remove_tree
from rootfs.errors import MachineError
from rootfs.lock.lock import Lock, Package
from rootfs.system.errors import FormatNewer

NAME = f"baseforge-{os.geteuid()}"
NOBODY = 65534
KILLED = """
import os
from flows.runtime.workdir import note_image, work_folder
os.environ.update(environment)
with work_folder(parent, "dead") as folder:
    note_image(folder, "sha256:1"); note_image(folder, "sha256:2")
    os.kill(os.getpid(), 9)
"""
PROCESSES = multiprocessing.get_context("forkserver")  # quicker than a new interpreter for each
PROCESSES.set_forkserver_preload(["flows.runtime.workdir"])
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BASEFORGE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[Path]:
    """A folder that all users share."""
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o1777)
    yield folder
    for path in folder.glob("baseforge-*"):
        assert path.is_symlink() or not path.is_dir() or os.geteuid() != path.stat().st_uid or not list(path.iterdir())


def killed(parent: Path) -> Path:
    """The folder that a killed run has left."""
    process = PROCESSES.Process(target=exec, args=(KILLED, {"parent": parent, "environment": dict(os.environ)}))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    return own_folder(parent) / "dead"


def test_a_folder_is_private_and_gone_when_the_block_ends(parent):
    with work_folder(parent, "r1") as folder:
        (folder / "deep/er").mkdir(parents=True)
        assert folder == parent / NAME / "r1"
        assert [path.stat().st_mode & 0o777 for path in (folder, folder.parent)] == [0o700, 0o700]
        assert (folder.parent / "r1.lock").stat().st_mode & 0o777 == 0o600
    with pytest.raises(KeyboardInterrupt), work_folder(parent, "r2"):
        raise KeyboardInterrupt
    assert [path.name for path in parent.rglob("*")] == [NAME]


def test_the_folder_of_a_running_build_is_kept(parent):
    with work_folder(parent, "alive") as folder:
        script = "import sys, pathlib; from flows.runtime import workdir; "
        script += "print(workdir.remove_dead_folders([pathlib.Path(sys.argv[1])]))"
        seen = subprocess.run([sys.executable, "-c", script, parent], check=True, capture_output=True, text=True)
        assert seen.stdout == "{}\n"
        assert folder.is_dir()


def test_a_run_is_alive_while_its_lock_is_held(parent):
    with work_folder(parent, "r"):
        assert is_running([parent], "r")
        assert not is_running([parent], "another")
    assert not is_running([parent], "r")
    lock = own_folder(parent) / "killed.lock"
    lock.touch()
    assert not is_running([parent], "killed")
    assert lock.exists()
    assert remove_dead_folders([parent]) == {}, "a lock alone is no run that has left anything"
    assert not lock.exists()


def test_the_folder_of_a_killed_run_is_removed(parent):
    assert killed(parent).is_dir()
    assert remove_dead_folders([parent]) == {"dead": ["sha256:1", "sha256:2"]}


def test_deeply_nested_folders_are_removed(parent):
    script = "import os, sys\nos.chdir(sys.argv[1])\nfor each in range(2100): os.mkdir('d'); os.chdir('d')"
    subprocess.run([sys.executable, "-c", script, killed(parent)], check=True)
    assert remove_dead_folders([parent]) == {"dead": ["sha256:1", "sha256:2"]}
    assert [path.name for path in parent.rglob("*")] == [NAME]


def test_a_folder_that_cannot_be_removed_is_reported_and_the_others_are_removed(parent, monkeypatch, capsys):
    left = killed(parent)
    other = left.with_name("other")
    other.mkdir()
    monkeypatch.setattr("flows.runtime.workdir.remove_tree", lambda path: None if path == left else remove_tree(path))
    assert set(remove_dead_folders([parent])) == {"dead", "other"}
    assert not other.exists()
    assert f"the work folder {left} cannot be removed whole" in capsys.readouterr().err
    remove_tree(left)


def test_a_run_with_two_folders_is_alive_while_one_of_them_is_held(parent, tmp_path):
    (memory := tmp_path / "memory").mkdir()
    killed(memory)
    with work_folder(parent, "dead") as folder:
        assert remove_dead_folders([parent, memory]) == {}
        assert folder.is_dir()
    assert remove_dead_folders([parent, memory]) == {"dead": ["sha256:1", "sha256:2"]}


def test_files_of_other_users_end_no_process(parent, tmp_path):
    """As an earlier layout had it: a lock and a note beside the folders of all users."""
    with work_folder(tmp_path, "living"):
        (parent / "baseforge-living.lock").touch()
        (parent / "baseforge-living").mkdir()
        (parent / "baseforge-living/images").write_text("sha256:theirs\n")
        assert remove_dead_folders([parent]) == {}
    assert (parent / "baseforge-living/images").exists()
    (parent / "baseforge-living/images").unlink()


@as_root
def test_notes_and_locks_of_another_user_are_ignored(parent):
    folder = own_folder(parent)
    (folder / "theirs").mkdir()
    (folder / "theirs.lock").touch()
    for path in (folder / "theirs", folder / "theirs.lock"):
        os.chown(path, NOBODY, NOBODY)
    left = killed(parent)
    os.chown(left / "images", NOBODY, NOBODY)
    assert remove_dead_folders([parent]) == {"dead": []}
    (folder / "theirs").rmdir()
    (folder / "theirs.lock").unlink()


def test_a_link_in_place_of_a_lock_or_a_note_is_not_followed(parent, tmp_path):
    (target := tmp_path / "target").write_text("precious")
    (own_folder(parent) / "r.lock").symlink_to(target)
    with pytest.raises(MachineError, match="no work folder can be made in"), work_folder(parent, "r"):
        os.abort()
    (own_folder(parent) / "r.lock").unlink()
    left = killed(parent)
    (left / "images").unlink()
    (left / "images").symlink_to(target)
    assert remove_dead_folders([parent]) == {"dead": []}
    assert target.read_text() == "precious"


@as_root
@pytest.mark.parametrize("kind", ["folder", "private folder", "link", "link to ours", "dangling link", "file"])
def test_a_folder_of_another_user_with_our_name_stops_no_build(parent, tmp_path, kind):
    place = parent / NAME
    target = tmp_path / "target"
    if "folder" in kind:
        place.mkdir(0o700 if "private" in kind else 0o777)
    elif "link" in kind:
        if kind != "dangling link":
            target.mkdir(0o700)
        place.symlink_to(target)
    else:
        place.touch()
    os.chown(place, NOBODY, NOBODY, follow_symlinks=False)
    before = place.lstat()
    with work_folder(parent, "r") as folder:
        assert folder.parent not in (place, target)
        assert folder.parent.parent == parent
        assert folder.parent.stat().st_mode & 0o777 == 0o700
        assert is_running([parent], "r")
    with work_folder(parent, "again") as another:
        assert another.parent == folder.parent, "it is remembered"
    assert killed(parent).is_dir()
    assert remove_dead_folders([parent]) == {"dead": ["sha256:1", "sha256:2"]}
    assert (before.st_mtime_ns, before.st_mode) == (place.lstat().st_mtime_ns, place.lstat().st_mode)
    assert not target.exists() or not list(target.iterdir())


@as_root
def test_a_remembered_folder_that_now_belongs_to_another_user_is_not_used(parent):
    (parent / NAME).touch()
    first = own_folder(parent)
    os.chown(first, NOBODY, NOBODY)
    assert own_folder(parent) not in (first, parent / NAME)


@as_root
def test_an_ordinary_user_does_not_touch_root_s_folders(tmp_path_factory, monkeypatch):
    shared = tmp_path_factory.mktemp("shared")
    for folder in shared.parents:  # one more where tests run side by side
        if folder.owner() == "root" and folder.name.startswith(("pytest-", "popen-")):
            folder.chmod(0o711)
    shared.chmod(0o1777)
    monkeypatch.setenv("BASEFORGE_HOME", str(shared / "home"))
    killed(shared)
    theirs = shared / f"baseforge-{NOBODY}"
    theirs.mkdir()  # root's, with the name of the user's
    (theirs / "dead").mkdir()
    monkeypatch.setenv("BASEFORGE_HOME", str(shared / "another"))

    def act() -> None:
        assert remove_dead_folders([shared]) == {}
        with work_folder(shared, "r") as folder:
            assert folder.parent.stat().st_uid == NOBODY
            assert folder.parent.stat().st_mode & 0o777 == 0o700
            assert remove_dead_folders([shared]) == {}

    assert as_nobody(act) == 0
    assert (theirs / "dead").is_dir()
    assert (shared / NAME / "dead").is_dir()
    monkeypatch.setenv("BASEFORGE_HOME", str(shared / "home"))
    assert remove_dead_folders([shared]) == {"dead": ["sha256:1", "sha256:2"]}


def as_nobody(act: Callable[[], None]) -> int:
    """Do it as another user, in a process of its own; how that ended."""
    if (child := os.fork()) == 0:
        status = 1
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            act()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_rights_that_others_had_are_taken_away(parent):
    (parent / NAME).mkdir(0o755)
    assert own_folder(parent).stat().st_mode & 0o777 == 0o700


def test_other_files_are_left_alone(parent):
    (parent / "baseforge-notes").mkdir()
    assert remove_dead_folders([parent]) == {}
    assert (parent / "baseforge-notes").is_dir()


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="file"), work_folder(tmp_path / "file", "r"):
        os.abort()


def test_a_place_that_is_not_there_is_not_made(tmp_path):
    with pytest.raises(MachineError, match=r"no such folder\n.*BASEFORGE_WORK"), work_folder(tmp_path / "no", "r"):
        os.abort()
    assert not (tmp_path / "no").exists()


def test_a_place_where_others_can_rename_our_folder_is_refused(parent):
    parent.chmod(0o777)
    with pytest.raises(MachineError, match="BASEFORGE_WORK"), work_folder(parent, "r"):
        os.abort()


@as_root
def test_notes_without_a_format_are_read(parent, home):
    """As earlier versions wrote them: the path of a folder, and the ids of images, a line each."""
    (parent / NAME).touch()
    first = own_folder(parent)
    [note] = [path for path in (home / "work").iterdir() if path.suffix != ".lock"]
    assert json.loads(note.read_text()) == {"format": 1, "folder": str(first)}
    note.write_text(str(first))
    assert own_folder(parent) == first
    left = killed(parent)
    (left / "images").write_text("sha256:1\nsha256:2\n")
    assert remove_dead_folders([parent]) == {"dead": ["sha256:1", "sha256:2"]}


@as_root
def test_newer_notes_are_refused_and_their_folders_stay(parent, home):
    left = killed(parent)
    noted = (left / "images").read_text()
    (left / "images").write_text('{"format": 2, "images": {}}\n')
    with pytest.raises(FormatNewer, match=f"{left}/images.*images cannot be read: it has format 2"):
        remove_dead_folders([parent])
    (left / "images").write_text(noted + '{"format": 1, "ima')  # cut off
    assert remove_dead_folders([parent]) == {"dead": ["sha256:1", "sha256:2"]}
    own_folder(parent).rmdir()
    (parent / NAME).touch()
    own_folder(parent).rmdir()
    [note] = [path for path in (home / "work").iterdir() if path.suffix != ".lock"]
    note.write_text('{"format": 2}')
    with pytest.raises(FormatNewer, match="update this one"):
        own_folder(parent)


TMPFS = Path("/dev/shm")


def package(size: int) -> Package:
    said = dict.fromkeys(("name", "version", "architecture", "source", "archive", "suite", "path"), "a")
    return Package(size=size, sha256="0" * 64, **said)


def test_the_needed_memory_is_a_multiple_of_the_packages():
    assert size_of_work(Lock(packages=(package(10), package(20)))) == 30 * workdir.UNPACKED
    assert size_of_work(Lock()) == 0


def test_trees_are_made_in_memory_with_at_most_half_of_what_is_free_there():
    free = os.statvfs(TMPFS)
    half = free.f_bavail * free.f_frsize // 2
    assert has_room(TMPFS, 1)
    assert not has_room(TMPFS, half + (1 << 30))


def test_at_most_half_of_a_container_s_limit_is_used(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(workdir, "LIMITS", [limit])
    limit.write_text("2000\n")
    assert has_room(TMPFS, 1000)
    assert not has_room(TMPFS, 1001)
    limit.write_text("max\n")
    assert has_room(TMPFS, 1001)


@pytest.mark.parametrize("place", [None, Path("/proc"), Path("/nowhere")])
def test_a_folder_that_is_no_tmpfs_is_not_used(place):
    assert not has_room(place, 1)


def test_the_folder_is_in_memory_where_there_is_room_and_gone_after_the_block(tmp_path):
    with tree_folder(TMPFS, 10, tmp_path, "test-memory") as place:
        assert place.parent.parent == TMPFS
    assert not place.exists()
    with tree_folder(None, 10, tmp_path, "test-memory") as place:
        assert place == tmp_path


def test_an_image_without_a_tree_needs_no_memory():
    assert not has_room(TMPFS, 0)
