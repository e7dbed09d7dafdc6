"""A relay from our loopback into another process's network namespace."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Iterator

CLONE_NEWNET = 0x40000000  # sched.h
SIOCSIFFLAGS, IFF_UP = 0x8914, 1  # netdevice(7)


@contextlib.contextmanager
def relay(process: int, port: int) -> Iterator[int]:
    """A port of ours whose connections end at 127.0.0.1:`port` where the process lives."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_serve, args=(listener, process, port), daemon=True).start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


def _serve(listener: socket.socket, process: int, port: int) -> None:
    """The sockets that a thread makes are of the namespace that it has entered."""
    space = os.open(f"/proc/{process}/ns/net", os.O_RDONLY)
    if ctypes.CDLL(None, use_errno=True).setns(space, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
    os.close(space)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))
    with contextlib.suppress(OSError):  # the listener has been shut down
        while True:
            outside, _ = listener.accept()
            threading.Thread(target=_connection, args=(outside, port), daemon=True).start()  # of the same namespace


def _connection(outside: socket.socket, port: int) -> None:
    with outside, contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)) as inside:
        back = threading.Thread(target=_copy, args=(inside, outside), daemon=True)
        back.start()
        _copy(outside, inside)
        back.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
