"""The start script on machines that lack something, or whose set-up was interrupted. Needs root."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOT_CLONED = shutil.ignore_patterns(".git", ".venv", "__pycache__", ".*_cache", ".hypothesis", "tests")
STRANGER = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
WITHOUT_RUN = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs /run && exec "$@"', "sh"]


@pytest.fixture(scope="module")
def clone():
    """A clone that is not set up, where everybody may read it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield shutil.copytree(ROOT, Path(folder) / "baseforge", ignore=NOT_CLONED)


@pytest.fixture
def environment(tmp_path):
    """A user's environment without an engine of their choice, and with a home and a cache of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DOCKER_", "BASEFORGE_"))}
    home = {"HOME": str(tmp_path), "BASEFORGE_CACHE": str(tmp_path / "cache"), "BASEFORGE_HOME": str(tmp_path / "home")}
    return {**kept, **home, "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")}


def stub(folder, name, script):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def call(*argv, env, timeout=120):
    return subprocess.run(argv, env=env, text=True, capture_output=True, timeout=timeout, check=False)


def sudo_lines(text):
    return [line for line in text.splitlines() if line.startswith("sudo ")]


def test_without_root_the_set_up_prints_one_command(clone, environment):
    path = stub(clone / "stubs", "dpkg-query", "exit 1")  # nothing is installed
    done = call(*STRANGER, clone / "baseforge", "build", "hello", env={**environment, "PATH": path})
    assert (done.returncode, done.stdout) == (3, "")
    assert "mmdebstrap" in done.stderr
    (line,) = sudo_lines(done.stderr)
    assert line.startswith(f"sudo {clone}/baseforge setup && sudo usermod")


def test_help_asks_for_nothing_of_the_machine(clone, environment, tmp_path):
    done = call(clone / "baseforge", "setup", "--help", env={**environment, "PATH": stub(tmp_path, "perl", "exit 1")})
    assert (done.returncode, done.stdout) == (0, "")
    assert call(clone / "baseforge", "setup", "all", env=environment).returncode == 2


@pytest.mark.parametrize(
    ("choice", "named"),
    [
        ({"DOCKER_HOST": "unix:///nowhere.sock"}, "unix:///nowhere.sock"),
        ({"DOCKER_CONTEXT": "nowhere"}, "context:nowhere"),
    ],
)
def test_an_engine_of_the_users_choice_is_not_replaced(clone, environment, tmp_path, choice, named):
    path = stub(tmp_path / "stubs", "docker", "exit 1")
    done = call(clone / "baseforge", "build", "hello", env={**environment, **choice, "PATH": path})
    assert (done.returncode, done.stdout) == (3, "")
    assert named in done.stderr
    assert not (tmp_path / "home").exists()


def test_an_engine_that_does_not_start_shows_why(clone, environment, tmp_path):
    path = stub(tmp_path / "stubs", "dockerd", "echo failed to mount the moon >&2; exit 1")
    before = time.monotonic()
    done = call(*WITHOUT_RUN, clone / "baseforge", "setup", env={**environment, "PATH": path})
    assert (done.returncode, done.stdout) == (3, "")
    assert "failed to mount the moon" in done.stderr
    assert time.monotonic() - before < 30


def test_an_engine_without_every_capability_gets_a_runtime_that_asks_for_less(clone, environment, tmp_path):
    stub(tmp_path / "stubs", "dpkg-query", 'for name; do printf "installed=%s " "$name"; done')
    path = stub(tmp_path / "stubs", "dockerd", 'echo "$@" >&2; exit 1')
    lacking = ["setpriv", "--bounding-set=-sys_resource"]
    done = call(*WITHOUT_RUN, *lacking, clone / "baseforge", "setup", env={**environment, "PATH": path})
    runtime = tmp_path / "home/engine/runc-available-caps"
    assert f"--add-runtime available-caps={runtime} --default-runtime available-caps" in done.stderr
    assert os.access(runtime, os.X_OK)


def test_folders_that_cannot_be_written(clone, environment):
    done = call(clone / "baseforge", "list", env={**environment, "BASEFORGE_CACHE": "/proc/cache"})
    assert (done.returncode, done.stdout) == (3, "")
    assert "BASEFORGE_CACHE" in done.stderr


@pytest.fixture
def hopeless(environment, tmp_path):
    """An environment in which packages are missing and cannot be installed: the set-up soon ends, with a log."""
    stub(tmp_path / "stubs", "apt-get", "exit 1")
    return {**environment, "PATH": stub(tmp_path / "stubs", "dpkg-query", "exit 1")}


def test_logs_and_locks_of_the_set_up_are_private_and_links_are_not_written_through(clone, hopeless, tmp_path):
    precious = [tmp_path / "one", tmp_path / "two"]
    for file, link in zip(precious, (tmp_path / "home/setup.log", tmp_path / "cache/setup.lock"), strict=True):
        file.write_text("precious")
        link.parent.mkdir(mode=0o755)
        link.symlink_to(file)
    done = call(clone / "baseforge", "setup", "--no-engine", env=hopeless)
    assert done.returncode == 3
    assert "apt-get could not install them" in done.stderr
    assert [file.read_text() for file in precious] == ["precious"] * 2
    private = ("home", "cache", "home/setup.log")
    assert [oct((tmp_path / name).stat().st_mode & 0o077) for name in private] == ["0o0"] * 3


@pytest.mark.parametrize("kind", ["folder", "link"])
def test_folders_of_another_user_are_refused(clone, hopeless, tmp_path, kind):
    home, target = tmp_path / "home", tmp_path / "target"
    target.mkdir()
    home.mkdir(mode=0o777) if kind == "folder" else home.symlink_to(target)
    os.chown(home, 65534, 65534, follow_symlinks=False)
    done = call(clone / "baseforge", "setup", "--no-engine", env=hopeless)
    assert (done.returncode, done.stdout) == (3, "")
    assert f"{home} belongs to another user" in done.stderr
    assert "BASEFORGE_HOME" in done.stderr
    assert list(target.iterdir()) == []


def test_an_interrupted_set_up_is_carried_on_by_two_at_once(clone, environment):
    script = [clone / "baseforge", "list", "--json"]
    with subprocess.Popen(script, env=environment, text=True, stderr=subprocess.PIPE, start_new_session=True) as first:
        assert any("making the Python environment" in line for line in first.stderr)
        time.sleep(0.5)
        os.killpg(first.pid, signal.SIGKILL)
    pair = [subprocess.Popen(script, env=environment, stdout=subprocess.PIPE) for _ in range(2)]
    assert [(one.communicate(timeout=300)[0], one.returncode) for one in pair] == [(b"[]\n", 0)] * 2

    before = time.monotonic()
    again = call(*script, env=environment)
    assert (again.returncode, again.stdout, again.stderr) == (0, "[]\n", "")
    assert time.monotonic() - before < 3


def test_half_a_package_of_a_set_up_that_was_cut_off_is_not_kept(clone, environment):
    (package,) = (clone / ".venv").glob("lib/*/site-packages/pydantic_core")
    shutil.rmtree(package)  # its metadata stay
    (clone / ".venv/baseforge.stamp").unlink()
    done = call(clone / "baseforge", "list", "--json", env=environment, timeout=300)
    assert (done.returncode, done.stdout) == (0, "[]\n")


def test_a_clone_that_was_moved_is_set_up_again(clone, environment):
    moved = clone.rename(clone.with_name("elsewhere"))
    try:
        done = call(moved / "baseforge", "list", "--json", env=environment, timeout=300)
        assert (done.returncode, done.stdout) == (0, "[]\n")
        assert call(moved / ".venv/bin/prefect", "version", env=environment).returncode == 0
    finally:
        moved.rename(clone)


def test_setup_registers_lost_emulation_again(clone, environment):
    path = stub(clone / "emulation", "arch-test", "exit 1")
    without = call(*STRANGER, clone / "baseforge", "setup", "--emulation", env={**environment, "PATH": path})
    assert without.returncode == 3
    assert "emulation of other platforms" in without.stderr
    (line,) = sudo_lines(without.stderr)
    assert line.startswith(f"sudo {clone}/baseforge setup --emulation")
    assert call(clone / "baseforge", "setup", "--emulate", env=environment).returncode == 2
    entry = Path("/proc/sys/fs/binfmt_misc/qemu-aarch64")
    entry.write_text("-1")  # which takes it away
    entry.with_name("status").write_text("0")  # as a test that was killed leaves it
    done = call(clone / "baseforge", "setup", "--no-engine", "--emulation", env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "registering QEMU" in done.stderr
    assert "enabled" in entry.read_text()
    assert entry.with_name("status").read_text() == "enabled\n"
    again = call(clone / "baseforge", "setup", "--no-engine", "--emulation", env=environment)
    assert (again.returncode, "registering" in again.stderr) == (0, False)


PRIVATE_PLUGINS = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs tmpfs /usr/local/lib && exec "$@"', "sh"]
PLUGIN = "/usr/local/lib/docker/cli-plugins/docker-buildx"


@pytest.mark.parametrize("package", ["docker-buildx", ""])
def test_setup_brings_buildx_from_the_distribution_or_builds_it(clone, environment, tmp_path, package):
    """Go is a stub: building the real one takes minutes."""
    calls, there = tmp_path / "calls", tmp_path / "there"
    stub(tmp_path / "stubs", "docker", f"test -e {there} || test -x {PLUGIN}")
    stub(tmp_path / "stubs", "apt-get", f'echo "$@" >>{calls}; case "$*" in *install*buildx) touch {there} ;; esac')
    stub(tmp_path / "stubs", "apt-cache", f'echo "{package}:\n  Candidate: 1"' if package else "exit 0")
    made = (
        'while [ "$1" != -o ]; do shift; done; mkdir -p "$2" && echo "#!/bin/sh" >"$2/buildx" && chmod +x "$2/buildx"'
    )
    path = stub(
        tmp_path / "stubs", "go", f'case "$*" in *GOVERSION) echo go1.26 ;; *" build "*) {made} ;; *) echo a v1 ;; esac'
    )
    script = [*PRIVATE_PLUGINS, clone / "baseforge", "setup", "--no-engine", "--buildx"]
    done = call(*script, env={**environment, "PATH": path}, timeout=300)
    assert done.returncode == 0, done.stderr
    assert ("installing docker-buildx" in done.stderr, "building for docker: buildx" in done.stderr) == (
        bool(package),
        not package,
    )
    assert there.exists() == bool(package)


def test_without_root_buildx_is_in_the_one_command(clone, environment, tmp_path):
    path = stub(tmp_path, "docker", "exit 1")
    done = call(*STRANGER, clone / "baseforge", "setup", "--no-engine", "--buildx", env={**environment, "PATH": path})
    assert done.returncode == 3
    assert "buildx" in done.stderr.partition("run this once")[0]
    (line,) = sudo_lines(done.stderr)
    assert line.startswith(f"sudo {clone}/baseforge setup --buildx")
