"""A build without any network: everything comes from the pool and the stored package lists."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.factory import BASEFORGE, Factory
from tests.support.home import own_home

RECIPE = "kind: debootstrap\nsuite: trixie\nvariant: essential\nsmoke:\n  - run: ['true']\n"
# Nothing but a loopback, over which the command line talks to its own Prefect server.
CUT_OFF = ["unshare", "--net", "sh", "-ec", 'ip link set lo up && exec "$@"', "sh"]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Factory]:
    """A site with a data folder, and so a Prefect server, of its own."""
    made = Factory(tmp_path, {**own_home(tmp_path / "home"), "BASEFORGE_LOCAL_NAME": "offline"})
    made.recipe("small", RECIPE)
    yield made
    made.run("stop")
    made.remove_images()


def cut_off(site: Factory, *words: str) -> subprocess.CompletedProcess[str]:
    """The command line where no network is."""
    command = [*CUT_OFF, BASEFORGE, *words]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=300, cwd=site.folder, env=site.environment
    )


def test_a_build_runs_to_the_end(site: Factory) -> None:
    online = site.run("build", "small", "--json")
    assert online.status == 0, online.stderr
    assert site.run("stop").status == 0
    built = cut_off(site, "build", "small", "--offline", "--force", "--json")
    assert built.returncode == 0, built.stderr
    assert online.json[0]["manifest_digest"] in built.stdout
    assert cut_off(site, "stop").returncode == 0


def test_an_offline_build_without_package_lists_is_refused(site: Factory) -> None:
    refused = cut_off(site, "build", "small", "--offline")
    assert refused.returncode == 1, refused.stderr
    assert "offline" in refused.stderr
    assert "Traceback" not in refused.stderr
    cut_off(site, "stop")
