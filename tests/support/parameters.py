"""Parameters of tests, some only for a full run."""

from __future__ import annotations

from collections.abc import Sequence

import pytest


def some_in_full(values: Sequence[str], *full: str) -> list[object]:
    """Parameters for a test; those in `full` are left out of a run that is not full."""
    assert set(full) <= set(values)
    return [pytest.param(value, marks=pytest.mark.full) if value in full else value for value in values]
