"""Fixtures for recipes from scratch."""

from tests.support.scratch import make  # noqa: F401 - a fixture
