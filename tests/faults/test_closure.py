"""Images that lack a library: nothing is published, and the library is named."""

from __future__ import annotations

import json

from tests.support.outcome import complains

COPY = "kind: scratch\nbuild: [[cp, /bin/ls, ls]]\nfiles: [{path: /bin/ls, from: ls}]\nsmoke: []\n"
WITHOUT = "paths: {exclude: ['/usr/lib/*/libselinux.so.1']}\n"
BROKEN = f"kind: debootstrap\nsuite: trixie\npockets: []\nvariant: essential\n{WITHOUT}"


def test_a_program_without_its_libraries(site):
    site.recipe("lonely", COPY)
    done = site.run("build", "lonely")
    complains(done, 1, "libraries are missing in the image", "/bin/ls needs libc.so.6", "`unlinked: [/bin/ls]`")
    assert "✗ closure" in done.stderr


def test_a_package_is_named_that_has_what_is_missing(site):
    site.recipe("broken", BROKEN)
    done = site.run("build", "broken", "--json")
    assert done.status == 1
    reason = json.loads(done.stdout)[0]["reason"]
    assert "needs libselinux.so.1, which is in the package libselinux1" in reason
    assert "/usr/bin/" in reason


def test_files_that_nothing_runs_may_lack_libraries(site):
    site.recipe("lonely", COPY + "unlinked: ['/bin/*']\n")
    done = site.run("build", "lonely", "--no-publish")
    assert done.status == 0, done.stderr
    assert "✓ closure lonely/amd64" in done.stderr
