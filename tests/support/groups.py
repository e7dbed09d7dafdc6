"""Distribute a test run over several workers (pytest-xdist): which tests stay in one worker, and which start first.

Each worker has a container engine and a Prefect server of its own (`tests/conftest.py`). A module's tests stay
together, since they share what they have made, and so do all tests of what is there once.
"""

from __future__ import annotations

import re
import sys

import pytest
from xdist.scheduler import LoadScopeScheduling

# One Kubernetes cluster and one built shelf are enough for a run; emulation of other processors belongs to the machine.
ONCE = {
    "cluster": re.compile(
        r"test_kubernetes\.py|test_drivers\.py|\[kubernetes\b|-kubernetes\b|test_dockerfile\.py::\w+_(pod|kubernetes)_"
    ),
    "shelf": re.compile(r"engine/test_(build|verify|shelf|promises|apt_in_images)\.py"),
    "emulation": re.compile(r"engine/test_platforms\.py|test_setup\.py::\w*emulation"),
}
# These take longest and are begun first, so that no worker is left with one of them at the end.
LONGEST = (
    "cluster",
    "shelf",
    "emulation",
    "tests/engine/test_variation.py",
    "tests/engine/test_serve.py",
    "tests/engine/test_documents.py",
    "tests/faults/test_setup.py",
    "tests/faults/test_moments.py",
    "tests/page/test_pages.py",
)


def group_of(test: str) -> str:
    """The name of the group that a test (its node id) belongs to."""
    return next((name for name, pattern in ONCE.items() if pattern.search(test)), test.split("::", maxsplit=1)[0])


class Groups(LoadScopeScheduling):
    """Gives whole groups to workers, in the order of the tests."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


def longest_first(items: list[pytest.Item]) -> None:
    """Put the longest groups first, but behind all unit tests."""

    def rank(item: pytest.Item) -> tuple[bool, int]:
        group = group_of(item.nodeid)
        return "unit" not in item.path.parts, LONGEST.index(group) if group in LONGEST else len(LONGEST)

    items.sort(key=rank)


if __name__ == "__main__":  # prints the groups of the tests whose ids are on standard input
    print(*sorted({group_of(line.strip()) for line in sys.stdin if "::" in line}), sep="\n")  # noqa: T201
