"""Debs of a few files, made by hand."""

import gzip
import io
import lzma
import tarfile

import zstandard

from rootfs.lock.lock import Package

CONTROL = b"Package: a\nVersion: 1:2\nPriority: optional\nArchitecture: amd64\nDescription: a\n b\n"
COMPRESSORS = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".zst": zstandard.ZstdCompressor().compress}


def tar(files):
    """A tar of files, by path; text is the target of a symbolic link."""
    with io.BytesIO() as out:
        with tarfile.open(fileobj=out, mode="w") as archive:
            for name, data in files.items():
                info = tarfile.TarInfo(f"./{name}")
                if isinstance(data, str):
                    info.type, info.linkname = tarfile.SYMTYPE, data
                    archive.addfile(info)
                    continue
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return out.getvalue()


def ar(members, mtime=7):
    """An ar archive of (name, content) pairs."""
    out = b"!<arch>\n"
    for name, data in members:
        head = f"{name:<16}{mtime:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n"
        out += head.encode() + data + b"\n" * (len(data) % 2)
    return out


def a_deb(ending=".xz", control=CONTROL, mtime=7, files=None):
    """A deb as somebody made it at `mtime`, with these files."""
    compressed = COMPRESSORS[ending]
    parts = [
        ("control.tar" + ending, compressed(tar({"control": control}))),
        ("data.tar" + ending, compressed(tar(files or {"file": b"x" * 999}))),
    ]
    return ar([("debian-binary", b"2.0\n"), *parts], mtime)


def package(name="a", version="1:2", **more):
    """A package as a lock has it."""
    common = {
        "architecture": "amd64",
        "sha256": "0" * 64,
        "size": 1,
        "source": "a",
        "archive": "",
        "suite": "s",
        "path": "",
    }
    return Package(name=name, version=version, **{**common, **more})
