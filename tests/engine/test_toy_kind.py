"""A kind of recipe that is registered by one line becomes an image that runs, by the command line as it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support.factory import Factory
from tests.support.toy_kind import ROOT

RECIPE = """\
kind: toy
program: probe
image: {entrypoint: [/program]}
smoke: [{run: [say, hello], stdout: ^hello$}]
"""


def test_an_image_of_a_toy_kind_is_built_tested_and_reproduced(tmp_path: Path, probe: bytes) -> None:
    site = Factory(tmp_path, {"BASEFORGE_LOCAL_NAME": "baseforge-toy", "PYTHONPATH": str(ROOT)})
    site.recipe("toy", RECIPE)
    (site.recipes / "toy").mkdir()
    (site.recipes / "toy/probe").write_bytes(probe)

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "tests.support.toy_kind", *words]
        done = subprocess.run(
            command, cwd=site.folder, env=site.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    try:
        assert "toy: valid (toy)" in run("validate")
        (built,) = json.loads(run("build", "toy", "--json"))
        assert (built["status"], built["smoke"]["passed"]) == ("published", 1)
        assert built["manifest_digest"] in run("verify", "toy")
        (again,) = json.loads(run("build", "toy", "--json"))
        assert (again["status"], again["build"]) == ("unchanged", built["build"])
    finally:
        site.remove_images()
