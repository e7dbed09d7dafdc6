"""A look into two contents that are not the same: how they differ, in a few lines."""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from rootfs.process.errors import ProgramFailed, ProgramMissing, ProgramTimedOut
from rootfs.process.run import Log, run
from rootfs.system.text import printable

LINES = 20  # of a text's differences
COLUMNS = 200  # of each line
SHOWN = 8  # bytes of a binary, from the first different one on
TEXT = 1 << 20  # bytes of a text that lines are compared in
PATIENCE = 60.0  # seconds for all that diffoscope looks into
DIFFERENT = 1  # diffoscope's exit status


@dataclass(frozen=True)
class ContentPair:
    """Two contents, each in a file of its own that has it from byte `start` on, and to its end where it is `whole`."""

    old: Path
    new: Path
    start: int = 0
    whole: bool = True


def compare_contents(pairs: dict[str, ContentPair], log: Log) -> dict[str, str]:
    """What a look into each pair gives, by name: in diffoscope's words where the machine has it, else in ours."""
    told, until = dict[str, str](), time.monotonic() + PATIENCE
    for name, pair in pairs.items():
        left = until - time.monotonic()
        told[name] = (_diffoscope(pair, left, log) if pair.whole and left > 0 else "") or describe_difference(pair)
    return told


def _diffoscope(pair: ContentPair, seconds: float, log: Log) -> str:
    """What diffoscope says; nothing where it is not there or fails, which is no reason to fail as well."""
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
    return _bounded(done.stdout.splitlines()[2:])  # after the names of the two files, which are ours


def describe_difference(pair: ContentPair) -> str:
    """Two texts line by line, else the first byte that is not the same."""
    old, new = pair.old.read_bytes(), pair.new.read_bytes()
    texts = _text(old), _text(new)
    if pair.whole and texts[0] is not None and texts[1] is not None:
        changed = difflib.unified_diff(texts[0].splitlines(), texts[1].splitlines(), n=1, lineterm="")
        if lines := _bounded(islice(changed, 2, None)):
            return lines
    first = _first_other(old, new)
    return f"from byte {pair.start + first} on: was {_hex(old, first)}, is {_hex(new, first)}"


def _text(data: bytes) -> str | None:
    """The content as text, where it is one that lines can be compared in."""
    if len(data) > TEXT or b"\0" in data:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _first_other(old: bytes, new: bytes) -> int:
    """Where two contents part: halving, as comparing slices is much faster than comparing bytes one by one."""
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
        yield printable(line[:COLUMNS])
