"""A seccomp filter (seccomp(2)) that refuses the kernel's keys (keyrings(7)), which no namespace hides, and new user
namespaces, in which a program may mount.

bubblewrap reads it from a file descriptor, as a classic BPF program: see the kernel's `struct sock_filter`.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterator

LOAD, EQUAL, HAS, RETURN = 0x20, 0x15, 0x45, 0x06  # codes of instructions
NUMBER, ARCHITECTURE, FIRST, SECOND = 0, 4, 16, 24  # offsets in `struct seccomp_data`; the last are arguments
ALLOW, REFUSE, MISSING = 0x7FFF0000, 0x00050001, 0x00050026  # SECCOMP_RET_ALLOW; SECCOMP_RET_ERRNO: EPERM, ENOSYS
NEW_USER = 0x10000000  # CLONE_NEWUSER

# By AUDIT_ARCH_* (linux/audit.h): the numbers of add_key, request_key and keyctl.
KEYS = {
    0xC000003E: (248, 249, 250, 0x400000F8, 0x400000F9, 0x400000FA),  # x86_64, x32
    0x40000003: (286, 287, 288),  # i386
    0xC00000B7: (217, 218, 219),  # aarch64
    0x40000028: (309, 310, 311),  # arm
    0xC00000F3: (217, 218, 219),  # riscv64
    0xC0000102: (217, 218, 219),  # loongarch64
    0xC0000015: (269, 270, 271),  # ppc64le
    0x80000016: (278, 279, 280),  # s390x
}
# The numbers of unshare and clone, whose flags can request a new user namespace.
UNSHARE = {
    0xC000003E: (272, 0x40000110),
    0x40000003: (310,),
    0xC00000B7: (97,),
    0x40000028: (337,),
    0xC00000F3: (97,),
    0xC0000102: (97,),
    0xC0000015: (282,),
    0x80000016: (303,),
}
CLONE = {
    0xC000003E: (56, 0x40000038),
    0x40000003: (120,),
    0xC00000B7: (220,),
    0x40000028: (120,),
    0xC00000F3: (220,),
    0xC0000102: (220,),
    0xC0000015: (120,),
    0x80000016: (120,),
}
# clone3 has its flags in memory, which a filter cannot read: without it, the C library calls clone.
CLONE3 = (435, 0x400001B3)
S390X = 0x80000016  # big-endian, and the flags of clone come second


def filter_program() -> bytes:
    """The filter. It allows all that it does not refuse."""
    instructions = [_step(LOAD, ARCHITECTURE)]
    for architecture in KEYS:
        rules = _rules(architecture)
        instructions += [_step(EQUAL, architecture, no=len(rules)), *rules]
    return b"".join([*instructions, _step(RETURN, ALLOW)])


def _rules(architecture: int) -> list[bytes]:
    """The instructions for the system calls of one architecture."""
    low = 4 if architecture == S390X else 0  # where the lower half of an argument is
    clone = (SECOND if architecture == S390X else FIRST) + low
    return [
        _step(LOAD, NUMBER),
        *_if(KEYS[architecture], [_step(RETURN, REFUSE)]),
        *_if(CLONE3, [_step(RETURN, MISSING)]),
        *_if(UNSHARE[architecture], _unless_new_user(FIRST + low)),
        *_if(CLONE[architecture], _unless_new_user(clone)),
        _step(RETURN, ALLOW),
    ]


def _if(numbers: tuple[int, ...], then: list[bytes]) -> list[bytes]:
    """The instructions `then` for these system calls; they return."""
    last = len(numbers) - 1
    tests = [
        _step(EQUAL, number, yes=last - index, no=len(then) if index == last else 0)
        for index, number in enumerate(numbers)
    ]
    return [*tests, *then]


def _unless_new_user(flags: int) -> list[bytes]:
    return [_step(LOAD, flags), _step(HAS, NEW_USER, no=1), _step(RETURN, REFUSE), _step(RETURN, ALLOW)]


def _step(code: int, value: int, *, yes: int = 0, no: int = 0) -> bytes:
    """One instruction; `yes` and `no` are how many it skips then."""
    return struct.pack("=HBBI", code, yes, no, value)


@contextlib.contextmanager
def memory_file(data: bytes) -> Iterator[int]:
    """A file descriptor of these bytes in memory, for a program to read."""
    descriptor = os.memfd_create("given")
    try:
        os.write(descriptor, data)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)
