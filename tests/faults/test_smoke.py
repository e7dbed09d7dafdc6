"""Images and commands that fail their checks: nothing is published, and the output is kept."""

from __future__ import annotations

from tests.support import recipes
from tests.support.outcome import complains


def test_a_failing_check_fails_the_build(site, probe):
    recipes.checked(site, "bad", probe, "run: [/probe, both]", "{run: [/probe, say, moon], stdout: ^sun$}")
    done = site.run("build", "bad")
    complains(done, 1, "1 of 2 smoke checks failed; nothing was published", "| moon", "'^sun$'")
    assert "✗ smoke bad" in done.stderr
    assert "✗" not in done.stderr.replace("✗ smoke", "")
    kept = site.run("log", "bad").stdout
    assert [line for line in ("$ /probe both", "to stderr", "moon") if line not in kept] == []


def test_a_check_that_hangs(site, probe):
    recipes.checked(site, "slow", probe, "{run: [/probe, spam, '1000000'], timeout: 2}", "{run: [/probe, say, done]}")
    done = site.run("build", "slow", timeout=60)
    complains(done, 1, "1 of 2 smoke checks failed", "it did not end within 2 s and was stopped", "| y")


def test_a_check_with_a_missing_command_fails(site, probe):
    recipes.checked(site, "lost", probe, "{run: [/nowhere]}")
    complains(site.run("build", "lost"), 1, "1 of 1 smoke checks failed", "it could not be started", "/nowhere")


def test_a_failure_as_json(site, probe):
    recipes.checked(site, "bad", probe, "{run: [/probe, exit, '3']}")
    done = site.run("build", "bad", "tiny", "--json")
    assert done.status == 1
    assert [record["status"] for record in done.json] == ["failed", "unchanged"]
    assert "exit status 3, expected 0" in done.json[0]["reason"]


def test_a_command_of_the_recipe_that_fails(site):
    recipes.commands(site, "bad", "echo first > made", "echo what; echo why >&2; exit 9")
    done = site.run("build", "bad")
    complains(done, 1, "sh failed with exit status 9", "| what", "| why")
    assert site.run("log", "bad").stdout.splitlines()[:2] == ["what", "why"]


def test_a_command_that_does_not_make_its_file(site):
    recipes.commands(site, "bad", "true")
    complains(site.run("build", "bad"), 1, "`build` did not make 'made'")
