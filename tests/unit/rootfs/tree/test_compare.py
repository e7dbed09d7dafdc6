"""Comparison of two layers: every difference of a member is found and shown in a few lines."""

import base64
import dataclasses
import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import zstandard

from rootfs.layer.pack import pack
from rootfs.process import run
from rootfs.tree.compare import CHUNK, DETAILED, WHOLE, Difference, compare_layers
from rootfs.tree.errors import BadTree
from rootfs.tree.member import Member

FOLDER = Member("etc", kind=tarfile.DIRTYPE, mode=0o755)
TEXT = b"one\ntwo\nthree\n"
FILE = Member("etc/a", mode=0o644, mtime=1_700_000_000)
LINK = Member("etc/l", kind=tarfile.SYMTYPE, mode=0o777, link="a")
NULL = Member("null", kind=tarfile.CHRTYPE, mode=0o666, device=(1, 3))


@pytest.fixture(autouse=True)
def _no_diffoscope(tmp_path, monkeypatch):
    """What diffoscope says is a matter of its version; tests/engine/rootfs/test_compare.py has it."""
    monkeypatch.setattr(run, "SYSTEM_PATH", str(tmp_path / "nothing"))


def compared(tmp_path, old, new):
    """What is found between two lists of members; where a member is a pair, the second is its content."""
    layers = [tmp_path / "old.zst", tmp_path / "new.zst"]
    for layer, members in zip(layers, (old, new), strict=True):
        pack([one.with_content(content) for one, content in map(paired, members)], layer)
    return compare_layers(*layers, tmp_path / "work", pytest.fail)


def paired(member):
    return member if isinstance(member, tuple) else (member, b"")


def changed(member, **more):
    return dataclasses.replace(member, **more)


MARKER = b"-----BEGIN " + b"PRIVATE KEY-----\n"
SECRETS = {
    "PEM": [MARKER + base64.encodebytes(bytes(48 * [number])) + b"-----END" for number in (1, 2)],
    "one removed": [MARKER + base64.encodebytes(bytes(48)) + b"-----END", b"nothing here\n"],
    "binary": [b"\0\0\0\x0bssh-ed25519\0\0\0\x40" + bytes(64 * [number]) for number in (1, 2)],
    "a part of a large file": [MARKER + bytes([number]) * (WHOLE + CHUNK) for number in (1, 2)],
}


@pytest.mark.parametrize("name", SECRETS)
def test_nothing_of_a_private_key_is_shown(tmp_path, name):
    found = compared(tmp_path, *([FOLDER, (FILE, content)] for content in SECRETS[name]))
    [detail] = [each.detail for each in found if each.aspect == "content"]
    assert detail == "content differs (private key, not shown)"


ASPECTS = [
    ("mode", FILE, changed(FILE, mode=0o600), "etc/a: mode: was 0644, is 0600"),
    ("mode", FOLDER, changed(FOLDER, mode=0o2755), "etc: mode: was 0755, is 2755"),
    ("owner", FILE, changed(FILE, gid=42), "etc/a: owner: was 0:0, is 0:42"),
    ("mtime", FILE, changed(FILE, mtime=0), "etc/a: mtime: was 2023-11-14 22:13:20, is 1970-01-01 00:00:00"),
    ("mtime", FILE, changed(FILE, mtime=10**15), "etc/a: mtime: was 2023-11-14 22:13:20, is 1000000000000000 s"),
    ("link", LINK, changed(LINK, link="b\x1b[31m"), "etc/l: link: was a, is b\\x1b[31m"),
    ("device", NULL, changed(NULL, device=(1, 5)), "null: device: was 1:3, is 1:5"),
    ("xattrs", FILE, changed(FILE, xattrs={"user.x": b"\x01"}), "etc/a: xattrs: was none, is user.x=01"),
    ("type", NULL, changed(NULL, kind=tarfile.BLKTYPE), "null: type: was character device, is block device"),
]


@pytest.mark.parametrize(("aspect", "old", "new", "said"), ASPECTS, ids=[f"{row[0]} {row[1].path}" for row in ASPECTS])
def test_each_difference_is_found_and_described(aspect, old, new, said, tmp_path):
    [found] = compared(tmp_path, [old], [new])
    assert (found.aspect, str(found)) == (aspect, said)


def test_the_same_layers_differ_in_nothing(tmp_path):
    members = [FOLDER, (FILE, TEXT), LINK, NULL]
    assert compared(tmp_path, members, members) == []


def test_what_is_missing_and_what_is_added(tmp_path):
    found = compared(tmp_path, [FOLDER, LINK], [FOLDER, NULL])
    assert list(map(str, found)) == ["etc/l: missing: was a symbolic link", "null: added: is a character device"]


def test_a_different_type_shows_all_its_attributes(tmp_path):
    found = compared(tmp_path, [(FILE, TEXT)], [changed(LINK, path=FILE.path)])
    assert [each.aspect for each in found] == ["type", "mode", "mtime", "size", "link"]


def test_a_text_is_compared_line_by_line(tmp_path):
    [found] = compared(tmp_path, [(FILE, TEXT)], [(FILE, b"one\nTWO\nthree\n")])
    assert found.aspect == "content"
    lines = [line.strip() for line in str(found).splitlines()]
    assert lines[0] == "etc/a: content"
    assert {"-two", "+TWO"} < set(lines)


def test_a_long_text_shows_its_first_lines_without_control_characters(tmp_path):
    old, new = (b"".join(b"%d \x1b[2J %s\n" % (number, word) for number in range(1000)) for word in (b"x", b"y"))
    [found] = compared(tmp_path, [(FILE, old)], [(FILE, new)])
    lines = found.detail.splitlines()
    assert (len(lines), lines[-1]) == (21, "…")
    assert lines[1] == "-0 \\x1b[2J x"


def test_a_text_that_only_lost_its_last_line_end_is_shown_by_its_bytes(tmp_path):
    size, content = compared(tmp_path, [(FILE, b"x\n")], [(FILE, b"x")])
    assert (size.old, size.new) == ("2 bytes", "1 bytes")
    assert content.detail == "from byte 1 on: was 0a, is the end"


BINARIES = [
    ("in the middle", b"\0" * 900 + b"\1\2" + bytes(90), b"\0" * 900 + b"\1\3" + bytes(90), 901),
    ("at the start", b"\0a", b"\1a", 0),
    ("one byte", b"\0" * CHUNK + b"\1", b"\0" * CHUNK + b"\2", CHUNK),
    ("in a piece of a large one", bytes(WHOLE + 5), bytes(WHOLE) + b"\0\0\7\0\0", WHOLE + 2),
    ("large, longer", bytes(WHOLE + CHUNK), bytes(WHOLE + CHUNK) + b"\1", WHOLE + CHUNK),
    ("large and small", bytes(WHOLE + CHUNK), bytes(9), 9),
]


@pytest.mark.parametrize(("old", "new", "at"), [row[1:] for row in BINARIES], ids=[row[0] for row in BINARIES])
def test_a_binary_difference_shows_the_first_different_byte(old, new, at, tmp_path):
    for pair in ((old, new), (new, old)):
        found = compared(tmp_path, [(FILE, pair[0])], [(FILE, pair[1])])
        assert found[-1].aspect == "content"
        assert found[-1].detail.startswith(f"from byte {at} on: was ")
        was, now = (pair[0][at : at + 8].hex(" ") or "the end", pair[1][at : at + 8].hex(" ") or "the end")
        assert found[-1].detail.endswith(f"was {was}, is {now}")
        for file in (tmp_path / "work").glob("*/*"):
            file.unlink()
        for folder in (tmp_path / "work/old", tmp_path / "work/new"):
            folder.rmdir()


def test_when_all_contents_differ_the_first_ones_are_looked_into(tmp_path):
    names = [f"f{number:03}" for number in range(100)]
    old, new = ([(changed(FILE, path=name), word) for name in names] for word in (b"a\n", b"b\n"))
    found = compared(tmp_path, old, new)
    assert [each.path for each in found] == names
    assert [bool(each.detail) for each in found] == [True] * DETAILED + [False] * 80


def test_an_order_that_changed_names_the_first_that_moved(tmp_path):
    a, b, c = (changed(FILE, path=name) for name in "abc")
    [found] = compared(tmp_path, [a, b, c], [a, c, b])
    assert str(found) == "c: order: was after b, is after a"
    (tmp_path / "again").mkdir()
    [found] = compared(tmp_path / "again", [a, b], [b, a])
    assert str(found) == "b: order: was after a, is first"


def test_names_that_are_no_text_are_distinguished_and_printable(tmp_path):
    name = b"caf\xe9".decode(errors="surrogateescape")
    [found] = compared(tmp_path, [changed(FILE, path=name)], [changed(FILE, path=name, uid=7)])
    assert str(found) == "caf\\xe9: owner: was 0:0, is 7:0"


def packed_by_hand(path, data, level=3):
    path.write_bytes(zstandard.ZstdCompressor(level=level).compress(data))
    return path


def plain(*names, form=tarfile.USTAR_FORMAT):
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=form) as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    return tar.getvalue()


def test_members_that_a_tar_says_in_other_words(tmp_path):
    old = packed_by_hand(tmp_path / "a", plain("x"))
    new = packed_by_hand(tmp_path / "b", plain("x", form=tarfile.GNU_FORMAT))
    [found] = compare_layers(old, new, tmp_path / "work", pytest.fail)
    assert (found.path, found.aspect) == (".", "tar")


def test_the_same_tar_compressed_in_another_way(tmp_path):
    tar = plain(*map(str, range(500)))
    layers = [packed_by_hand(tmp_path / str(level), tar, level) for level in (1, 19)]
    [found] = compare_layers(*layers, tmp_path / "work", pytest.fail)
    assert (found.path, found.aspect) == (".", "compression")
    assert found.old.startswith("sha256:")


def test_several_frames_are_one_layer(tmp_path):
    tar = plain("x", "y")
    two = tmp_path / "two"
    two.write_bytes(b"".join(zstandard.ZstdCompressor().compress(part) for part in (tar[:700], tar[700:])))
    [found] = compare_layers(packed_by_hand(tmp_path / "one", tar), two, tmp_path / "work", pytest.fail)
    assert found.aspect == "compression"


BROKEN = {"not compressed": b"hello", "not a tar": zstandard.compress(b"x" * 2000), "empty": b""}


@pytest.mark.parametrize("name", BROKEN)
def test_data_that_are_no_layer_are_refused(name, tmp_path):
    good, bad = packed_by_hand(tmp_path / "good", plain("x")), tmp_path / "bad"
    bad.write_bytes(BROKEN[name])
    for pair in ((good, bad), (bad, good)):
        with pytest.raises(BadTree):
            compare_layers(*pair, tmp_path / "work", pytest.fail)


HUGE = """
import resource, sys
from pathlib import Path
from rootfs.tree.compare import compare_layers
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = compare_layers(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), print)
assert [each.aspect for each in found] == ["content"], found
assert found[0].detail == "from byte 99999999 on: was 00, is 01", found
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


class Zeros(io.RawIOBase):
    """100 MB, of which only the last byte may not be zero."""

    def __init__(self, last):
        self.left, self.last = 100_000_000, last

    def read(self, size=-1):
        count = min(size, self.left)
        self.left -= count
        return bytes(count) if self.left or not count else bytes(count - 1) + self.last


def test_large_contents_are_not_held_in_memory(tmp_path):
    for name, last in (("old", b"\0"), ("new", b"\1")):
        pack([changed(FILE, size=100_000_000, content=Zeros(last))], tmp_path / name)
    words = [sys.executable, "-c", HUGE, tmp_path / "old", tmp_path / "new", tmp_path / "work"]
    done = subprocess.run(words, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[4])
    assert int(done.stdout) << 10 < 48 << 20  # it counts in kilobytes


def test_a_difference_without_values_is_one_line():
    assert str(Difference("a", "content")) == "a: content"
