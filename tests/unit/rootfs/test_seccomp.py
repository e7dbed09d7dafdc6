"""The filter that refuses the kernel's keys, as the program that the kernel runs."""

import struct

import pytest

from rootfs.seccomp import ALLOW, EQUAL, KEYS, LOAD, REFUSE, program


def verdict(architecture, number):
    """What the filter says of a system call: classic BPF, as far as the filter uses it."""
    data, loaded, at = struct.pack("=iI", number, architecture), 0, 0
    steps = list(struct.iter_unpack("=HBBI", program()))
    while True:
        code, yes, no, value = steps[at]
        if code == LOAD:
            loaded = struct.unpack_from("=I", data, value)[0]
        elif code == EQUAL:
            at += yes if loaded == value else no
        else:
            return value
        at += 1


@pytest.mark.parametrize("architecture", KEYS)
def test_keys_are_refused_and_all_else_is_allowed(architecture):
    refused = {number for number in range(500) if verdict(architecture, number) == REFUSE}
    assert refused == {number for number in KEYS[architecture] if number < 500}
    assert verdict(architecture, 1) == ALLOW


def test_other_machines_are_not_filtered():
    assert {verdict(0x12345678, number) for number in range(500)} == {ALLOW}
