"""The place of a value in a TOML file, for errors."""

from __future__ import annotations

import tomllib
from pathlib import Path


def position(file: Path, names: list[str]) -> str:
    """`FILE:LINE:COLUMN` of the last of these nested names that the file has.

    It is on the first line with which the beginning of the file, which is TOML up to the end of each value, has it.
    """
    lines = file.read_text().splitlines() if file.is_file() else []
    depth, found, start = 0, 0, 1
    for number in range(1, len(lines) + 1):
        try:
            beginning = tomllib.loads("\n".join(lines[:number]))
        except tomllib.TOMLDecodeError:  # inside a value of several lines, which began at `start`
            continue
        if (reached := _depth(beginning, names)) > depth:
            depth, found = reached, start
        start = number + 1
    if not found:
        return str(file)
    line = lines[found - 1]
    return f"{file}:{found}:{len(line) - len(line.lstrip()) + 1}"


def _depth(value: object, names: list[str]) -> int:
    """How many of these nested names the value has."""
    depth = 0
    for name in names:
        if not isinstance(value, dict) or name not in value:
            break
        value, depth = value[name], depth + 1
    return depth
