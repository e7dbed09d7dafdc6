"""Flows start quickly, and their context is not among their parameters."""

import inspect

from fastapi.encoders import jsonable_encoder

from flows.build import build
from flows.config.options import BuildOptions


def test_parameters_are_serialized_as_prefect_does():
    said = {"image": "noble", "options": BuildOptions(builder="x", force=True), "only": ("a", "b")}
    assert build.serialize_parameters(said) == jsonable_encoder(said)


def test_the_context_is_no_parameter_of_a_flow():
    assert list(inspect.signature(build.fn).parameters) == ["image", "options"]
    assert list(build.parameters.properties) == ["image", "options"]
