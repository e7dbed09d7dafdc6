"""The filter lists of `slim`."""

from __future__ import annotations

from typing import get_args

import pytest

from rootfs.recipe.debootstrap import DebootstrapRecipe
from rootfs.tree.filters import FILTERS, Rules

NAMES = ("docs", "man", "locales")


def test_every_list_that_recipes_can_name_is_there():
    choices, _ = get_args(DebootstrapRecipe.model_fields["slim"].annotation)
    assert get_args(choices) == NAMES
    assert all((FILTERS / f"{name}.list").is_file() for name in NAMES)


@pytest.mark.parametrize("path", sorted(FILTERS.glob("*.list")), ids=lambda path: path.stem)
def test_every_rule_says_where_it_comes_from(path):
    lines = path.read_text().splitlines()
    assert lines[0].startswith("#")
    assert any(source in path.read_text() for source in ("debuerreotype", "mmdebstrap(1)", "Debian Policy"))
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules
    assert {line.split()[0] for line in rules} <= {"exclude", "exclude-files", "exclude-folders", "include"}
    assert all(line.split()[1].startswith("/") for line in rules)
    assert len(rules) == len(set(rules))


@pytest.mark.parametrize("names", [NAMES, NAMES[::-1]], ids=["in order", "reversed"])
@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("usr/share/doc", True),
        ("usr/share/doc/bash", True),
        ("usr/share/doc/bash/copyright", True),
        ("usr/share/doc/bash/changelog.Debian.gz", False),
        ("usr/share/doc/bash/examples/a", False),
        ("usr/share/doc/perl/examples/copyright", True),
        ("usr/share/doc/libgcc-s1", True),  # a link to gcc-14-base, which has the copyright file
        ("usr/share/info/dir.gz", False),
        ("usr/share/groff/1.22.4/tmac/an.tmac", False),
        ("usr/share/lintian/overrides/bash", False),
        ("usr/share/man", True),
        ("usr/share/man/man1", True),
        ("usr/share/man/man9", True),
        ("usr/share/man/man1/bash.1.gz", False),
        ("usr/share/man/de", False),
        ("usr/share/man/de/man1/apt.1.gz", False),
        ("usr/share/locale", True),
        ("usr/share/locale/locale.alias", True),
        ("usr/share/locale/de/LC_MESSAGES/apt.mo", False),
        ("usr/share/i18n/SUPPORTED", True),
        ("usr/share/common-licenses/GPL-3", True),
        ("usr/lib/locale/C.utf8/LC_CTYPE", True),
        ("usr/share/documents/x", True),
        ("bin/man", True),
    ],
)
def test_slim_leaves_out_what_it_names(names, path, kept):
    assert Rules.named(names).keeps(path) is kept
