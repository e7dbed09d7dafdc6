"""What a container cannot start with is found in the tree."""

import io
import struct
import time
from tarfile import DIRTYPE, LNKTYPE, SYMTYPE

import pytest

from rootfs.checks.startup import Start, StartCheck
from rootfs.tree.member import Member

PATH = "/usr/bin:/bin"
AMD64, ARM64, I386 = 62, 183, 3


def elf(machine, bits=2):
    return b"\x7fELF" + bytes([bits, 1, 1]) + bytes(9) + struct.pack("<HH", 3, machine) + bytes(64)


def file(path, content=b"", mode=0o755, owner=(0, 0)):
    return Member(path, mode=mode, uid=owner[0], gid=owner[1]).with_content(content)


def folder(path, mode=0o755):
    return Member(path, kind=DIRTYPE, mode=mode)


# Neither ² nor a number of 5,000 digits is one of a user or group.
HOSTILE = "a:x:²:²:root\nb:x:0:²:root\n".encode() + b"c:x:%b:0:root\n" % (b"9" * 5000)


def tree():
    return [
        folder("."),
        Member("bin", kind=SYMTYPE, link="usr/bin"),
        file("etc/passwd", HOSTILE + b"root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/app:/bin/sh\nbroken\n", 0o644),
        file("etc/group", HOSTILE + b"root:x:0:\napp:x:1000:\nstaff:x:50:app\n", 0o644),
        folder("closed", 0o700),
        file("closed/tool", elf(AMD64)),
        file("opt/arm", elf(ARM64)),
        file("opt/crlf", b"#!/bin/sh\r\n"),
        file("opt/empty"),
        file("opt/env", b"#!/usr/bin/env python4\n"),
        file("opt/circle", b"#!/usr/bin/env circle\n"),
        file("opt/splits", b"#!/usr/bin/env -S A=b /opt/splits\n"),
        file("opt/good", b"#! /usr/bin/env -S A=b sh -e\n"),
        file("opt/i386", elf(I386, 1)),
        file("opt/nobash", b"#!/bin/bash -e\n"),
        file("opt/plain", b"echo hello\n"),
        file("opt/readable", elf(AMD64), 0o644),
        file("opt/staffs", elf(AMD64), 0o750, (0, 50)),
        file("opt/roots", elf(AMD64), 0o700),
        Member("opt/away", kind=SYMTYPE, link="../gone/tool"),
        Member("opt/round", kind=SYMTYPE, link="round"),
        file("usr/bin/dash", elf(AMD64)),
        Member("usr/bin/sh", kind=SYMTYPE, link="dash"),
        file("usr/bin/env", elf(AMD64)),
        Member("usr/bin/nginx", kind=LNKTYPE, link="usr/bin/dash"),
    ]


@pytest.fixture
def problems():
    check = StartCheck()
    passed = [(member.path, member.content and member.content.read()) for member in check.observe(tree())]
    assert passed == [(each.path, each.content and each.content.getvalue()) for each in tree()]
    return lambda **said: check.problems(Start(**{"path": PATH, **said}), "amd64")


FINE = [
    {},
    {"cmd": ("sh", "-c", "nosuch")},
    {"cmd": ("/bin/sh",)},
    {"cmd": ("nginx",), "user": "app"},
    {"entrypoint": ("dash",), "cmd": ("no program",)},
    {"cmd": ("./good",), "workdir": "/opt"},
    {"cmd": ("good",), "workdir": "/opt", "path": "/usr/bin:."},
    {"cmd": ("opt/i386",)},
    {"cmd": ("/opt/staffs",), "user": "app"},
    {"cmd": ("/opt/staffs",), "user": "7:staff"},
    {"cmd": ("/closed/tool",), "user": "0:0"},
    {"user": "12345:678"},
    {"user": "1000"},
    {"workdir": "/new/folder"},
]


@pytest.mark.parametrize("said", FINE)
def test_containers_that_start(problems, said):
    assert problems(**said) == []


REFUSED = [
    ({"user": "nosuch"}, "user", "the image has no user 'nosuch'. It has: root, app."),
    ({"user": "ap"}, "user", "the image has no user 'ap'. Did you mean 'app'? It has: root, app."),
    ({"user": "app:stuff"}, "user", "the image has no group 'stuff'. Did you mean 'staff'? It has: root, app, staff."),
    ({"workdir": "/usr/bin/sh"}, "workdir", "a container cannot start in /usr/bin/sh: /usr/bin/dash is no folder"),
    ({"workdir": "/opt/arm/x"}, "workdir", "a container cannot start in /opt/arm/x: /opt/arm is no folder"),
    (
        {"cmd": ("nosuchprog",)},
        "cmd",
        "there is no program 'nosuchprog' in the folders of PATH (/usr/bin:/bin).",
    ),
    (
        {"entrypoint": ("ngink",), "cmd": ("x",)},
        "entrypoint",
        "there is no program 'ngink' in the folders of PATH (/usr/bin:/bin). Did you mean 'nginx'?",
    ),
    ({"cmd": ("sh",), "path": "/sbin"}, "cmd", "there is no program 'sh' in the folders of PATH (/sbin)."),
    ({"cmd": ("/opt/god",)}, "cmd", "'/opt/god' is not in the image. Did you mean 'good'?"),
    ({"cmd": ("/opt/away",)}, "cmd", "'/opt/away', which leads to /gone/tool, is not in the image."),
    ({"cmd": ("/opt/round",)}, "cmd", "'/opt/round' is not in the image."),
    ({"cmd": ("/closed",)}, "cmd", "'/closed' is a folder, not a program"),
    ({"cmd": ("/opt/readable",)}, "cmd", "'/opt/readable' is not executable: its mode is 0644"),
    ({"cmd": ("readable",), "path": "/opt"}, "cmd", "'readable' is not executable: its mode is 0644"),
    (
        {"cmd": ("/opt/roots",), "user": "app"},
        "cmd",
        "'/opt/roots' is not executable for the user 'app': its mode is 0700",
    ),
    (
        {"cmd": ("/closed/tool",), "user": "app"},
        "cmd",
        "the user 'app' may not look into /closed, where '/closed/tool' is",
    ),
    *(
        (
            {"cmd": (name,), "path": "/opt"},
            "cmd",
            ": ".join([f"'{shown}' begins with `#!{line}`" for shown in [name, *[again] * 4]])
            + ": more than 4 scripts are each other's interpreters",
        )
        for name, again, line in [
            ("circle", "circle", "/usr/bin/env circle"),
            ("splits", "/opt/splits", "/usr/bin/env -S A=b /opt/splits"),
        ]
    ),
    ({"user": "²"}, "user", "the image has no user '²'. It has: root, app."),
    ({"user": "9" * 5000}, "user", f"the image has no user '{'9' * 5000}'. It has: root, app."),
    ({"user": "app:²"}, "user", "the image has no group '²'. It has: root, app, staff."),
    ({"cmd": ("/opt/arm",)}, "cmd", "'/opt/arm' is a program for arm64, not for amd64"),
    ({"cmd": ("/opt/plain",)}, "cmd", "'/opt/plain' is no program: it begins neither as an ELF file nor with `#!`"),
    ({"cmd": ("/opt/empty",)}, "cmd", "'/opt/empty' is no program: it begins neither as an ELF file nor with `#!`"),
    (
        {"cmd": ("/opt/crlf",)},
        "cmd",
        "the first line of '/opt/crlf' ends as on Windows (CR LF): no interpreter has that name",
    ),
    (
        {"cmd": ("/opt/nobash",)},
        "cmd",
        "'/opt/nobash' begins with `#!/bin/bash -e`: '/bin/bash' is not in the image. Did you mean 'dash'?",
    ),
    (
        {"cmd": ("/opt/env",)},
        "cmd",
        "'/opt/env' begins with `#!/usr/bin/env python4`: there is no program 'python4' in the folders of PATH"
        " (/usr/bin:/bin).",
    ),
]


@pytest.mark.parametrize(("said", "setting", "why"), REFUSED)
def test_containers_that_do_not_start(problems, said, setting, why):
    assert problems(**said) == [(setting, why)]


def test_contents_that_cannot_be_looked_into_are_believed():
    class Stream(io.RawIOBase):
        pass

    check = StartCheck()
    list(check.observe([Member("tool", mode=0o755, size=5, content=Stream())]))
    assert check.problems(Start(cmd=("/tool",)), "amd64") == []


def long_names():
    return [file(f"usr/bin/{'ab' * half}{number:05}", elf(AMD64)) for half in (29, 87) for number in range(20_000)]


def long_chains():
    far = "../" * 600 + "usr/bin/"
    chain = [Member(f"usr/bin/c{number}", kind=SYMTYPE, link=f"{far}c{number + 1}") for number in range(38)]
    links = [Member(f"usr/bin/nginx{number}", kind=SYMTYPE, link=f"{far}c0") for number in range(5_000)]
    return [*chain, file("usr/bin/c38", elf(AMD64)), *links]


@pytest.mark.parametrize(
    ("hostile", "word"), [(long_names, "ab" * 90), (long_names, "ab" * 32), (long_chains, "nginy")]
)
def test_the_hint_takes_little_time_whatever_names_and_links_the_tree_has(hostile, word):
    check = StartCheck()
    for _ in check.observe(hostile()):
        pass
    start = time.process_time()
    [(_, why)] = check.problems(Start(path=PATH, cmd=(word,)), "amd64")
    assert why.startswith(f"there is no program '{word}'")
    assert time.process_time() - start < 3
