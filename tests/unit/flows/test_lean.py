"""Flows that cost little to start: what Prefect is told of their parameters is what it would find out itself."""

import subprocess
import sys

from fastapi.encoders import jsonable_encoder

from flows.build import build
from flows.choice import Choice


def test_parameters_are_told_as_prefect_would():
    said = {"image": "noble", "choice": Choice(builder="x", force=True), "only": ("a", "b")}
    assert build.serialize_parameters(said) == jsonable_encoder(said)


def test_a_build_loads_no_senders_of_messages():
    code = (
        "import flows.load, flows.build, prefect.blocks, sys\n"
        "sys.exit(hasattr(prefect.blocks.notifications, 'SlackWebhook') or 'apprise' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
