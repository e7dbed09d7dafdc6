"""The inventory: installed packages, noted while the members pass."""

import io

from rootfs.inventory import Inventory
from rootfs.members import Member

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
    [passed] = inventory.watching([member])
    assert passed.content.read() == STATUS
    assert inventory.packages() == {"adduser:all": "3.152", "base-files:amd64": "13.8"}


def test_a_tree_without_dpkg_has_no_packages():
    inventory = Inventory()
    assert list(inventory.watching([Member("hello", content=io.BytesIO())]))
    assert inventory.packages() == {}


def test_packages_of_images_without_dpkg_are_in_a_file_each():
    inventory = Inventory()
    texts = {
        "a": b"Package: a\nArchitecture: all\nVersion: 1\n",
        "a.md5sums": b"00  x\n",
        "b": STATUS.split(b"\n\n")[0],
    }
    list(inventory.watching(Member(f"var/lib/dpkg/status.d/{name}").holding(text) for name, text in texts.items()))
    assert inventory.packages() == {"a:all": "1", "base-files:amd64": "13.8"}
