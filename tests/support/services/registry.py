"""A real registry on a free loopback port, for one test or a whole session."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.services.tls import Identity

USER, PASSWORD = "pusher", "correct horse"
# The registry takes bcrypt alone: `htpasswd -nbB pusher 'correct horse'`.
HTPASSWD = "pusher:$2b$05$5nwu1W0161WfUMyzF/8XsuOOp1m7V7IHU4u8MPsGq/Nv7s.oyeJIC\n"
SLOWEST_START = 15.0  # seconds
LISTENING = re.compile(r"listening on (127\.0\.0\.1:\d+)")


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def registry(folder: Path, *, login: bool = False, tls: Identity | None = None) -> Iterator[str]:
    """The HOST:PORT of a registry that keeps its data below `folder`.

    With `login` only USER may come in, with `tls` it is https.
    """
    program = shutil.which("docker-registry")
    assert program, "docker-registry is not installed: apt-get install docker-registry"
    folder.mkdir(parents=True, exist_ok=True)
    config, log = folder / "config.json", folder / "registry.log"
    config.write_text(json.dumps(_config(folder, login, tls)))
    with log.open("wb") as output:
        # It would take every REGISTRY_… of ours as a setting of its own.
        process = subprocess.Popen([program, "serve", config], env={}, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield _address(process, log)
    finally:
        process.terminate()
        process.wait(10)


def _config(folder: Path, login: bool, tls: Identity | None) -> dict[str, object]:
    secure = {"tls": {"certificate": str(tls.certificate), "key": str(tls.key)}} if tls else {}
    config: dict[str, object] = {
        "version": 0.1,
        "log": {"level": "info"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": {"addr": "127.0.0.1:0", **secure},
    }
    if login:
        (folder / "htpasswd").write_text(HTPASSWD)
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
    return config


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """The port that the registry chose, as it says itself."""
    until = time.monotonic() + SLOWEST_START
    while not (said := LISTENING.search(log.read_text())):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.05)
    return said[1]
