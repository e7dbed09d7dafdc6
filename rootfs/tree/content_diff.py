"""Summarize the difference between two files in a few lines."""

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from rootfs.process.errors import ProgramFailed, ProgramMissing, ProgramTimedOut
from rootfs.process.run import Log, run
from rootfs.system.text import printable
from rootfs.tree.key_formats import private_key_format

LINES = 20  # of a text's differences
COLUMNS = 200  # of each line
SHOWN = 8  # bytes of a binary, from the first different one on
TEXT = 1 << 20  # bytes of a text that lines are compared in
PATIENCE = 60.0  # seconds for all runs of diffoscope together
PRIVATE = b"PRIVATE KEY-----"  # in PEM, also where the rest of the key is in another part of the file
HIDDEN = "content differs (private key, not shown)"
RUN = re.compile(r"[A-Za-z0-9+/=_-]{40,}")  # of base64 or hexadecimal digits
DIFFERENT = 1  # diffoscope's exit status


@dataclass(frozen=True)
class ContentPair:
    """Two contents, each in a file: from byte `start` on, and `whole` if nothing of them is missing."""

    old: Path
    new: Path
    start: int = 0
    whole: bool = True


def compare_contents(pairs: dict[str, ContentPair], log: Log) -> dict[str, str]:
    """Summarize the difference of each pair, by path: by diffoscope if it is installed, else by our own code.

    Of private keys nothing is shown.
    """
    details, until = dict[str, str](), time.monotonic() + PATIENCE
    for name, pair in pairs.items():
        if _is_private(name, pair):
            details[name] = HIDDEN
            continue
        left = until - time.monotonic()
        details[name] = (_diffoscope(pair, left, log) if pair.whole and left > 0 else "") or describe_difference(pair)
    return details


def _is_private(path: str, pair: ContentPair) -> bool:
    """Whether one of two contents is a private key, or may have a part of one."""
    contents = pair.old.read_bytes(), pair.new.read_bytes()
    return any(PRIVATE in data or private_key_format(path, data) for data in contents)


def _diffoscope(pair: ContentPair, seconds: float, log: Log) -> str:
    """The output of diffoscope; empty where it is not installed or fails, which is no error."""
    words = ["diffoscope", "--text=-", "--text-color=never", "--no-progress", f"--max-diff-block-lines={LINES}"]
    try:
        done = run([*words, pair.old, pair.new], timeout=seconds, check=False)
    except ProgramMissing:
        return ""
    except ProgramTimedOut as error:
        log(str(error))
        return ""
    if done.status != DIFFERENT:
        log(str(ProgramFailed("diffoscope", done.status, done.stderr)))
        return ""
    return _bounded(done.stdout.splitlines()[2:])  # without the names of the two files


def describe_difference(pair: ContentPair) -> str:
    """The differing lines of two texts, else the first differing byte."""
    old, new = pair.old.read_bytes(), pair.new.read_bytes()
    texts = _text(old), _text(new)
    if pair.whole and texts[0] is not None and texts[1] is not None:
        changed = difflib.unified_diff(texts[0].splitlines(), texts[1].splitlines(), n=1, lineterm="")
        if lines := _bounded(islice(changed, 2, None)):
            return lines
    first = _first_other(old, new)
    return f"from byte {pair.start + first} on: was {_hex(old, first)}, is {_hex(new, first)}"


def _text(data: bytes) -> str | None:
    """The content as text, or None if it is binary or too long."""
    if len(data) > TEXT or b"\0" in data:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _first_other(old: bytes, new: bytes) -> int:
    """The offset of the first difference, by bisection: comparing slices is much faster than comparing single bytes."""
    low, high = 0, min(len(old), len(new))
    while low < high:
        middle = (low + high + 1) // 2
        if old[low:middle] == new[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _hex(data: bytes, start: int) -> str:
    return data[start : start + SHOWN].hex(" ") or "the end"


def _bounded(lines: Iterable[str]) -> str:
    return "\n".join(_cut(lines))


def _cut(lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        if number == LINES:
            yield "…"
            return
        yield printable(RUN.sub(_hidden, line)[:COLUMNS])


def _hidden(run: re.Match[str]) -> str:
    """The run as it is if it is a path or a word; else only its length: it may be a part of a key."""
    text = run[0]
    is_random = any(each.isdigit() for each in text) and (not text.islower() or set(text) <= set("0123456789abcdef"))
    return f"({len(text)} characters, not shown)" if is_random else text
