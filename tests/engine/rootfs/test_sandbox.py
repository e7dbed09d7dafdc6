"""Commands of recipes and scripts in trees cannot leave their sandbox, and can do their usual work.

Each way out is tried by a script, as root's and as an ordinary user's: see `ways_out.sh`.
"""

from __future__ import annotations

import contextlib
import os
import platform
import pwd
import shlex
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from flows.store.open import open_store
from rootfs.apt.resolve import Apt
from rootfs.apt.sources import Site as Archives
from rootfs.bootstrap.bootstrapper import remove_tree
from rootfs.errors import BaseforgeError, BuildError
from rootfs.lock.lock import Lock
from rootfs.packages import pool
from rootfs.process.cgroup import CONTROLLERS, PREFIX, parent_of
from rootfs.process.errors import LimitReached, ProgramTimedOut
from rootfs.process.host import native_architecture
from rootfs.process.sandbox import Limits
from tests.engine.rootfs.trees import Site, as_nobody, recipe_of

WAYS_OUT = Path(__file__).with_name("ways_out.sh")
INCLUDED = ["adduser", "libcap2-bin", "locales"]
OF_DPKG = "00000000800000fb"  # capabilities(7): chown to setuid but dac_read_search, and setfcap
SYSTEM_CALLS = {"x86_64": (250, 313), "aarch64": (219, 273)}  # keyctl, finit_module
NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "uts")

# What maintainer scripts and scripts of recipes usually do, with the tree's own programs.
USUAL = r"""#!/bin/bash
set -euxo pipefail
adduser --system --group --home /var/lib/served --shell /bin/sh served
useradd --create-home worker
echo worker:secret | chpasswd
chown served:worker /etc/motd 2>/dev/null || { echo x >/etc/motd; chown served:worker /etc/motd; }
install -d -o served -g worker -m 2750 /srv/served
install -o worker -m 4755 /bin/true /usr/local/bin/raised
setcap cap_net_bind_service=+ep /usr/local/bin/raised
getcap /usr/local/bin/raised | grep cap_net_bind_service
update-alternatives --install /usr/bin/chosen chosen /bin/true 10
ldconfig
locale-gen --keep-existing || true
echo "de_DE.UTF-8 UTF-8" >/etc/locale.gen && locale-gen
localedef -i en_US -f UTF-8 en_US.UTF-8
su -s /bin/sh -c 'test "$(id -un)" = served && touch "$HOME/mine"' served
runuser -u worker -- sh -c 'touch /home/worker/mine'
setpriv --reuid=worker --regid=worker --clear-groups true
test "$(stat -c %U /var/lib/served/mine /home/worker/mine | xargs)" = "served worker"
made=$(mktemp -d) && touch "$made/x" && rm -r "$made"
echo x >/dev/null; head -c 8 /dev/urandom >/dev/null; : >/dev/full && true; test -c /dev/tty
diff <(echo same) <(echo same)
for each in 1 2 3 4; do (sleep 0.01; :) & done; wait
mkfifo /run/pipe; (echo through >/run/pipe) & read -r word </run/pipe; test "$word" = through
sleep 300 & kill $!
su -s /bin/sh -c 'sleep 300 & echo $! >/tmp/pid' worker & sleep 0.2; kill "$(cat /tmp/pid)"
test "$(dpkg-query -W -f '${Status}' adduser)" = "install ok installed"
python=$(perl -e 'print "perl"') && test "$python" = perl
touch -h -d @1 /etc/motd; ln -s motd /etc/motd.link; chown -h served /etc/motd.link
: done
"""


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A site in memory that every user can read, with the newest lock of a small tree and some packages more."""
    folder = Path(tempfile.mkdtemp(prefix="baseforge-sandbox-", dir="/dev/shm"))
    folder.chmod(0o755)
    for name in ("debs", "files"):
        (folder / name).mkdir()
    recipe, store = recipe_of(include=INCLUDED), open_store(str(folder / "store"))
    lock = Apt(folder / "apt", Archives(), log=print).lock(recipe, folder / "files", native_architecture())
    pool.fill_pool(lock.packages, store, str, offline=False, log=print, folder=folder / "partial")
    assert pool.write_debs(lock.packages, store, folder / "debs") == {}
    try:
        yield Site(folder, lock)
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder that every user can read, outside of the sandbox's /tmp and beside no secret."""
    folder = Path(tempfile.mkdtemp(prefix="baseforge-sandbox-", dir="/dev/shm"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def scratch(place: Path) -> Site:
    """A site for recipes without packages."""
    for name in ("debs", "files"):
        (place / name).mkdir()
    return Site(place, Lock())


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Things of this machine that nothing in a sandbox may reach, by the names that `ways_out.sh` has for them."""
    mark = f"canary-{uuid4().hex[:12]}"
    canary, store = tmp_path / "canary", tmp_path / "store"
    canary.write_text("secret")
    store.mkdir()
    for folder in (tmp_path, *tmp_path.parents[:2], store):
        folder.chmod(0o777 if folder == store else 0o755)
    disk, shared = Path("/").stat().st_dev, Path("/dev/shm", mark)
    shared.write_text("secret")
    keyctl, finit_module = SYSTEM_CALLS[platform.machine()]
    made = subprocess.run(["ipcmk", "--shmem", "64", "--mode", "0666"], capture_output=True, text=True, check=True)
    segment = made.stdout.split()[-1]
    with (
        subprocess.Popen(["sh", "-c", "read word", f"{mark}-process"], stdin=subprocess.PIPE) as process,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_UNIX) as named,
    ):
        abstract.bind(f"\0{mark}")
        abstract.listen()
        named.bind(str(tmp_path / "socket"))
        named.listen()
        (tmp_path / "socket").chmod(0o666)
        try:
            yield {
                "MARK": mark,
                "CANARY": str(canary),
                "STORE": str(store),
                "SHARED": str(shared),
                "SOCKET": str(tmp_path / "socket"),
                "SEGMENT": segment,
                "DISK": f"{os.major(disk)} {os.minor(disk)}",
                "PROCESS": str(process.pid),
                "PORT": str(server.getsockname()[1]),
                "KEYCTL": str(keyctl),
                "FINIT_MODULE": str(finit_module),
                **{f"NS_{name}": str(Path(f"/proc/self/ns/{name}").readlink()) for name in NAMESPACES},
            }
            assert process.poll() is None
            assert canary.read_text() == "secret"
            assert list(store.iterdir()) == []
        finally:
            process.kill()
            shared.unlink()
            subprocess.run(["ipcrm", "--shmem-id", segment], check=True)


def values(machine: dict[str, str], capabilities: str) -> str:
    return "".join(f"{name}={shlex.quote(text)}\n" for name, text in {**machine, "CAPABILITIES": capabilities}.items())


def checked(log: list[str]) -> None:
    """Every way was tried, and none is open."""
    said = [line for line in log if line.startswith(("open: ", "shut: "))]
    script = WAYS_OUT.read_text()
    wanted = script.count("\nway ") + script.count("\nshell ") + len(NAMESPACES)
    assert len(said) == wanted, "\n".join(log[-40:])
    assert [line for line in said if line.startswith("open: ")] == []


def made(site: Site, place: Path, user: str, **said: Any) -> list[str]:
    """Make a tree as root or as an ordinary user; what its programs printed."""
    if user == "root":
        site.log.clear()
        with site.tree(place / "work", **said) as members:
            for _ in members:
                pass
        return site.log
    return list(as_nobody(site, place / "theirs", **said)["log"])


@pytest.mark.parametrize("user", ["root", "ordinary"])
def test_a_build_command_cannot_leave_the_sandbox(scratch: Site, machine: dict[str, str], user: str) -> None:
    shutil.copy(WAYS_OUT, scratch.files / "ways_out.sh")
    (scratch.files / "values").write_text(values(machine, "0000000000000000"))
    files = [{"path": "/x", "content": "x"}]
    checked(made(scratch, scratch.folder, user, kind="scratch", build=[["sh", "ways_out.sh"]], files=files))


@pytest.mark.parametrize("user", ["root", "ordinary"])
def test_a_build_command_can_read_its_files(scratch: Site, user: str) -> None:
    certificates = "/etc/ssl/certs/ca-certificates.crt"
    hidden = ["find", "/etc", "-maxdepth", "3", "!", "-readable", "!", "-path", "*/private*"]
    build = [["cp", certificates, "."], hidden]
    files = [{"path": "/x", "from": "ca-certificates.crt"}]
    assert made(scratch, scratch.folder, user, kind="scratch", build=build, files=files) == []


@pytest.mark.parametrize("user", ["root", "ordinary"])
def test_a_script_cannot_leave_the_tree_and_can_do_usual_work(
    site: Site, place: Path, machine: dict[str, str], user: str
) -> None:
    shutil.copy(WAYS_OUT, site.files / "ways_out.sh")
    (site.files / "usual").write_text(USUAL)
    (site.files / "values").write_text(values(machine, OF_DPKG))
    files = [{"path": "/values", "from": "values"}]
    log = made(site, place, user, customise=["usual", "ways_out.sh"], files=files)
    assert "+ : done" in log
    checked(log)


def test_the_target_of_a_build_command_s_link_is_not_in_the_image(scratch: Site, machine: dict[str, str]) -> None:
    build, files = [["ln", "-s", machine["CANARY"], "made"]], [{"path": "/x", "from": "made"}]
    with pytest.raises(BuildError, match="did not make 'made'"):
        made(scratch, scratch.folder, "root", kind="scratch", build=build, files=files)


def test_links_that_a_script_makes_lead_to_no_file_of_the_machine(site: Site, place: Path, tmp_path: Path) -> None:
    """What makes the tree removes apt's settings: it must not follow a link to the machine's."""
    kept = tmp_path / "etc/apt/sources.list"
    kept.parent.mkdir(parents=True)
    kept.touch()
    (site.files / "link").write_text(f"#!/bin/sh\nset -e\nmv /etc /etc.old\nln -s {tmp_path}/etc /etc\n")
    with pytest.raises(BaseforgeError):
        made(site, place, "root", customise=["link"], package_manager="remove")
    assert kept.exists()


PROCESSES, MEMORY = 200, 256 << 20
FORK_BOMB = "b() { b | b & }; b; sleep 600"
MEMORY_HOG = "perl -e 'push @x, \"x\" x 1e7 while 1'"
PATIENT_HOG = "for i in $(seq 60); do perl -e '$x = \"x\" x 5e7; sleep 600' & done; wait"  # no process alone is large


@pytest.mark.parametrize(
    ("bomb", "wanted", "setting"),
    [
        (FORK_BOMB, "limit of 200 processes", "sandbox_processes"),
        (MEMORY_HOG, "limit of 256 MiB of memory", "sandbox_memory"),
        (PATIENT_HOG, "limit of 256 MiB of memory", "sandbox_memory"),
        ("head -c 1G /dev/zero >/tmp/large; sleep 600", "limit of 256 MiB of memory", "sandbox_memory"),
    ],
)
def test_a_build_command_that_exceeds_a_limit_is_ended_with_a_clear_error(
    scratch: Site, bomb: str, wanted: str, setting: str
) -> None:
    began = time.monotonic()
    with pytest.raises(LimitReached, match=wanted) as caught:
        limited(scratch, Limits(MEMORY, PROCESSES, 120), kind="scratch", build=[["bash", "-c", bomb]], files=FILES)
    assert setting in str(caught.value)
    assert f"BASEFORGE_{setting.upper()}" in str(caught.value)
    assert time.monotonic() - began < 60
    assert not groups()


def test_a_build_command_that_takes_too_long_is_ended_with_a_clear_error(scratch: Site) -> None:
    build = [["sh", "-c", "sleep 600 & sleep 600"]]
    with pytest.raises(ProgramTimedOut, match="within 1 s") as caught:
        limited(scratch, Limits(MEMORY, PROCESSES, 1), kind="scratch", build=build, files=FILES)
    assert "sandbox_seconds" in str(caught.value)
    assert not groups()


@pytest.mark.parametrize(
    ("bomb", "wanted"), [(FORK_BOMB, "limit of 400 processes"), (MEMORY_HOG, "limit of 1024 MiB of memory")]
)
def test_a_script_that_exceeds_a_limit_is_ended_with_a_clear_error(site: Site, bomb: str, wanted: str) -> None:
    """The tree is in memory, which counts."""
    (site.files / "bomb").write_text(f"#!/bin/bash\n{bomb}\n")
    with pytest.raises(LimitReached, match=wanted) as caught:
        limited(site, Limits(1 << 30, 400, 300), customise=["bomb"])
    assert str(caught.value).startswith("customise: bomb: a program of the tree reached the ")
    assert not groups()


@pytest.mark.parametrize(
    ("program", "wanted", "setting"),
    [
        ("fork or die $! while 1", "limit of 200 processes", "sandbox_processes"),
        ('push @x, "x" x 1e7 while 1', "limit of 256 MiB of memory", "sandbox_memory"),
    ],
)
def test_limits_hold_where_no_control_group_can_be_made(
    scratch: Site, monkeypatch: pytest.MonkeyPatch, program: str, wanted: str, setting: str
) -> None:
    monkeypatch.setattr("rootfs.process.cgroup.CONTROLLERS", ("none",))
    build = [["perl", "-e", program]]
    with pytest.raises(LimitReached, match=wanted) as caught:
        limited(scratch, Limits(MEMORY, PROCESSES, 120), kind="scratch", build=build, files=FILES)
    assert setting in str(caught.value)


@pytest.mark.parametrize("command", [["fallocate", "-l", "3G", "out"], ["truncate", "-s", "8T", "out"]])
def test_a_build_command_that_makes_a_file_too_large_is_ended_with_a_clear_error(
    scratch: Site, command: list[str]
) -> None:
    with pytest.raises(LimitReached, match="limit of 64 MiB in a file") as caught:
        limited(scratch, Limits(MEMORY, PROCESSES, 60, 64 << 20), kind="scratch", build=[command], files=FILES)
    assert "BASEFORGE_SANDBOX_DISK" in str(caught.value)


def test_a_build_command_of_root_has_an_id_that_no_other_process_has(scratch: Site) -> None:
    """A process of the same user could write to the command's folder by /proc/PID/cwd."""
    (scratch.files / "who").write_text("id -un\ntouch out\nuntil [ -e seen ]; do sleep 0.1; done\n")
    seen: list[int] = []

    def look() -> None:
        until = time.monotonic() + 30
        while not seen and time.monotonic() < until:
            time.sleep(0.1)
            for entry in Path("/proc").iterdir():
                with contextlib.suppress(OSError):
                    if entry.name.isdigit() and (entry / "cmdline").read_bytes().split(b"\0")[:2] == [b"sh", b"who"]:
                        seen.append(entry.stat().st_uid)
        (scratch.folder / "work/build/seen").touch()

    looking = threading.Thread(target=look)
    looking.start()
    log = made(scratch, scratch.folder, "root", kind="scratch", build=[["sh", "who"]], files=FILES)
    looking.join()
    assert log == ["nobody"]
    owner = (scratch.folder / "work/build/out").stat().st_uid
    assert seen == [owner] * len(seen) != []
    assert owner not in {each.pw_uid for each in pwd.getpwall()}


def test_a_build_command_that_makes_very_many_folders_in_each_other_leaves_nothing(scratch: Site) -> None:
    script = "import os\nfor each in range(3000): os.mkdir('d'); os.chdir('d')"
    limited(scratch, Limits(), kind="scratch", build=[["python3", "-c", script]], files=FILES)
    remove_tree(scratch.folder)
    assert not scratch.folder.exists()
    scratch.folder.mkdir()


def test_a_link_of_a_build_command_to_itself_is_a_clear_error(scratch: Site) -> None:
    files = [{"path": "/x", "from": "out"}]
    with pytest.raises(BuildError, match="did not make 'out'"):
        made(scratch, scratch.folder, "root", kind="scratch", build=[["ln", "-s", "out", "out"]], files=files)


FILES = [{"path": "/x", "content": "x"}]


def limited(site: Site, limits: Limits, **said: Any) -> None:
    """Make a tree with these limits, in a folder of its own."""
    folder = Path(tempfile.mkdtemp(dir=site.folder))
    folder.chmod(0o755)
    with site.tree(folder / "work", limits=limits, **said) as members:
        for _ in members:
            pass


def groups() -> list[Path]:
    """Control groups of this process's sandboxes that are left."""
    return [
        each for name in CONTROLLERS if (parent := parent_of(name)) for each in parent.glob(f"{PREFIX}{os.getpid()}-*")
    ]
