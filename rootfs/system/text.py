"""Text for people: sizes, times, and text without control characters that a terminal would obey."""

from __future__ import annotations

import re
from datetime import UTC, datetime

KEPT = "\t\n"  # layout, which is harmless
ID_DIGITS = 10  # of the largest uid_t and gid_t, which have 32 bits
DURATION = r"[1-9][0-9]{0,3}[hdw]"  # hours, days or weeks
UNITS = {"h": 3600, "d": 86400, "w": 7 * 86400}  # seconds


def printable(text: str) -> str:
    """Text in one line. Control characters and undecodable bytes are escaped: a terminal could obey them."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def visible(text: str) -> str:
    """Text of several lines, with other control characters escaped as in `printable`."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in KEPT else _escaped(each) for each in text)


def is_unicode(text: str) -> bool:
    """Whether text can be encoded as UTF-8. Command-line arguments and variables may contain other bytes."""
    return not any("\ud800" <= each <= "\udfff" for each in text)


def is_id(text: str) -> bool:
    """Whether text is the number of a user or group: ASCII digits, and no more than such a number can have."""
    return text.isascii() and text.isdecimal() and len(text) <= ID_DIGITS


def format_time(seconds: float) -> str:
    """A time, in seconds since 1970, such as `Mon, 30 Nov 2026 12:00:00 UTC`."""
    return f"{datetime.fromtimestamp(seconds, UTC):%a, %d %b %Y %H:%M:%S} UTC"


def format_size(count: int) -> str:
    """A number of bytes in powers of 1000, such as `1.5 MB`."""
    amount, unit = float(count), "B"
    for bigger in ("kB", "MB", "GB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, bigger
    return f"{amount:.1f} {unit}" if unit != "B" else f"{count} B"


def format_seconds(seconds: float) -> str:
    """A duration in its two greatest units, such as `1 h 12 min` or `45 s`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    first = next((place for place, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count or len(parts) == first + 1)


def parse_duration(text: str) -> int:
    """Seconds of a duration such as `36h`, `2d` or `1w`. Raises ValueError."""
    if not re.fullmatch(DURATION, text):
        raise ValueError(f"{text!r} is not a duration: write hours, days or weeks, such as 36h, 2d or 1w")
    return int(text[:-1]) * UNITS[text[-1]]


def _escaped(character: str) -> str:
    raw = character.encode(errors="surrogateescape") if not "\ud800" <= character < "\udc80" else b""
    return "".join(f"\\x{byte:02x}" for byte in raw) if len(raw) == 1 else character.encode("unicode_escape").decode()


def first_line(text: str) -> str:
    """The first line of a text; empty if there is none."""
    return next(iter(text.splitlines()), "")
