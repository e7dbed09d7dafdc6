"""The filter that refuses the kernel's keys and new user namespaces, as the program that the kernel runs."""

import struct

import pytest

from rootfs.process.seccomp import (
    ALLOW,
    CLONE,
    CLONE3,
    EQUAL,
    HAS,
    KEYS,
    LOAD,
    MISSING,
    NEW_USER,
    REFUSE,
    S390X,
    UNSHARE,
    filter_program,
)

SIGCHLD = 17


def verdict(architecture, number, *arguments):
    """What the filter says of a system call: classic BPF, as far as the filter uses it."""
    order = ">" if architecture == S390X else "<"
    data = struct.pack(f"{order}iIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    steps, loaded, at = list(struct.iter_unpack("=HBBI", filter_program())), 0, 0
    while True:
        code, yes, no, value = steps[at]
        if code == LOAD:
            loaded = struct.unpack_from(f"{order}I", data, value)[0]
        elif code in (EQUAL, HAS):
            at += yes if (loaded == value if code == EQUAL else loaded & value) else no
        else:
            return value
        at += 1


@pytest.mark.parametrize("architecture", KEYS)
def test_keys_are_refused_and_all_else_is_allowed(architecture):
    said = {number: verdict(architecture, number) for number in range(500)}
    assert {number for number in said if said[number] == REFUSE} == {each for each in KEYS[architecture] if each < 500}
    assert {number for number in said if said[number] == MISSING} == {CLONE3[0]}
    assert verdict(architecture, 1) == ALLOW


@pytest.mark.parametrize("architecture", KEYS)
def test_a_new_user_namespace_is_refused_and_a_process_is_not(architecture):
    for number in UNSHARE[architecture]:
        assert verdict(architecture, number, NEW_USER | 0x20000) == REFUSE
        assert verdict(architecture, number, 0x20000) == ALLOW
    first = (0,) if architecture == S390X else ()
    for number in CLONE[architecture]:
        assert verdict(architecture, number, *first, NEW_USER | SIGCHLD) == REFUSE
        assert verdict(architecture, number, *first, SIGCHLD) == ALLOW


def test_other_machines_are_not_filtered():
    assert {verdict(0x12345678, number) for number in range(500)} == {ALLOW}
