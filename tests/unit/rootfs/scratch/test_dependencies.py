"""A scratch image takes from dependencies only what it needs."""

import base64

import pytest

from rootfs.errors import InputError
from tests.support.debian import Deb
from tests.support.elves import elf
from tests.support.scratch import LIB, LINKER

LIBC = Deb(
    "libc6",
    architecture="amd64",
    programs={
        f"lib64/{LINKER.rpartition('/')[2]}": elf(soname="ld-linux-x86-64.so.2"),
        "lib/x86_64-linux-gnu/libc.so.6": elf(soname="libc.so.6", provides=["libc.so.6", "GLIBC_2"]),
        f"{LIB}/libm.so.6": elf("libc.so.6", soname="libm.so.6"),
        f"{LIB}/libnss_compat.so.2": elf("libc.so.6"),
    },
    files={"usr/share/doc/libc6/copyright": "lgpl", "usr/bin/iconv": "x"},
)
LIBX = Deb(
    "libx",
    programs={f"{LIB}/libx.so.1.2": elf("libm.so.6", soname="libx.so.1"), f"{LIB}/liby.so.1": elf()},
    links={f"{LIB}/libx.so.1": "libx.so.1.2", "usr/share/doc/libx": "x-common"},
)
COMMON = Deb("x-common", files={"usr/share/doc/x-common/copyright": "gpl", "usr/share/x": "data"})


def program(*needed, **more):
    return elf(*needed, interpreter=LINKER, **more)


def tool(*needed, **more):
    return Deb("tool", programs={"usr/bin/tool": program(*needed, **more)})


TOOL = "suite: trixie\npackages: [tool]\n"


def libraries(made):
    return {path.rpartition("/")[2] for path in made.files if ".so" in path}


def test_only_linked_libraries_and_their_licenses_are_added(make):
    made = make(TOOL, tool("libx.so.1"), needed=(LIBC, LIBX, COMMON))
    assert libraries(made) == {
        "ld-linux-x86-64.so.2",
        "libc.so.6",
        "libm.so.6",
        "libx.so.1",
        "libx.so.1.2",
    }
    assert made.links["usr/share/doc/libx"] == "x-common"
    assert made.contents["usr/share/doc/x-common/copyright"] == b"gpl"
    assert made.contents["usr/share/doc/libc6/copyright"] == b"lgpl"
    assert not {"usr/share/x", "usr/bin/iconv"} & made.files
    assert {"tool", "libc6", "libx", "x-common"} == {
        p.split("/")[-1] for p in made.files if "status.d/" in p and "." not in p.split("/")[-1]
    }


def test_the_licence_of_a_whole_package_is_found_through_a_linked_folder(make):
    made = make("suite: trixie\npackages: [libx]\n", LIBX, needed=(LIBC, COMMON))
    assert made.links["usr/share/doc/libx"] == "x-common"
    assert made.contents["usr/share/doc/x-common/copyright"] == b"gpl"


def test_unneeded_files_are_not_added(make):
    made = make(TOOL, Deb("tool", files={"usr/bin/tool": "x"}), needed=(LIBC, LIBX, COMMON))
    assert libraries(made) == set()


@pytest.mark.parametrize(
    "how", [{"runpath": "$ORIGIN/../lib/own"}, {"rpath": "${ORIGIN}/../lib/own"}, {"rpath": "/usr/lib/own"}]
)
def test_libraries_are_found_where_a_program_looks(make, how):
    own = Deb("own", programs={"usr/lib/own/libown.so": elf(soname="libown.so")})
    other = Deb("other", programs={"usr/lib/other/libown.so": elf(soname="libown.so")})
    made = make(TOOL, tool("libown.so", **how), needed=(LIBC, other, own))
    assert {path for path in made.files if "libown" in path} == {"usr/lib/own/libown.so"}


def test_a_folder_of_ld_so_conf_is_one_where_the_image_has_its_cache(make):
    blas = Deb(
        "blas", files={"etc/ld.so.conf.d/blas.conf": "/usr/lib/blas\n"}, programs={"usr/lib/blas/libblas.so.3": elf()}
    )
    text = "suite: trixie\npackages: [tool, conf]\ningredients: [linker-cache]\n"
    conf = Deb("conf", files=blas.files)
    made = make(text, tool("libblas.so.3"), conf, needed=(LIBC, Deb("blas", programs=blas.programs)))
    assert "usr/lib/blas/libblas.so.3" in made.files
    assert b"/usr/lib/blas/libblas.so.3" in made.contents["etc/ld.so.cache"]


def test_a_hard_linked_library_is_whole(make):
    pair = Deb("pair", programs={f"{LIB}/liba.so": elf(soname="liba.so")}, hard={f"{LIB}/libb.so": f"{LIB}/liba.so"})
    for name in ("liba.so", "libb.so"):
        made = make(TOOL, tool(name), needed=(LIBC, pair))
        assert any(path in made.contents for path in (f"{LIB}/liba.so", f"{LIB}/libb.so"))
        assert f"{LIB}/{name}" in made.files


def test_opened_libraries_come_with_what_they_are_linked_with(make):
    made = make(
        "suite: trixie\npackages: [tool]\nlibraries: [libx]\nopened: [libx.so.1]\n", tool(), LIBX, needed=(LIBC, COMMON)
    )
    assert {"libx.so.1", "libx.so.1.2", "libm.so.6"} <= libraries(made)
    assert "liby.so.1" not in libraries(made)


def test_an_opened_library_that_nothing_has_is_named(make):
    with pytest.raises(InputError, match=r"libz.so.1, named in `opened`, is in none"):
        make("suite: trixie\npackages: [tool]\nopened: [libz.so.1]\n", tool(), needed=(LIBC,))


NSS = "suite: trixie\npackages: [tool]\nfiles: [{path: /etc/nsswitch.conf, content: '%s'}]\n"


def test_the_name_services_of_nsswitch_conf_are_added(make):
    made = make(
        NSS % "passwd: files [!UNAVAIL=return] compat # not nis\\nhosts: files dns", tool("libc.so.6"), needed=(LIBC,)
    )
    assert "libnss_compat.so.2" in libraries(made)
    with pytest.raises(InputError, match=r"libnss_nis.so.2, for nis in /etc/nsswitch.conf"):
        make(NSS % "passwd: nis", tool("libc.so.6"), needed=(LIBC,))


SHELL = Deb(
    "dash", programs={"bin/dash": program("libc.so.6"), "usr/bin/env": program("libc.so.6")}, links={"bin/sh": "dash"}
)
SCRIPTS = {
    "plain": ("#!/bin/sh -e", {"sh", "dash"}),
    "a space": ("#! /usr/bin/sh", {"sh", "dash"}),
    "env": ("#!/usr/bin/env sh", {"env", "sh", "dash"}),
    "env -S": ("#!/bin/env -S A=b dash -u", {"env", "dash"}),
    "no script": ("plain text", set()),
}


@pytest.mark.parametrize(("line", "brought"), SCRIPTS.values(), ids=SCRIPTS)
def test_scripts_bring_their_interpreter(make, line, brought):
    text = "suite: trixie\nlibraries: [dash]\nfiles: [{path: /run, from: run}]\n"
    made = make(text, SHELL, needed=(LIBC,), run=f"{line}\necho\n")
    assert {path.rpartition("/")[2] for path in made.files if path.startswith("usr/bin/")} == brought
    assert ("libc.so.6" in libraries(made)) == bool(brought)


@pytest.mark.parametrize("line", ["#!/usr/bin/perl", "#!/usr/bin/env perl"])
def test_an_interpreter_that_nothing_has_is_named(make, line):
    with pytest.raises(InputError, match="perl"):
        make("suite: trixie\nlibraries: [dash]\nfiles: [{path: /run, from: run}]\n", SHELL, run=f"{line}\n")


def test_a_program_that_was_built_finds_its_libraries(make):
    app = base64.b64encode(program("libx.so.1")).decode()
    text = f"suite: trixie\nlibraries: [libx]\nbuild: [[sh, -c, 'echo {app} | base64 -d >app']]\n"
    text += "files: [{path: /app, from: app}]\n"
    made = make(text, LIBX, needed=(LIBC, COMMON))
    assert {"libx.so.1", "libx.so.1.2", "libm.so.6", "libc.so.6", "ld-linux-x86-64.so.2"} == libraries(made)
