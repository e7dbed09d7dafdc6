"""Layers are deterministic, and GNU tar and Python read them back unchanged."""

import hashlib
import io
import subprocess
import sys
import tarfile

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from rootfs.bootstrap.bootstrapper import remove_tree
from rootfs.errors import BuildError
from rootfs.layer.pack import pack
from rootfs.process.run import run
from rootfs.tree.errors import BadTree
from rootfs.tree.member import Member, from_tar, from_tree, limit_size


def file(path, data=b"", **more):
    return Member(path, size=len(data), content=io.BytesIO(data), **more)


def folder(path, **more):
    return Member(path, kind=tarfile.DIRTYPE, mode=more.pop("mode", 0o755), **more)


def unpacked(layer):
    with layer.path.open("rb") as stream:
        return zstandard.ZstdDecompressor().stream_reader(stream, read_across_frames=True).read()


def read_back(layer):
    with tarfile.open(fileobj=io.BytesIO(unpacked(layer))) as archive:
        return archive.getmembers()


def test_the_digests_and_sizes_are_those_of_the_bytes(tmp_path):
    layer = pack([folder("."), file("hello", b"hi\n")], tmp_path / "layer")
    tar = unpacked(layer)
    assert layer.digest == "sha256:" + hashlib.sha256(layer.path.read_bytes()).hexdigest()
    assert layer.diff_id == "sha256:" + hashlib.sha256(tar).hexdigest()
    assert (layer.size, layer.unpacked) == (layer.path.stat().st_size, len(tar))


MEMBERS = {
    "file": file("etc/motd", b"hello" * 1000, mode=0o640, uid=1, gid=42, mtime=1_700_000_000),
    "folder": folder("etc", mode=0o2755),
    "sticky folder": folder("tmp", mode=0o1777),
    "symbolic link": Member("bin", kind=tarfile.SYMTYPE, link="usr/bin", mode=0o777),
    "hard link": Member("b", kind=tarfile.LNKTYPE, link="a"),
    "device": Member("dev/null", kind=tarfile.CHRTYPE, device=(1, 3), mode=0o666),
    "fifo": Member("run/pipe", kind=tarfile.FIFOTYPE),
    "long name": file("usr/share/" + "n" * 150, b"x"),
    "long link": Member("l", kind=tarfile.SYMTYPE, link="t" * 200),
    "100 bytes": file("p" * 100, b"x"),
    "folder of 100 bytes": folder("p" * 100),
    "not ASCII": file("etc/ssl/certs/NetLock_Arany_=Class_Gold=_Főtanúsítvány.pem", b"x"),
    "not UTF-8": file(b"caf\xe9".decode(errors="surrogateescape"), b"x"),
    "large uid": file("nobody", b"x", uid=4_000_000, gid=3_000_000),
    "before 1970": file("old", b"x", mtime=-5),
    "file capability": file("usr/bin/ping", b"x", xattrs={"security.capability": b"\x01\x00\x00\x02\x00\x20\xff\x00"}),
    "empty file": file("empty"),
}


@pytest.mark.parametrize("name", MEMBERS)
def test_a_member_reads_back_as_it_went_in(name, tmp_path):
    member = MEMBERS[name]
    if member.content:
        member.content.seek(0)
    layer = pack([member], tmp_path / "layer")
    [back] = from_tar(io.BytesIO(unpacked(layer)))
    for key in ("path", "kind", "mode", "uid", "gid", "mtime", "size", "link", "device", "xattrs"):
        assert getattr(back, key) == getattr(member, key), key


def test_gnu_tar_restores_what_we_pack(tmp_path):
    """An independent reader agrees on names, modes, links and contents."""
    tree = tmp_path / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc" / ("long" * 40)).write_text("content")
    (tree / "etc" / "umlaut-ü").write_text("u")
    (tree / "link").symlink_to("etc/" + "t" * 180)
    (tree / "etc" / "one").hardlink_to(tree / "etc" / "umlaut-ü")
    (tree / "etc").chmod(0o750)
    tar = tmp_path / "layer.tar"
    tar.write_bytes(unpacked(pack(from_tree(tree), tmp_path / "layer")))
    out = tmp_path / "out"
    out.mkdir()
    run(["tar", "--extract", "--preserve-permissions", "--file", tar, "--directory", out])
    assert run(["diff", "--recursive", "--no-dereference", tree, out]).stdout == ""
    assert (out / "etc").stat().st_mode & 0o7777 == 0o750
    assert (out / "etc/one").stat().st_ino == (out / "etc/umlaut-ü").stat().st_ino


def test_a_folder_gives_the_same_bytes_in_whatever_order_it_was_made(tmp_path):
    for name, order in (("a", "xyz"), ("b", "zyx")):
        for letter in order:
            (tmp_path / name / letter).mkdir(parents=True)
            (tmp_path / name / letter / "f").write_text(letter)
    layers = [
        pack((Member(**fields(m)) for m in from_tree(tmp_path / name)), tmp_path / f"{name}.zst") for name in "ab"
    ]
    assert layers[0].digest == layers[1].digest


def fields(member):
    return {key: getattr(member, key) for key in ("path", "kind", "mode", "size", "content", "link")}


def test_a_source_that_fails_leaves_no_file(tmp_path):
    def broken():
        yield file("a", b"x")
        raise BadTree("cut off")

    with pytest.raises(BadTree):
        pack(broken(), tmp_path / "layer")
    assert list(tmp_path.iterdir()) == []


def test_a_content_shorter_than_its_header_says_is_refused(tmp_path):
    with pytest.raises(BadTree, match="3 bytes early"):
        pack([Member("a", size=5, content=io.BytesIO(b"xy"))], tmp_path / "layer")


@pytest.mark.parametrize("length", [0, 100, 700, 2000])
def test_a_tar_that_is_cut_off_is_refused(length, tmp_path):
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        info = tarfile.TarInfo("a")
        info.size = 5000
        archive.addfile(info, io.BytesIO(b"x" * 5000))
    with pytest.raises(BadTree):
        pack(from_tar(io.BytesIO(tar.getvalue()[:length])), tmp_path / "layer")
    assert not (tmp_path / "layer").exists()


names = st.text(st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=120).filter(
    lambda name: name not in (".", "..")
)


@given(
    path=st.lists(names, min_size=1, max_size=3).map("/".join),
    data=st.binary(max_size=2000),
    mode=st.integers(0, 0o7777),
    mtime=st.integers(-(2**33), 2**40),
    owner=st.integers(0, 2**32 - 1),
    xattrs=st.dictionaries(st.sampled_from(["user.a", "security.capability"]), st.binary(max_size=30)),
)
def test_any_file_reads_back(tmp_path_factory, path, data, mode, mtime, owner, xattrs):
    member = file(path, data, mode=mode, mtime=mtime, uid=owner, gid=owner, xattrs=xattrs)
    layer = pack([member], tmp_path_factory.getbasetemp() / "layer")
    [back] = from_tar(io.BytesIO(unpacked(layer)))
    assert (back.path, back.mode, back.mtime, back.uid, back.xattrs) == (path.rstrip("/"), mode, mtime, owner, xattrs)


def large():
    """A tree of several frames, each with contents that are hard to compress."""
    contents = (hashlib.shake_128(b"%d" % number).digest(1_000_000) for number in range(12))
    return [file(f"usr/lib/f{number}", data) for number, data in enumerate(contents)]


def test_a_layer_of_several_frames_is_one_stream(tmp_path):
    layer = pack(large(), tmp_path / "layer")
    data = layer.path.read_bytes()
    first = zstandard.ZstdDecompressor().decompressobj()
    first.decompress(data)
    assert first.unused_data  # there is more than one
    assert layer.diff_id == "sha256:" + hashlib.sha256(unpacked(layer)).hexdigest()
    assert [member.size for member in read_back(layer)] == [1_000_000] * 12


def test_a_cache_does_not_change_the_bytes(tmp_path):
    layers = [
        pack(large(), tmp_path / "layer", frame_cache=cache) for cache in (None, tmp_path / "cache", tmp_path / "cache")
    ]
    assert layers[0] == layers[1] == layers[2]
    assert len(list((tmp_path / "cache").iterdir())) > 1


MEASURE = r"""
import re, sys
from pathlib import Path
from rootfs.tree.member import from_tree
from rootfs.layer.pack import pack
layer = pack(from_tree(Path(sys.argv[1])), Path(sys.argv[2]))
peak = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[1]  # getrusage counts the parent
print(layer.unpacked >> 20, int(peak) >> 10)
"""


def test_a_large_tree_takes_little_memory(tmp_path):
    """In MiB: a file of 300, which is nowhere but in its size, and some of bytes that do not compress."""
    (tmp_path / "tree").mkdir()
    with (tmp_path / "tree/hole").open("wb") as hole:
        hole.truncate(300 << 20)
    for number in range(6):
        (tmp_path / f"tree/f{number}").write_bytes(hashlib.shake_128(b"%d" % number).digest(8 << 20))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, tmp_path / "tree", tmp_path / "layer"],
        capture_output=True,
        text=True,
        check=True,
    )
    size, peak = map(int, done.stdout.split())
    assert size >= 348
    assert peak < 150


def nested(folder, levels):
    """Folders in each other, made from inside, as a path may not be that long."""
    script = "import os, sys\nos.chdir(sys.argv[1])\nfor each in range(int(sys.argv[2])): os.mkdir('d'); os.chdir('d')"
    run([sys.executable, "-c", script, folder, str(levels)])


def test_a_tree_with_more_folders_in_each_other_than_python_has_calls(tmp_path):
    nested(tmp_path, 1100)
    assert sum(1 for _ in from_tree(tmp_path)) == 1101
    remove_tree(tmp_path)


def test_a_tree_with_folders_that_no_path_leads_to_is_refused(tmp_path):
    nested(tmp_path, 2100)
    with pytest.raises(BadTree, match="nested too deeply"):
        list(from_tree(tmp_path))
    remove_tree(tmp_path)


def test_a_tree_with_more_bytes_than_it_may_have_is_refused_before_they_are_read(tmp_path):
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(8 << 40)
    with pytest.raises(BuildError, match="more than 1024 MiB; the limit was reached at sparse") as caught:
        pack(limit_size(from_tree(tmp_path), 1 << 30), tmp_path.with_name("layer"))
    assert "sandbox_disk" in str(caught.value)
