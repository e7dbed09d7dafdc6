"""Unpacked packages in a tree, without the files to leave out."""

import hashlib
import os
import tarfile
import time

import pytest

from rootfs.errors import InputError
from rootfs.tree.inventory import Inventory
from tests.support.debian import Deb

TOOL = Deb(
    "tool",
    "1:2-3",
    files={"usr/bin/tool": "#!/bin/sh\n", "usr/share/doc/tool/copyright": "free", "usr/share/doc/tool/README": "long"},
    scripts={"postinst": "#!/bin/sh\nexit 1\n", "md5sums": "0123  usr/bin/tool\n4567  usr/share/doc/tool/README\n"},
    links={"usr/bin/also": "tool"},
)
OLD = Deb("old", files={"bin/old": "old", "lib/old.so": "so", "sbin/fsck": "fsck"})


def test_a_package_is_there_without_its_documentation_and_no_script_has_run(make):
    made = make("suite: trixie\npackages: [tool]\n", TOOL)
    status = "var/lib/dpkg/status.d/tool"
    assert made.files == {
        "bin",
        "usr/bin/tool",
        "usr/bin/also",
        "usr/share/doc/tool/copyright",
        status,
        f"{status}.md5sums",
    }
    assert made.links == {"usr/bin/also": "tool", "bin": "usr/bin"}
    assert made.contents[f"{status}.md5sums"] == b"0123  usr/bin/tool\n"
    assert made.contents[status].decode() == TOOL.control
    assert [member.path for member in made.members] == sorted(member.path for member in made.members)


def test_scanners_and_our_inventory_find_the_packages(make):
    inventory = Inventory()
    made = make("suite: trixie\npackages: [tool, old]\n", TOOL, OLD)
    list(inventory.observe(m.with_content(made.contents[m.path]) if m.content else m for m in made.members))
    assert inventory.packages() == {"old:all": "1", "tool:all": "1:2-3"}


def test_folders_outside_usr_are_links_into_it(make):
    made = make("suite: trixie\npackages: [old]\n", OLD)
    assert made.links == {"bin": "usr/bin", "lib": "usr/lib", "sbin": "usr/sbin"}
    assert {"usr/bin/old", "usr/lib/old.so", "usr/sbin/fsck"} <= set(made.contents)


def test_a_file_of_the_recipe_in_such_a_folder_is_found_there_too(make):
    text = "suite: trixie\npackages: [data]\nfiles: [{path: /bin/run, content: x}]\n"
    made = make(text, Deb("data", files={"usr/share/data": "x"}))
    assert made.contents["usr/bin/run"] == b"x"
    assert made.links == {"bin": "usr/bin"}


def test_a_recipe_without_packages_says_itself_where_things_are(make):
    made = make("files: [{path: /bin/run, content: x}]\n")
    assert made.files == {"bin/run"}


def test_hard_links_stay_and_those_to_what_is_left_out_become_files(make):
    deb = Deb("twins", files={"opt/a": "same"}, hard={"opt/b": "opt/a", "opt/c": "opt/a"})
    made = make("suite: trixie\npackages: [twins]\n", deb)
    assert list(made.contents.values()).count(b"same") == 1
    assert [made[path].kind for path in ("opt/a", "opt/b", "opt/c")].count(tarfile.LNKTYPE) == 2
    [first] = [path for path, data in made.contents.items() if data == b"same"]
    made = make(f"suite: trixie\npackages: [twins]\npaths: {{exclude: [/{first}]}}\n", deb)
    others = {"opt/a", "opt/b", "opt/c"} - {first}
    assert {made.contents.get(path, made[path].link) for path in others} <= {b"same", *others}
    assert any(made.contents.get(path) == b"same" for path in others)


def test_several_packages_have_the_same_folder(make):
    other = Deb("other", files={"usr/bin/other": ""})
    made = make("suite: trixie\npackages: [tool, other]\n", TOOL, other)
    assert {"usr/bin/tool", "usr/bin/other"} <= made.files
    assert [member.path for member in made.members].count("usr/bin") == 1


def test_two_packages_with_one_path_clash(make):
    thief = Deb("thief", files={"usr/bin/tool": ""})
    with pytest.raises(InputError, match="/usr/bin/tool: both thief and tool have it"):
        make("suite: trixie\npackages: [tool, thief]\n", TOOL, thief)
    made = make("suite: trixie\npackages: [tool, thief]\npaths: {exclude: [/usr/bin/tool]}\n", TOOL, thief)
    assert "usr/bin/tool" not in made.files


def test_a_package_with_a_folder_where_another_has_a_file(make):
    with pytest.raises(InputError, match="have it"):
        make("suite: trixie\npackages: [tool, deep]\n", TOOL, Deb("deep", files={"usr/bin/tool/x": ""}))


def test_the_recipes_files_lie_over_the_packages(make):
    made = make("suite: trixie\npackages: [tool]\nfiles: [{path: /usr/bin/tool, content: mine}]\n", TOOL)
    assert made.contents["usr/bin/tool"] == b"mine"
    assert made.contents["var/lib/dpkg/status.d/tool.md5sums"] == b""


@pytest.mark.parametrize("path", ["/usr/bin", "/usr/bin/tool/x", "/usr/bin/also/x"])
def test_a_file_that_cannot_be_there_is_refused(make, path):
    with pytest.raises(InputError, match="/usr/bin"):
        make(f"suite: trixie\npackages: [tool]\nfiles: [{{path: {path}, content: x}}]\n", TOOL)


def test_the_tree_is_the_same_on_another_machine(make, monkeypatch):
    text = "suite: trixie\npackages: [tool, old]\ningredients: [users, tmp]\nfiles: [{path: /x, from: x}]\n"

    def seen():
        made = make(text, TOOL, OLD, x="x")
        plain = [(m.path, m.kind, m.mode, m.uid, m.gid, m.size, m.link) for m in made.members]
        return hashlib.sha256(repr((plain, made.contents)).encode()).hexdigest()

    usual = seen()
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    mask = os.umask(0o077)
    try:
        assert seen() == usual
    finally:
        os.umask(mask)
