"""What a command and the spare process say to each other, over a socket that is the user's alone."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from flows.folders import server_folder

PREFIX = "spare-"
MOST_FILES = 250  # besides the working folder; unix(7), SCM_RIGHTS: 253
BEGUN, ENDED = b"b", b"e"
_NUMBER = struct.Struct("=ci")  # BEGUN and a process, ENDED and an exit status, as `os.waitstatus_to_exitcode` has it
_LENGTH = struct.Struct("=I")
_PEER = struct.Struct("=3i")  # unix(7), SO_PEERCRED: process, user, group


class Given(NamedTuple):
    """All that a process is given when it starts, and that its work may depend on, but for its working folder."""

    words: list[str]
    environment: dict[str, str]
    umask: int
    ignored: list[int]
    files: list[int]


@contextlib.contextmanager
def address(name: str) -> Iterator[str]:
    """Where the spare process of this name listens: short enough for a socket however deep the folder is."""
    folder = os.open(server_folder(), os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{PREFIX}{name}"
    finally:
        os.close(folder)


def names() -> list[str]:
    """Of the spare processes that may be there."""
    return sorted(path.name.removeprefix(PREFIX) for path in server_folder().glob(f"{PREFIX}*"))


def reach(name: str) -> socket.socket:
    """A connection to the spare process of this name. Raises OSError where there is none, or not of this user."""
    spare = socket.socket(socket.AF_UNIX)
    try:
        with address(name) as place:
            spare.connect(place)
        if peer(spare)[1] != os.geteuid():
            raise PermissionError
    except BaseException:
        spare.close()
        raise
    return spare


def peer(other: socket.socket) -> tuple[int, int]:
    """The process and the user at the other end, who listens or has connected."""
    process, user, _ = _PEER.unpack(other.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return process, user


def give(spare: socket.socket, given: Given, files: list[int]) -> None:
    """Send it, and the files. Raises OSError."""
    text = json.dumps(given).encode()
    socket.send_fds(spare, [_LENGTH.pack(len(text))], files)
    spare.sendall(text)


def taken(command: socket.socket) -> tuple[Given, list[int]]:
    """What was given. Raises OSError, ValueError."""
    head, files, _, _ = socket.recv_fds(command, _LENGTH.size, MOST_FILES + 1)
    (length,) = _LENGTH.unpack(head)
    return Given(*json.loads(_exactly(command, length))), list(files)


def tell(command: socket.socket, what: bytes, number: int) -> None:
    """Send a number. Raises OSError."""
    command.sendall(_NUMBER.pack(what, number))


def told(spare: socket.socket, what: bytes) -> int:
    """The number that is sent next, which must be of this kind. Raises OSError."""
    kind, number = _NUMBER.unpack(_exactly(spare, _NUMBER.size))
    if kind != what:
        raise ConnectionAbortedError
    return int(number)


def _exactly(other: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        if not (more := other.recv(size - len(data))):
            raise ConnectionAbortedError
        data += more
    return data
