"""Flows that cost little to start: what Prefect is told of their parameters is what it would find out itself."""

from fastapi.encoders import jsonable_encoder

from flows.build import build
from flows.config.options import Choice


def test_parameters_are_told_as_prefect_would():
    said = {"image": "noble", "choice": Choice(builder="x", force=True), "only": ("a", "b")}
    assert build.serialize_parameters(said) == jsonable_encoder(said)
