"""Fixtures for trees of packages."""

from tests.support.scratch import make  # noqa: F401 - a fixture
