"""Numbers for people."""

from __future__ import annotations


def size(count: int) -> str:
    """A number of bytes for people, in powers of 1000."""
    amount, unit = float(count), "B"
    for bigger in ("kB", "MB", "GB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, bigger
    return f"{amount:.1f} {unit}" if unit != "B" else f"{count} B"
