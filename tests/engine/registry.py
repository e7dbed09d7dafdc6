"""A real registry on a free loopback port, for one test or a whole session."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

USER, PASSWORD = "pusher", "correct horse"
# The registry takes bcrypt alone: `htpasswd -nbB pusher 'correct horse'`.
HTPASSWD = "pusher:$2b$05$5nwu1W0161WfUMyzF/8XsuOOp1m7V7IHU4u8MPsGq/Nv7s.oyeJIC\n"


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def registry(folder: Path, *, login: bool = False) -> Iterator[str]:
    """The HOST:PORT of a registry that keeps its data below `folder`; with `login` only USER may come in."""
    program = shutil.which("docker-registry")
    assert program, "docker-registry is not installed: apt-get install docker-registry"
    folder.mkdir(parents=True, exist_ok=True)
    address = f"127.0.0.1:{free_port()}"
    config = folder / "config.json"
    config.write_text(json.dumps(_config(folder, address, login)))
    with (folder / "registry.log").open("wb") as log, _running([program, "serve", str(config)], log) as process:
        _await(address, process)
        yield address


def _config(folder: Path, address: str, login: bool) -> dict[str, object]:
    config: dict[str, object] = {
        "version": 0.1,
        "log": {"level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": address},
    }
    if login:
        (folder / "htpasswd").write_text(HTPASSWD)
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
    return config


@contextlib.contextmanager
def _running(argv: list[str], log: object) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def _await(address: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 15
    while True:
        assert process.poll() is None, "the registry ended at once"
        try:
            urllib.request.urlopen(f"http://{address}/v2/", timeout=5).close()
        except urllib.error.HTTPError as error:
            error.close()
            return  # it wants a login: it is there
        except OSError:
            assert time.monotonic() < until, "the registry did not start"
            time.sleep(0.05)
        else:
            return
