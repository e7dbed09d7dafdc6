"""A real PostgreSQL server on loopback, as a context manager."""

from __future__ import annotations

import contextlib
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.services.registry import free_port

USER = "nobody"  # PostgreSQL refuses to run as root


@dataclass
class PostgreSQL:
    """A server: the folder of its database, its programs and its port."""

    data: Path
    programs: Path
    port: int

    @property
    def url(self) -> str:
        """What Prefect's server takes."""
        return f"postgresql+asyncpg://{USER}@127.0.0.1:{self.port}/postgres"

    def control(self, *words: str) -> None:
        """Run `pg_ctl`, such as `restart`."""
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        argv = [self.programs / "pg_ctl", "-D", self.data, "-w", "-o", options, "-l", self.data / "log", *words]
        as_user(*argv)


def as_user(*argv: str | Path) -> None:
    """Run a program as the user that owns the database."""
    user = pwd.getpwnam(USER)
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, user=user.pw_uid, group=user.pw_gid, cwd="/")


@contextlib.contextmanager
def serve_postgresql(folder: Path) -> Iterator[PostgreSQL]:
    """Start a server with an empty database in a folder that other users may enter; it is gone when the block ends."""
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    data = folder / "postgresql"
    data.mkdir(mode=0o700)
    shutil.chown(data, USER)
    as_user(programs / "initdb", "-D", data, "-U", USER, "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C")
    server = PostgreSQL(data, programs, free_port())
    server.control("start")
    try:
        yield server
    finally:
        server.control("stop", "-m", "immediate")
