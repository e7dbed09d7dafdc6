"""Archives that exhaust memory: each is read in its own process, which never takes 200 MB."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from tests.support.elves import elf
from tests.support.hostile import BOMBS, END, LARGE, base256, file, header, long, pax, sparse_pax, symlink

MOST = 200 << 20  # bytes
# The whole way to a layer, as a build goes it, for each archive of a folder; what was said, and the memory it took.
READ = """
import json, re, sys
from pathlib import Path
from rootfs.elf.linkage import LinkageCheck
from rootfs.errors import BaseforgeError
from rootfs.tree.inventory import Inventory
from rootfs.lock.lock import Lock
from rootfs.tree.normalize import normalize, tree_epoch
from rootfs.layer.pack import pack
from tests.support.trees import grown
said = {}
for archive in sorted(Path(sys.argv[1]).iterdir()):
    place = Path(sys.argv[2]) / archive.name
    place.mkdir()
    try:
        inventory, closure = Inventory(), LinkageCheck()
        with grown(archive, place) as members:
            pack(closure.observe(inventory.observe(normalize(*tree_epoch(members, None)))), place / "layer")
        closure.missing(), inventory.packages()
    except BaseforgeError as problem:
        said[archive.name] = str(problem)
# Not getrusage(2), which also counts what there was before exec(2).
peak = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
print(json.dumps([said, int(peak) * 1024]))
"""
HOUSE = Path(__file__).parents[2]
COUNT = 20_000  # of each kind


def members() -> Iterator[bytes]:
    """Some that many readers would keep in memory."""
    for number in range(COUNT):
        name = b"%050d" % number
        yield file(b"f/" + name, b"")
        yield symlink(b"l/" + name, b"t" * 40)
        yield file(b"tmp/" + name, b"")
        yield pax((b"SCHILY.xattr.user.a", b"x" * 1000)) + header(b"d/" + name + b"/", b"5")


def packed(pieces: Iterator[bytes]) -> bytes:
    out = BytesIO()
    with gzip.GzipFile(fileobj=out, mode="wb", compresslevel=1) as archive:
        for piece in pieces:
            archive.write(piece)
        archive.write(END)
    return out.getvalue()


def zeros(name: bytes, size: int) -> Iterator[bytes]:
    """A file of zeros, after one that cannot be squeezed, so that no ratio gives it away."""
    yield header(name, b"0", size)
    for _ in range(size >> 20):
        yield bytes(1 << 20)


def twisted(machines: int) -> Iterator[bytes]:
    """Programs with as many names as may be."""
    many = elf(*(f"lib{number:060}.so" for number in range(2000)))
    for number in range(machines):
        yield file(b"usr/lib/lib%d.so" % number, many)


REFUSED = {
    "huge pax header": lambda: header(b"x", b"x", 1 << 32) + END,
    "huge long name": lambda: header(b"x", b"L", base256(1 << 40, 12)) + END,
    "endless long names": lambda: packed(long(b"n" * 1000) for _ in range(9999)),
    "huge sparse file": lambda: sparse_pax([(1 << 45, 1)], (1 << 45) + 1, b"x", "1.0") + END,
    "a database of zeros": lambda: packed(zeros(b"var/lib/dpkg/status", 60 << 20)),
    "a shadow of zeros": lambda: packed(zeros(b"etc/shadow", 60 << 20)),
    "names of programs": lambda: packed(twisted(600)),
}


def outcome(archives: dict[str, bytes], tmp_path: Path) -> tuple[dict[str, str], int]:
    """What a process that reads them all says of each, and the memory that it took."""
    (tmp_path / "archives").mkdir()
    (tmp_path / "places").mkdir()
    for name, data in archives.items():
        (tmp_path / "archives" / name).write_bytes(data)
    words = [sys.executable, "-c", READ, tmp_path / "archives", tmp_path / "places"]
    done = subprocess.run(words, cwd=HOUSE, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"archives", "places"}
    said, peak = json.loads(done.stdout)
    return said, peak


def test_many_members_take_little_memory(tmp_path):
    said, peak = outcome({"many": packed(members())}, tmp_path)
    assert said == {}
    assert peak < MOST


def test_bombs_are_refused_and_take_little_memory(tmp_path):
    archives = {name: make(LARGE) for name, make in BOMBS.items()} | {name: make() for name, make in REFUSED.items()}
    said, peak = outcome(archives, tmp_path)
    assert said.keys() == archives.keys()
    assert peak < MOST
