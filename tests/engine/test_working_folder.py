"""Commands in a folder with another user's Prefect settings, which name a program to run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.factory import Factory
from tests.support.waiting import until

TINY = "kind: scratch\nfiles: [{path: /motd, content: hi}]\n"
LOGGING = """
version: 1
handlers:
  x: {"()": ext://subprocess.Popen, args: "touch FOLDER/run-by-prefect", shell: true}
root: {handlers: [x]}
"""
SETTINGS = {
    ".env": "PREFECT_LOGGING_SETTINGS_PATH=FOLDER/logging.yml\nPREFECT_PROFILES_PATH=FOLDER/profiles.toml\n",
    "prefect.toml": '[logging]\nsettings_path = "FOLDER/logging.yml"\n',
    "pyproject.toml": '[tool.prefect.logging]\nsettings_path = "FOLDER/logging.yml"\n',
    "profiles.toml": 'active = "x"\n[profiles.x]\nPREFECT_LOGGING_SETTINGS_PATH = "FOLDER/logging.yml"\n',
    "logging.yml": LOGGING,
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    """A site whose recipes are in such a folder; its data folder is named by a relative path."""
    folder = tmp_path_factory.mktemp("hostile")
    made = Factory(folder / "site", {"BASEFORGE_HOME": "../home", "BASEFORGE_LOCAL_NAME": "baseforge-folder"})
    made.folder.mkdir()
    made.recipe("tiny", TINY)
    for name, text in SETTINGS.items():
        (made.folder / name).write_text(text.replace("FOLDER", str(made.folder)))
    yield made
    made.run("stop")
    made.remove_images()


def was_run(site: Factory) -> bool:
    return (site.folder / "run-by-prefect").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("build", "tiny"),
        ("build", "tiny", "--force"),
        ("nightly",),
        ("verify", "tiny"),
        ("gc",),
        ("doctor", "--json"),
        ("page",),
        ("prefect", "config", "view"),
    ],
    ids=" ".join,
)
def test_no_command_takes_settings_of_prefect_from_there(site: Factory, words: tuple[str, ...]) -> None:
    done = site.run(*words, env={"BASEFORGE_STORE": "store"})
    assert not was_run(site)
    assert "run-by-prefect" not in done.stdout
    assert done.status == 0 or words[0] == "doctor", done.stderr
    assert site.builds(), "the relative path of the store means this folder"


def test_flow_runs_of_serve_do_not_read_it_either(site: Factory) -> None:
    before = site.builds()
    environment = {"BASEFORGE_STORE": "store", "PREFECT_RUNNER_POLL_FREQUENCY": "1"}
    with site.served(env=environment):
        done = site.run("prefect", "deployment", "run", "build/build", "--param", "image=tiny")
        assert done.status == 0, done.stderr
        runs = {"deployments": {"name": {"any_": ["build"]}}}
        until(
            lambda: [run["state_type"] for run in site.api.ask("POST", "flow_runs/filter", runs)] == ["COMPLETED"], 120
        )
    assert not was_run(site)
    assert site.builds() == before  # nothing has changed, as the same store says
    assert not list((site.folder.parent / "home/prefect").glob("store"))


def test_the_server_and_what_serves_work_in_a_private_folder(site: Factory) -> None:
    pages = site.run("page").stdout
    assert pages
    found = [
        (entry / "cwd").readlink()
        for entry in Path("/proc").glob("[0-9]*")
        if b"flows.orchestration.api_server" in _read(entry / "cmdline")
        and str(site.folder.parent).encode() in _read(entry / "environ")
    ]
    assert found == [site.folder.parent / "home/prefect"]


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""
