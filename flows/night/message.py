"""The message about a night: what failed, is held or paused, has recovered, is stale, and which CVE numbers are fixed.

A failure is told once: the document `nights/told.json` has what was told, and the next message about that image says
that it has recovered, or that it fails for another reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pydantic import Field

from flows.night.document import GOOD, ImageNight, NightDocument
from flows.publish.record import FORMAT, Format, Frozen, StoreName
from rootfs.mask import masked
from rootfs.system.digests import canonical_digest

TOLD = "nights/told.json"
FAILED, HELD, PAUSED, RECOVERED = "Failed", "Held: a base image failed", "Paused", "Recovered"  # titles of sections
ALARMS = "Alarms"
MAX_REASON = 12  # lines of a reason
MAX_CVES = 20  # that are listed for an image
VARYING = re.compile(r"\b[0-9a-f]{7,}\b|[0-9]+(\.[0-9]+)?")  # digests, ids, times and ports in a reason


class Told(Frozen):
    """What receivers know: the cause of each failing image, by name, and the alarms, by who raises them.

    `problems` says which receivers did not take the last message, and `at` when that was (UTC). `repeated` has when
    alarms that are told every day were told last.
    """

    format: Format = FORMAT
    failing: dict[StoreName, str] = Field(default_factory=dict)
    alarms: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    problems: tuple[str, ...] = ()
    at: str = ""
    repeated: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """A part of a message: a title, and its entries, each of a line and perhaps more lines that explain it."""

    title: str
    entries: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Message:
    """A message: its subject, its sections, and a closing line. `news` says whether there is something to tell."""

    subject: str
    sections: tuple[Section, ...]
    closing: str = ""
    news: bool = field(default=True)

    @property
    def kind(self) -> str:
        """What receivers sort and colour by: failure, warning, success or info, as Apprise has them."""
        titles = {section.title for section in self.sections}
        if titles & {FAILED, HELD, PAUSED}:
            return "failure"
        return "warning" if ALARMS in titles else "success" if RECOVERED in titles else "info"

    @property
    def text(self) -> str:
        """The message as plain text."""
        return "\n\n".join([*map(_text_section, self.sections), *filter(None, [self.closing])]) + "\n"

    @property
    def markdown(self) -> str:
        """The message as Markdown. Reasons are code blocks: they contain any characters."""
        return "\n\n".join([*map(_markdown_section, self.sections), *filter(None, [self.closing])]) + "\n"


def night_message(night: NightDocument, told: Told) -> Message:
    """What to say about a night to receivers that know what was told."""
    failed = tuple(_reason(each) for each in _new(night, told))
    recovered = tuple((each.image, "") for each in night.images if each.image in told.failing and each.status in GOOD)
    alarms = tuple((masked(text), "") for text in new_alarms(night.alarms, told))
    fixed = tuple(_fixed(night.images))
    sections = (
        Section(FAILED, tuple(line for status, line in failed if status not in ("held", "paused"))),
        Section(HELD, tuple(line for status, line in failed if status == "held")),
        Section(PAUSED, tuple(line for status, line in failed if status == "paused")),
        Section(RECOVERED, recovered),
        Section(ALARMS, alarms),
        Section("Fixed", fixed),
    )
    shown = tuple(section for section in sections if section.entries)
    counts = ", ".join(f"{count} {status}" for status, count in night.summary.items()) or "no images"
    news = [_count(each) for each in shown]
    subject = f"Baseforge, night of {night.date}: {', '.join(news) or 'nothing new'}"
    closing = f"{counts}. {night.started} to {night.ended}" + (f" on {night.host}." if night.host else ".")
    return Message(subject, shown, closing, bool(shown))


def alarm_message(alarms: Iterable[str], told: Told) -> Message:
    """What to say about alarms that no night raised."""
    new = tuple((masked(text), "") for text in new_alarms(alarms, told))
    section = Section(ALARMS, new)
    return Message(f"Baseforge: {_count(section)}", (section,), news=bool(new))


def told_after_night(night: NightDocument, told: Told) -> Told:
    """What receivers know once they have the night's message. Images that were not in the night stay as they are."""
    failing = {image: cause for image, cause in told.failing.items() if not night.only or image in night.only}
    kept = {image: cause for image, cause in told.failing.items() if image not in failing}
    for each in night.images:
        if each.status == "paused" and each.image in failing:
            kept[each.image] = failing[each.image]
        elif each.status not in GOOD and each.status != "built":
            kept[each.image] = _cause(each)
    return told.model_copy(update={"failing": kept, "alarms": {**told.alarms, "night": causes(night.alarms)}})


def new_alarms(alarms: Iterable[str], told: Told) -> list[str]:
    """The alarms that receivers do not know yet, whoever told them."""
    known = {cause for causes in told.alarms.values() for cause in causes}
    return [text for text in alarms if _alarm_cause(text) not in known]


def causes(alarms: Iterable[str]) -> tuple[str, ...]:
    """What is remembered of alarms."""
    return tuple(sorted({_alarm_cause(text) for text in alarms}))


def _alarm_cause(text: str) -> str:
    """What is remembered of an alarm. The name of an image or a suite before its text counts with its numbers."""
    name, colon, rest = text.partition(": ")
    return _fingerprint(rest, name) if colon and " " not in name else _fingerprint(text)


def _count(section: Section) -> str:
    """How many entries a section has, in words."""
    word = section.title.partition(":")[0].lower()
    return f"{len(section.entries)} {'alarm' if section.title == ALARMS and len(section.entries) == 1 else word}"


def _new(night: NightDocument, told: Told) -> Iterator[ImageNight]:
    """The images that are not as they should be, if receivers do not know it. A pause follows a known failure."""
    for each in night.images:
        known = told.failing.get(each.image)
        if each.status in GOOD or each.status == "built" or (each.status == "paused" and known):
            continue
        if known != _cause(each):
            yield each


def _reason(image: ImageNight) -> tuple[str, tuple[str, str]]:
    lines = masked(image.reason).strip().splitlines()
    more = [f"… and {len(lines) - MAX_REASON} more lines"] if len(lines) > MAX_REASON else []
    return image.status, (image.image, "\n".join([*lines[:MAX_REASON], *more]))


def _cause(image: ImageNight) -> str:
    status = "failed" if image.status == "damaged" else image.status
    return _fingerprint(f"{status}: {image.reason}")


def _fingerprint(text: str, name: str = "") -> str:
    """A digest of the first line of a text, without numbers: the same failure of another night has the same."""
    line = VARYING.sub("#", text.strip().partition("\n")[0])
    return canonical_digest([name, line] if name else line)[7:23]


def _fixed(images: Iterable[ImageNight]) -> Iterator[tuple[str, str]]:
    """The CVE numbers that were fixed, by image, and in which packages."""
    for image in images:
        if image.status not in ("published", "moved") or not image.cves:
            continue
        shown = ", ".join(image.cves[:MAX_CVES])
        more = f" and {len(image.cves) - MAX_CVES} more" if len(image.cves) > MAX_CVES else ""
        yield f"{image.image}: {shown}{more}", "\n".join(str(each) for each in image.changes if each.cves)


def _text_section(section: Section) -> str:
    lines = [f"{section.title}:"]
    for line, more in section.entries:
        lines += [f"  {line}", *(f"    {each}" for each in more.splitlines())]
    return "\n".join(lines)


def _markdown_section(section: Section) -> str:
    parts = [f"## {section.title}"]
    for line, more in section.entries:
        parts.append(f"- {_escaped(line)}")
        if more:
            fence = "`" * max(3, 1 + max(map(len, re.findall("`+", more)), default=0))
            parts.append("\n".join(f"    {each}" for each in (fence, *more.splitlines(), fence)))
    return "\n\n".join(parts)


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", text)
