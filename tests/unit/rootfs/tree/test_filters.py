"""Path filters, for files, folders and hard links."""

import io
import tarfile

import pytest

from rootfs.recipe.debootstrap import DebootstrapRecipe
from rootfs.tree.filters import FILTERS, Rules, dpkg_rules, filter_lines, filter_list, filtered
from rootfs.tree.member import Member

D, L = tarfile.DIRTYPE, tarfile.LNKTYPE


def tree(*paths):
    """Members from paths; one that ends in a slash is a folder, `a=b` is a hard link a to b."""
    for path in paths:
        name, _, target = path.partition("=")
        if path.endswith("/"):
            yield Member(path.rstrip("/"), kind=D)
        elif target:
            yield Member(name, kind=L, link=target)
        else:
            yield Member(name, size=len(name), content=io.BytesIO(name.encode()))


def left(rules, *paths):
    return [member.path for member in filtered(tree(*paths), Rules.parse(rules))]


def test_the_last_rule_that_matches_decides():
    rules = ["exclude /a/*", "include /a/b*", "exclude /a/bad"]
    assert left(rules, "a/", "a/b", "a/bad", "a/c", "d") == ["a", "a/b", "d"]


def test_a_folder_stays_when_something_below_it_is_kept():
    rules = ["exclude /usr/share/doc/*", "include /usr/share/doc/*/copyright"]
    paths = (
        "usr/share/doc/",
        "usr/share/doc/a/",
        "usr/share/doc/a/README",
        "usr/share/doc/a/copyright",
        "usr/share/doc/b/",
    )
    assert left(rules, *paths) == ["usr/share/doc", "usr/share/doc/a", "usr/share/doc/a/copyright"]


def test_a_documentation_folder_of_which_nothing_stays_goes_and_links_between_packages_stay():
    members = (
        "doc/",
        "doc/perl/",
        "doc/perl/AUTHORS.gz",
        "doc/bash/",
        "doc/bash/copyright",
        "doc/bash/NEWS",
        "man/man1/",
    )
    paths = [f"usr/share/{each}" for each in members] + ["usr/share/doc/libgcc"]
    rules = Rules.named(["docs", "man", "locales"])
    assert [member.path.removeprefix("usr/share/") for member in filtered(tree(*paths), rules)] == [
        "doc",
        "doc/bash",
        "doc/bash/copyright",
        "man/man1",
        "doc/libgcc",
    ]
    assert "path-exclude-folders" not in dpkg_rules(filter_list("docs"))


def test_a_hard_link_to_an_excluded_file_becomes_the_file():
    members = {
        m.path: (m.kind, m.link, m.content and m.content.read(m.size))
        for m in filtered(
            tree("drop/x", "drop/y", "keep/y=drop/y", "keep/z=drop/y", "q"), Rules.parse(["exclude /drop/*"])
        )
    }
    assert members["keep/y"] == (tarfile.REGTYPE, "", b"drop/y")
    assert members["keep/z"][:2] == (L, "keep/y")
    assert list(members) == ["keep/y", "keep/z", "q"]


@pytest.mark.parametrize("name", sorted(path.stem for path in FILTERS.glob("*.list")))
def test_every_list_that_comes_along_can_be_read_and_does_something(name):
    assert Rules.named([name]).steps


SLIM = {
    "usr/share/doc/bash/README.gz": False,
    "usr/share/doc/bash/copyright": True,
    "usr/share/man/man1": True,
    "usr/share/man/man1/bash.1.gz": False,
    "usr/share/man/de/man1/bash.1.gz": False,
    "usr/share/locale/de/LC_MESSAGES/bash.mo": False,
    "usr/share/locale/locale.alias": True,
    "usr/bin/bash": True,
    "usr/lib/locale/C.utf8/LC_CTYPE": True,
}


@pytest.mark.parametrize("path", SLIM)
def test_the_slim_lists_drop_documentation_and_keep_licences(path):
    assert Rules.named(["docs", "man", "locales"]).keeps(path) is SLIM[path]


def test_a_recipes_own_rules_come_after_its_lists_and_are_dpkgs_too():
    paths = {"exclude": ("/opt/*",), "include": ("/usr/share/man/man1/*",)}
    said = {"name": "r", "kind": "debootstrap", "suite": "s", "slim": ("man",), "paths": paths}
    recipe = DebootstrapRecipe.model_validate(said)
    rules = Rules.of(recipe.filters)
    assert [rules.keeps(path) for path in ("opt/a", "usr/share/man/man1/a", "usr/share/man/man8/b")] == [
        False,
        True,
        False,
    ]
    assert dpkg_rules(filter_lines(recipe.filters)).splitlines() == [
        "path-exclude=/usr/share/man/*",
        "path-include=/usr/share/man/man[1-9]",
        "path-exclude=/opt/*",
        "path-include=/usr/share/man/man1/*",
    ]


def test_without_rules_dpkg_is_not_configured():
    assert dpkg_rules(["# a comment", ""]) == ""
