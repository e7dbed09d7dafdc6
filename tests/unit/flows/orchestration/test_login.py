"""The login of the local server."""

import stat
import threading

import pytest

from flows.orchestration import login
from rootfs.errors import MachineError


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_login_is_made_once(tmp_path):
    found = []
    threads = [threading.Thread(target=lambda: found.append(login.read(tmp_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({*found}) == 1
    user, _, password = found[0].partition(":")
    assert (user, len(password) >= 40) == ("baseforge", True)
    [file] = tmp_path.iterdir()
    assert mode(file) == 0o600


def test_a_login_that_others_could_have_read_or_written_is_refused(tmp_path, monkeypatch):
    login.read(tmp_path)
    file = tmp_path / login.FILE
    file.chmod(0o640)
    with pytest.raises(MachineError, match="private file"):
        login.read(tmp_path)
    file.rename(tmp_path / "moved")
    file.symlink_to("moved")
    with pytest.raises(MachineError, match="this is not a private file:"):
        login.read(tmp_path)
    file.unlink()
    (tmp_path / "moved").rename(file)
    file.chmod(0o600)
    monkeypatch.setattr(login.os, "geteuid", lambda: 4711)
    with pytest.raises(MachineError, match="this is not a private file:"):
        login.read(tmp_path)


def test_a_new_login_takes_the_place_of_the_old_one(tmp_path):
    old = login.read(tmp_path)
    assert login.renewed(tmp_path) != old
    assert login.read(tmp_path) != old
    (tmp_path / login.FILE).chmod(0o640)
    with pytest.raises(MachineError, match="this is not a private file:"):
        login.renewed(tmp_path)
