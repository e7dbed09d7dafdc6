"""The inventory of installed packages, read while the members pass."""

import io

import pytest

from rootfs.tree.errors import BadTree
from rootfs.tree.inventory import LARGEST, Inventory
from rootfs.tree.member import Member

STATUS = b"""\
Package: base-files
Status: install ok installed
Architecture: amd64
Version: 13.8
Description: files
 more: words

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: adduser
Status: install ok installed
Architecture: all
Version: 3.152
"""


def test_installed_packages_are_noted_and_the_file_goes_on_unchanged():
    inventory = Inventory()
    member = Member("var/lib/dpkg/status", size=len(STATUS), content=io.BytesIO(STATUS))
    [passed] = inventory.observe([member])
    assert passed.content.read() == STATUS
    assert inventory.packages() == {"adduser:all": "3.152", "base-files:amd64": "13.8"}


def test_a_tree_without_dpkg_has_no_packages():
    inventory = Inventory()
    assert list(inventory.observe([Member("hello", content=io.BytesIO())]))
    assert inventory.packages() == {}


APK = b"""\
C:Q1y5
P:musl
V:1.2.5-r0
A:x86_64
F:lib

C:Q1y6
P:busybox
V:1.36.1-r29
A:x86_64
"""
PACMAN = b"%NAME%\nacl\n\n%VERSION%\n2.3.2-1\n\n%BASE%\nacl\n\n%ARCH%\nx86_64\n"
DATABASES = [
    ("lib/apk/db/installed", APK, {"musl:x86_64": "1.2.5-r0", "busybox:x86_64": "1.36.1-r29"}),
    ("usr/lib/apk/db/installed", APK, {"musl:x86_64": "1.2.5-r0", "busybox:x86_64": "1.36.1-r29"}),
    ("var/lib/pacman/local/acl-2.3.2-1/desc", PACMAN, {"acl:x86_64": "2.3.2-1"}),
    ("var/lib/pacman/local/acl-2.3.2-1/desc", b"\xff%NAME%", {}),
    ("var/lib/dpkg/status", b"\n\nPackage\n: \xff\nStatus: a installed\n\n\n", {":": ""}),
]


def noted(*members):
    inventory = Inventory()
    passed = [
        member.content.read()
        for member in inventory.observe(
            [Member(path, size=len(data), content=io.BytesIO(data)) for path, data in members]
        )
    ]
    assert passed == [data for _, data in members]
    return inventory


@pytest.mark.parametrize(("path", "data", "packages"), DATABASES)
def test_other_databases_are_read_as_well(path, data, packages):
    assert noted((path, data)).packages() == packages


NAMES = [
    ([("etc/os-release", b'NAME=Alpine\nPRETTY_NAME="Alpine Linux v3.20"\n')], "Alpine Linux v3.20"),
    ([("usr/lib/os-release", b"NAME='Arch Linux'\n")], "Arch Linux"),
    ([("etc/os-release", b"PRETTY_NAME=a\n"), ("usr/lib/os-release", b"PRETTY_NAME=b\n")], "a"),
    ([("etc/os-release", b'PRETTY_NAME="no end\n')], '"no end'),
    ([("etc/os-release", b'PRETTY_NAME="\x1b[31m\xff"\n')], "\\x1b[31m\ufffd"),
    ([("etc/motd", b"NAME=x\n")], ""),
]


@pytest.mark.parametrize(("members", "name"), NAMES)
def test_a_tree_says_which_distribution_it_is(members, name):
    assert noted(*members).distribution == name


def test_a_database_larger_than_any_is_not_read():
    member = Member("var/lib/dpkg/status", size=LARGEST + 1, content=io.BytesIO(STATUS))
    with pytest.raises(BadTree, match="/var/lib/dpkg/status has"):
        list(Inventory().observe([member]))


def test_packages_of_images_without_dpkg_are_in_a_file_each():
    inventory = Inventory()
    texts = {
        "a": b"Package: a\nArchitecture: all\nVersion: 1\n",
        "a.md5sums": b"00  x\n",
        "b": STATUS.split(b"\n\n")[0],
    }
    list(inventory.observe(Member(f"var/lib/dpkg/status.d/{name}").with_content(text) for name, text in texts.items()))
    assert inventory.packages() == {"a:all": "1", "base-files:amd64": "13.8"}
