"""Errors of smoke tests."""

from __future__ import annotations

from rootfs.errors import BuildError


class SmokeFailed(BuildError):
    """The image does not do what its recipe says it must; nothing is published."""

    def __init__(self, failed: int, count: int, output: str) -> None:
        super().__init__(f"{failed} of {count} smoke checks failed; nothing was published", output=output)
