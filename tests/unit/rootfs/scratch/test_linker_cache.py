"""ld.so.cache has the entries that ldconfig writes and reads."""

import subprocess
import tarfile

from tests.support.debian import Deb
from tests.support.elves import elf
from tests.support.scratch import LIB

NAMES = ("libz.so.1", "liba.so.10", "liba.so.9", "libA.so.2", "libab.so", "libx-1.so.3", "libx.so.3")
DEB = Deb(
    "libs",
    programs={
        **{f"{LIB}/{name}": elf(soname=name) for name in NAMES},
        f"{LIB}/libreal.so.1.2.3": elf(soname="libreal.so.1"),
        f"{LIB}/plugin.so": elf(),
        "usr/lib/libplain.so.1": elf(soname="libplain.so.1"),
        "opt/own/libown.so.1": elf(soname="libown.so.1"),
        "opt/other/libother.so.1": elf(soname="libother.so.1"),
    },
    hard={f"{LIB}/libtwin.so.1": f"{LIB}/libz.so.1"},
    links={
        f"{LIB}/libodd.so.7": "libz.so.1",
        f"{LIB}/libreal.so.1": "libreal.so.1.2.3",
        f"{LIB}/libreal.so": "libreal.so.1",
    },
    files={
        f"{LIB}/libscript.so": "GROUP ( libc.so.6 )",
        "etc/ld.so.conf": "include /etc/ld.so.conf.d/*.conf\n",
        "etc/ld.so.conf.d/own.conf": "# ours\n/opt/own\n/lib/x86_64-linux-gnu\n/usr/lib/x86_64-linux-gnu\n",
    },
)


def printed(*words):
    """The entries that ldconfig shows of a cache, in its order."""
    done = subprocess.run(["/sbin/ldconfig", *words, "-p"], check=True, capture_output=True, text=True)
    return [line.strip() for line in done.stdout.splitlines() if "=>" in line]


def test_ldconfig_reads_the_entries_that_it_would_have_written(make, tmp_path):
    made = make("suite: trixie\npackages: [libs]\ningredients: [linker-cache]\n", DEB)
    root = tmp_path / "root"
    for member in sorted(made.members, key=lambda each: each.kind == tarfile.LNKTYPE):
        place = root / member.path
        if member.is_folder:
            place.mkdir(parents=True, exist_ok=True)
        elif member.path in made.links:
            place.symlink_to(member.link)
        elif member.kind == tarfile.LNKTYPE:
            place.hardlink_to(root / member.link)
        elif member.path != "etc/ld.so.cache":
            place.write_bytes(made.contents[member.path])
    ours = tmp_path / "ours"
    ours.write_bytes(made.contents["etc/ld.so.cache"])
    subprocess.run(["/sbin/ldconfig", "-X", "-r", root], check=True, capture_output=True)
    mine, theirs = printed("-C", str(ours)), printed("-C", str(root / "etc/ld.so.cache"))
    assert mine == [line.replace("=> /lib/", "=> /usr/lib/") for line in theirs]
    assert not any("libother" in line for line in mine)


def test_without_libraries_there_is_none(make):
    assert "etc/ld.so.cache" not in make("ingredients: [linker-cache, users]\n").files
