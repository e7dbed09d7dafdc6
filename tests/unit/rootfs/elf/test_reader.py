"""ELF files are read as another reader reads them; broken ones are refused."""

import io
import itertools
import struct
from pathlib import Path

import pytest
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerDefSection, GNUVerNeedSection
from elftools.elf.sections import SymbolTableSection
from hypothesis import given
from hypothesis import strategies as st

from rootfs.elf.reader import MAGIC, BrokenElf, Elf, read

PLACES = ("usr/bin/*", "usr/sbin/*", "usr/lib/*-linux-gnu*/*.so*", "usr/lib*/*.so*")
SOME, SMALL = 25, 1 << 19  # files of this machine, bytes


def of_this_machine():
    """Programs and libraries that are here, on any machine others."""
    found = (path for place in PLACES for path in sorted(Path("/").glob(place)) if path.is_file())
    elves = (path for path in found if not path.is_symlink() and path.stat().st_size < SMALL and starts_as_one(path))
    return list(itertools.islice(elves, 0, None, 7))[:SOME]


def starts_as_one(path):
    with path.open("rb") as file:
        return file.read(4) == MAGIC


def as_others_read(path):
    """Needed, whether it ends threads, required, provided, RUNPATH and interpreter, by sections and segments."""
    needed, ends, required, provided, runpath, interpreter = [], False, {}, set(), [], ""
    with path.open("rb") as file:
        other = ELFFile(file)
        for segment in other.iter_segments():
            if segment["p_type"] == "PT_INTERP":
                interpreter = segment.get_interp_name()
            if isinstance(segment, DynamicSegment):
                needed = [tag.needed for tag in segment.iter_tags("DT_NEEDED")]
                runpath = [folder for tag in segment.iter_tags("DT_RUNPATH") for folder in tag.runpath.split(":")]
        for section in other.iter_sections():
            if isinstance(section, SymbolTableSection) and section.name == ".dynsym":
                ends = any(symbol.name in ("pthread_exit", "pthread_cancel") for symbol in section.iter_symbols())
            if isinstance(section, GNUVerNeedSection):
                required = {need.name: tuple(each.name for each in all_) for need, all_ in section.iter_versions()}
            if isinstance(section, GNUVerDefSection):
                provided = {next(names).name for _, names in section.iter_versions()}
    return needed, ends and "libc.so.6" in needed, required, provided, runpath, interpreter


def test_every_file_of_this_machine_is_read_as_pyelftools_reads_it():
    paths = of_this_machine()
    assert len(paths) > 20
    for path in paths:
        with path.open("rb") as file:
            found = read(file)
        if found is None:  # a relocatable one
            continue
        versions = (found.requires, set(found.provides))
        mine = (list(found.needed), bool(found.opened), *versions, list(found.runpath), found.interpreter)
        assert mine == as_others_read(path), path


def header(kind, *, ident=b"\x7fELF\x02\x01\x01"):
    return ident.ljust(16, b"\0") + struct.pack("<HHIQQQIHHHHHH", kind, 62, 1, 0, 64, 0, 0, 64, 56, 0, 0, 0, 0)


@pytest.mark.parametrize("data", [b"", b"\x7fEL", b"#!/bin/sh\n", header(1), header(4)])
def test_files_that_are_not_loaded_need_nothing(data):
    assert read(io.BytesIO(data)) is None


def test_a_static_program_needs_nothing():
    assert read(io.BytesIO(header(2))) == Elf(kind=(2, 1, 62))


@pytest.mark.parametrize(
    "data", [MAGIC, header(2)[:40], header(2, ident=b"\x7fELF\x05\x01"), header(2, ident=b"\x7fELF\x02\x07")]
)
def test_a_broken_file_is_named(data):
    with pytest.raises(BrokenElf):
        read(io.BytesIO(data))


PROGRAM = Path("/bin/ls").read_bytes()


@given(st.lists(st.tuples(st.integers(0, len(PROGRAM) - 1), st.integers(0, 255)), max_size=20), st.integers(0, 1000))
def test_a_damaged_file_is_read_or_refused_quickly(changes, lost):
    damaged = bytearray(PROGRAM)
    for place, value in changes:
        damaged[place % 4096 if value % 2 else place] = value
    try:
        found = read(io.BytesIO(bytes(damaged[: len(damaged) - lost * 100])))
    except BrokenElf:
        return
    assert found is None or isinstance(found, Elf)
