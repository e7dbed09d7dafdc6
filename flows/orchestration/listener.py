"""The socket that the local Prefect server listens on: no other program can have its port while it is open.

It is bound before the server starts, and the server hands it to `baseforge serve`, which keeps it open until it ends.
So `serve` never talks to a program of another user that listens where the server has been.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from flows.orchestration.errors import PortTaken

HOST = "127.0.0.1"
FIRST_PORT, PORTS = 20000, 10000  # below those that a kernel gives to outgoing connections
WAITING = 2048  # connections that the server has not accepted yet
PATIENCE = 5.0  # seconds: a server that has ended, or its `serve`, may have the port a moment longer
HANDOVER = "listener"  # a Unix socket in the server's folder, which gives the listening socket to clients


def opened(chosen_port: int, folder: Path) -> socket.socket:
    """A listening socket on the chosen port, else on the first free one in an order that depends on the folder alone.

    Raises PortTaken.
    """
    first = int.from_bytes(hashlib.sha256(str(folder).encode()).digest()[:8])
    others = [] if chosen_port else [FIRST_PORT + (first + step) % PORTS for step in range(PORTS)]
    try:
        return _listening_soon(chosen_port or others[0])
    except PortTaken:
        for port in others[1:]:
            with contextlib.suppress(OSError):
                return _listening(port)
        raise


def _listening_soon(port: int) -> socket.socket:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return _listening(port)
        except OSError as error:
            if time.monotonic() > end:
                raise PortTaken(port, error.strerror or str(error)) from error
        time.sleep(0.2)


def _listening(port: int) -> socket.socket:
    """Raises OSError. Until it listens, another program that sets SO_REUSEADDR could bind the port too."""
    made = socket.socket()
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have ended do not count
        made.bind((HOST, port))
        made.listen(WAITING)
    except BaseException:
        made.close()
        raise
    return made


def hand_out(listener: socket.socket) -> None:
    """Give the listening socket to clients of a Unix socket in the working folder, which is private to this user."""
    Path(HANDOVER).unlink(missing_ok=True)
    handover = socket.socket(socket.AF_UNIX)
    handover.bind(HANDOVER)
    handover.listen()
    threading.Thread(target=_serve_handover, args=(handover, listener), daemon=True).start()


def _serve_handover(handover: socket.socket, listener: socket.socket) -> None:
    while True:
        connection, _ = handover.accept()
        with connection, contextlib.suppress(OSError, ValueError):  # the server ends
            socket.send_fds(connection, [b"."], [listener.fileno()])


@contextlib.contextmanager
def held(folder: Path) -> Iterator[socket.socket | None]:
    """Keep the listening socket of the server in this folder open for the block, if it has one."""
    found = _received(folder)
    with found or contextlib.nullcontext():
        yield found


def refuse(listener: socket.socket) -> None:
    """Accept no more connections, and keep the port bound: requests fail at once instead of waiting."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    listener.shutdown(socket.SHUT_RD)


def _received(folder: Path) -> socket.socket | None:
    handle = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE)
            connection.connect(f"/proc/self/fd/{handle}/{HANDOVER}")  # short, however deep the folder is
            _, files, _, _ = socket.recv_fds(connection, 1, 1)
            return socket.socket(fileno=files[0]) if files else None
    except OSError:  # a server of an earlier version, or none
        return None
    finally:
        os.close(handle)
