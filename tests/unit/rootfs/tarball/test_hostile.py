"""Hostile archives are refused with a reason or made harmless: no traceback, no byte outside the work folder."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rootfs.elf.linkage import LinkageCheck
from rootfs.errors import BaseforgeError
from rootfs.layer.pack import pack
from rootfs.tarball.errors import TarballRefused
from rootfs.tarball.sanitize import device_rules
from rootfs.tree.inventory import Inventory
from rootfs.tree.member import from_tar
from rootfs.tree.normalize import normalize, tree_epoch
from tests.support.hostile import BOMBS, CASES, END, Case, file, hardlink, header, pax, sparse_pax, symlink
from tests.support.trees import grown, shown

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CHANGES = {
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "os.chown",
}


class Watch:
    """Every place that this process changes while it looks. There is no way to take an audit hook back."""

    def __init__(self) -> None:
        self.active, self.places = False, list[str]()
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event == "open" and isinstance(args[0], str | bytes):
            if args[2] & WRITES and not Path(os.fsdecode(args[0])).is_dir():  # in which a nameless file may be made
                self.places.append(os.fsdecode(args[0]))
        elif event in CHANGES or event == "sqlite3.connect":
            self.places += [os.fsdecode(arg) for arg in args[:2] if isinstance(arg, str | bytes | os.PathLike)]

    @contextmanager
    def only(self, folder: Path) -> Iterator[None]:
        self.places, self.active = [], True
        try:
            yield
        finally:
            self.active = False
        assert [place for place in self.places if not Path(place).is_relative_to(folder)] == []


watch = Watch()


def packed(data: bytes, place: Path, **keys: Any) -> dict[str, bytes | str | None]:
    """The whole way to a layer, as a build goes it; what is in the layer."""
    inventory, closure = Inventory(), LinkageCheck()
    with grown(data, place, **keys) as members:
        clean = normalize(*tree_epoch(members, None), device_rules() if keys.get("devices") else ())
        layer = pack(closure.observe(inventory.observe(clean)), place / "layer")
    closure.missing()
    inventory.packages()
    with zstd(layer.path) as tar:
        return {member.path: shown(member) for member in from_tar(tar) if member.path != "."}


@contextmanager
def zstd(path: Path) -> Iterator[Any]:
    import zstandard

    with path.open("rb") as stream, zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True) as tar:
        yield tar


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_corpus(case: Case, tmp_path: Path) -> None:
    with watch.only(tmp_path):
        if not case.refused:
            assert packed(case.data, tmp_path, **case.keys) == case.tree
            return
        with pytest.raises(BaseforgeError) as refused:
            packed(case.data, tmp_path, **case.keys)
    assert case.refused in str(refused.value)
    assert str(refused.value).startswith("rootfs.tar: ")
    assert str(refused.value).isprintable() or "\n" in str(refused.value)


def test_the_corpus_is_large_enough():
    assert len({case.name for case in CASES}) == len(CASES) >= 30


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(name, tmp_path):
    with pytest.raises(
        TarballRefused, match=r"come out for each|Memory usage limit|Frame requires too much memory|ends early"
    ):
        packed(BOMBS[name](64), tmp_path)


BLOCKS = st.lists(
    st.one_of(
        st.binary(max_size=600),
        st.builds(file, st.binary(max_size=20), st.binary(max_size=40)),
        st.builds(symlink, st.binary(max_size=9), st.binary(max_size=9)),
        st.builds(hardlink, st.sampled_from([b"a", b"b", b"c/d"]), st.sampled_from([b"a", b"b", b"c"])),
        st.builds(
            lambda key, value: pax((key, value)),
            st.sampled_from([b"path", b"size", b"mtime", b"uid"]),
            st.binary(max_size=9),
        ),
        st.builds(
            lambda kind, size: header(b"x", kind, size), st.binary(min_size=1, max_size=1), st.integers(0, 8**11 - 1)
        ),
        st.builds(
            lambda pieces, version: sparse_pax(pieces, 5000, b"x" * 100, version),
            st.lists(st.tuples(st.integers(0, 9999), st.integers(0, 200)), max_size=4),
            st.sampled_from(["0.0", "0.1", "1.0"]),
        ),
    ),
    max_size=6,
).map(b"".join)


def survives(make: Callable[[Path], object]) -> None:
    with TemporaryDirectory() as folder, watch.only(Path(folder)), suppress(BaseforgeError):
        make(Path(folder))


QUICK = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@QUICK
@given(BLOCKS, st.sampled_from([b"", END]))
def test_whatever_blocks_there_are(data, end):
    survives(lambda place: packed(data + end, place))


@QUICK
@given(
    st.sampled_from(CASES),
    st.lists(st.tuples(st.integers(0, 1 << 16), st.binary(min_size=1, max_size=8)), min_size=1, max_size=5),
)
def test_the_corpus_with_other_bytes_here_and_there(case, changes):
    data = bytearray(case.data)
    for place, new in changes:
        at = place % (len(data) + 1)
        data[at : at + len(new)] = new
    survives(lambda place: packed(bytes(data), place, **case.keys))
