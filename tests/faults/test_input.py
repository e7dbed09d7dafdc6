"""Mistakes in input: nothing is built, and the message has the place and a hint."""

from __future__ import annotations

import pytest

from tests.faults import archives
from tests.support.outcome import complains

PACKAGES = f"kind: debootstrap\nsuite: {archives.SUITE}\npockets: []\n"
WRONG = {
    "unknown key": (
        "kind: debootstrap\nsuite: trixie\nincldue: [bc]\n",
        ("wrong.yaml:3:1: unknown key 'incldue'", "Did you mean 'include'?"),
    ),
    "wrong type": (
        "kind: debootstrap\nsuite: trixie\ninclude: bc\n",
        ("wrong.yaml:3:10: expected a list of strings, found a string",),
    ),
    "not YAML": ("kind: [scratch\n", ("wrong.yaml:",)),
    "unknown suite": (
        "kind: debootstrap\nsuite: trixy\n",
        ("wrong.yaml:2:8: no distribution has a suite 'trixy'", "Did you mean 'trixie'?"),
    ),
}


@pytest.mark.parametrize(("recipe", "words"), WRONG.values(), ids=WRONG)
def test_a_wrong_recipe_is_reported(site, recipe, words):
    site.recipe("wrong", recipe)
    complains(site.run("build", "wrong"), 2, *words)


LATE = {
    "an owner without an account": (
        "kind: scratch\nfiles: [{path: /x, content: x, owner: 'app:app'}]\n",
        2,
        ("late.yaml:2:39: /x: the image has no user 'app'",),
    ),
    "a tool that no package has": (
        "kind: scratch\ntools: [dpkg, no-such]\nbuild: [[no-such]]\nfiles: [{path: /x, from: x}]\n",
        3,
        ("late.yaml:2:15: not installed: no-such", "apt knows no package 'no-such'", "is in none of /usr/local/sbin:"),
    ),
    "a program that is not there": (
        "kind: scratch\nbuild: [['true'], [no-such]]\nfiles: [{path: /x, from: x}]\n",
        3,
        ("late.yaml:2:20: no-such is not installed in /usr/local/sbin:",),
    ),
}


@pytest.mark.parametrize(("recipe", "status", "words"), LATE.values(), ids=LATE)
def test_what_is_found_late_has_its_place_in_the_recipe(site, recipe, status, words):
    site.recipe("late", recipe)
    complains(site.run("build", "late"), status, *words)


def test_an_unknown_recipe(site):
    complains(site.run("build", "tinny"), 2, "there is no recipe 'tinny'", "Did you mean 'tiny'?")


def test_one_unknown_name_ends_the_command_before_any_build(site):
    done = site.run("build", "tiny", "tinny", "--force")
    complains(done, 2, "there is no recipe 'tinny'")
    assert "✓" not in done.stderr


def test_json_has_the_failure_too(site):
    site.recipe("wrong", "kind: debootstrap\nsuite: trixy\n")
    done = site.run("build", "wrong", "--json")
    assert (done.status, done.json[0]["status"]) == (2, "failed")
    assert "no distribution has a suite 'trixy'" in done.json[0]["reason"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("build", "tiny", "--engine", "debbootstrap"), "--engine"),
        (("build", "tiny", "--forse"), "--force"),
        (("build",), "IMAGE"),
        (("bild", "tiny"), "bild"),
    ],
)
def test_a_wrong_option(site, words, named):
    done = site.run(*words)
    assert done.status == 2
    assert named in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [("build", "tiny", "--builder"), ("list", "--recipes"), ("log",), ("validate",)])
def test_an_argument_that_is_not_utf_8(site, words):
    complains(site.run(*words, "a\udcff\x1b"), 2, r"the argument a\xff\x1b is not UTF-8 text")


def test_an_unknown_setting(site):
    (site.folder / "baseforge.toml").write_text('# ours\nstorre = "/srv/images"\n')
    complains(site.run("build", "tiny"), 2, "baseforge.toml:2:1: unknown setting 'storre'", "Did you mean 'store'?")


@pytest.mark.parametrize(("name", "value"), [("BASEFORGE_MIRRORS", "http://127.0.0.1"), ("BASEFORGE_STORE", "ftp://x")])
def test_a_setting_with_a_wrong_value(site, name, value):
    complains(site.run("build", "tiny", env={name: value}), 2)


def test_a_suite_that_the_archive_lacks(site):
    site.recipe("packages", PACKAGES)
    with archives.empty() as address:
        done = site.run("build", "packages", env=archives.mirrored(address))
    complains(
        done, 2, "packages.yaml:2:8: ", f"neither InRelease nor Release is in {address}/dists/trixie", "Check `suite`"
    )
    assert done.stderr.count("✗ resolve") == 1


def test_a_package_that_does_not_exist(site):
    site.recipe("packages", PACKAGES + "include: [no-such-thing]\n")
    done = site.run("build", "packages")
    complains(done, 2, "trixie (main) has no package 'no-such-thing'", "packages.yaml:4:11: ")
    assert done.stderr.count("✗ resolve") == 1
