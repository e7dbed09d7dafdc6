"""What users of well-known images rely on: promises that docker-library's official-images tests check.

Smoke tests of the shelf's recipes check those that need one image only, and `test_build.py` that packages install.
"""

from __future__ import annotations

import subprocess

import pytest

from tests.support.shelf import LOCAL_NAME, Shelf

# The time zone, accounts that have a password or need none, and folders without the license of a package.
LOOK = """
date +%Z
awk -F: '$2 !~ /^[!*x]/ { print "password", $1 }' /etc/shadow /etc/passwd
find /usr/share/doc -mindepth 1 -maxdepth 1 -type d -empty ! -name libssl3
"""  # Ubuntu's package libssl3t64 has the folder libssl3, without anything


@pytest.mark.parametrize("image", ["noble", "trixie", "trixie-slim"])
def test_an_image_has_utc_no_passwords_and_licenses_and_runs_another_command(shelf: Shelf, image: str) -> None:
    assert shelf.first.status == 0, shelf.first.stderr
    command = ["docker", "run", "--rm", "--network=none", f"{LOCAL_NAME}/{image}", "sh", "-ec", LOOK]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "UTC\n"
