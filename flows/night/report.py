"""A night for people: a table for the terminal, and Markdown for Prefect's pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from flows.night.changes import listed
from flows.night.document import ImageNight, NightDocument
from rootfs.system.text import first_line

SHORT = 200  # characters of a reason in a table


def in_words(counts: Mapping[str, int]) -> str:
    """Numbers by status in a line: `1 failed, 16 unchanged`."""
    return ", ".join(f"{count} {word}" for word, count in sorted(counts.items())) or "no images"


def row(image: ImageNight) -> tuple[str, str, str, str]:
    """An image's line in a table: its name, status, seconds, and why it ended so."""
    return image.image, image.status, f"{image.seconds:.1f}", "; ".join(_said(image))


def _said(image: ImageNight) -> Iterator[str]:
    """The first line of the reason, changes that it does not name, CVE numbers, and whether the image recovered."""
    if image.recovered:
        yield "recovered"
    if image.reason:
        yield first_line(image.reason)[:SHORT]
    elif image.status == "unchanged":
        yield f"build {image.build}"
    if (changes := listed(image.changes)) and changes not in image.reason:
        yield changes
    if image.cves:
        yield ", ".join(image.cves)


def markdown(night: NightDocument) -> str:
    """A night as Markdown: a table of the images, and the whole reason of each failure."""
    lines = [f"# Night {night.date}", "", in_words(night.summary), ""]
    lines += [f"**Warning:** {_cell(each)}\n" for each in night.alarms]
    lines += ["| image | status | seconds | reason |", "| --- | --- | ---: | --- |"]
    lines += [f"| {' | '.join(map(_cell, row(each)))} |" for each in night.images]
    for each in night.images:
        if each.status == "failed":
            lines += ["", f"## {each.image}", "", *(f"    {line}" for line in each.reason.splitlines())]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """Text in a cell of a table: Markdown means nothing in it."""
    return "".join(f"\\{each}" if each in "\\`*_{}[]<>|#!~" else each for each in text.replace("\n", " "))
