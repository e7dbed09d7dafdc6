"""What commands print: tables and sentences for people, one JSON document for programs."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import typer

from flows.cli.builder_output import Table, say, show
from flows.cli.json_output import CleanedRuns, Diagnosis, Finding, SettingValue, ShownBuild
from flows.cli.recipe_check import Checked, raise_errors
from flows.config.settings import Settings
from flows.night.freshness import ImageState
from flows.night.latency import Latency
from flows.publish import stored_builds as publication
from flows.publish.errors import no_build
from flows.publish.newest import Newest
from flows.publish.record import Record
from flows.runtime.context import newest_log
from flows.runtime.progress import Progress
from flows.store.store import Store
from rootfs.lock.lock import Lock
from rootfs.lock.lockfile import differing_versions, lock_changes
from rootfs.mask import masked_values
from rootfs.system.text import format_seconds, format_size

if TYPE_CHECKING:
    from flows.publish.verification import Verification


TERMINAL = re.compile(r"[\x7f-\x9f\ud800-\udfff]")  # what JSON need not escape, and a terminal may obey or not take
EARLIER = 5  # earlier builds of `latest` that are shown
SHOWN = 10  # packages that are not the same everywhere


def print_json(value: Any) -> None:  # noqa: ANN401 - whatever JSON can say
    """The one document on standard output."""
    typer.echo(TERMINAL.sub(_as_json, json.dumps(value, indent=2, ensure_ascii=False)))


def _as_json(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04x}"


def as_dict(record: Record) -> dict[str, Any]:
    """A record as JSON has it."""
    return record.model_dump(mode="json")


def builds(records: Sequence[Record], settings: Settings, progress: Progress, as_json: bool) -> int:
    """How builds ended, and the exit status that says so."""
    for record in records:
        progress.say(ending(record))
        for line in disagreement(record.versions):
            progress.say(line)
        if record.status in ("published", "moved") and record.example is not None:
            progress.say(f"try it: {try_it(record, record.example, settings)}")
    if as_json:
        print_json([as_dict(record) for record in records])
    failed = {record.exit_status for record in records if record.status == "failed"}
    return failed.pop() if len(failed) == 1 else int(bool(failed))


def ending(record: Record) -> str:
    """One build in one line (a failed one in a few)."""
    if record.status == "failed":
        return f"{record.image}: failed: {record.reason}"
    if record.status == "unchanged":
        return f"{record.image}: unchanged, build {record.build} has these inputs ({record.manifest_digest})"
    if record.status == "moved":
        moved = f"moved to build {record.build}, which has these inputs ({record.manifest_digest})"
        return f"{record.image}: {moved}: {record.reason}"
    seconds = record.took
    several = f"{len(record.parts)} platforms, " if record.parts else ""
    return (
        f"{record.image}: {record.status} {record.manifest_digest} as build {record.build}"
        f" ({several}{record.packages} packages, {format_size(record.size)}, {seconds:.1f} s)"
    )


def try_it(record: Record, example: Sequence[str], settings: Settings) -> str:
    """The command that runs the image as its first smoke check does."""
    platform = record.own.platforms[0]
    name = settings.local_reference(record.image, platform)
    short = name.removesuffix(":latest")
    foreign = ["--platform", platform] if short == name else []
    return shlex.join(["docker", "run", "--rm", *foreign, short, *example])


def removed(run_ids: Sequence[str], as_json: bool) -> None:
    """Print the ids of the runs whose leftovers were removed."""
    if as_json:
        print_json(CleanedRuns(runs=tuple(run_ids)).model_dump(mode="json"))
        return
    for run_id in run_ids:
        say(f"removed what run {run_id} had left", err=True)
    say(f"{len(run_ids)} runs had left something", err=True)


def one(
    record: Record,
    newest: Newest | None,
    as_json: bool,
    installed: dict[str, dict[str, str]] | None = None,
    state: ImageState | None = None,
) -> None:
    """One build, line by line, what `latest` means, and whether the image is fresh."""
    known = state or ImageState(record.image, None, None)
    if as_json:
        facts: dict[str, Any] = {"freshness": known.freshness, "support": known.support, "waiting": known.waiting}
        print_json(ShownBuild(**dict(record), **facts, latest=newest, installed=installed).model_dump(mode="json"))
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in as_dict(record).items():
        if value not in ("", None, 0, [], {}) and (text := _text(name, value)):
            table.add_row(name, text)
    if newest:
        table.add_row("latest", _latest(record, newest))
        earlier = [f"build {move.build}, since {move.at}: {move.why}" for move in newest.history[:EARLIER]]
        if earlier:
            table.add_row("before", "\n".join(earlier))
    for name, text in known.texts().items():
        table.add_row(name, text)
    show(table)
    for platform, packages in (installed or {}).items():
        say("")
        _packages(platform, packages)


def _packages(platform: str, packages: Mapping[str, str]) -> None:
    table = Table(f"PACKAGE ({platform})", "VERSION", box=None, pad_edge=False)
    for name, version in packages.items():
        table.add_row(name, version)
    show(table)


def _latest(record: Record, newest: Newest) -> str:
    which = "this build" if newest.build == record.build else f"build {newest.build}"
    behind = "" if newest.named else "; not all names in the registry and the engine have followed yet"
    return f"{which}, since {newest.at}: {newest.why}{behind}"


def _text(name: str, value: Any) -> str:  # noqa: ANN401
    """A value of a record, which may say nothing."""
    if name in ("size", "unpacked"):
        return format_size(value)
    if name == "parts":
        return "\n".join(
            f"{each['platforms'][0]} {each['manifest_digest']} {format_size(each['size'])}" for each in value
        )
    if name == "lock":
        lines = [f"{each['suite']} {each['sha256'][:16]}… by {each['signer']}" for each in value["releases"]]
        return "\n".join(lines) or value["tarball"]
    if name == "versions":
        return "\n".join(disagreement(value))
    if name == "times":
        value = {what: f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}" for what, at in value.items() if at}
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items() if item not in ("", None))
    if name == "bases":
        value = [f"{each['image']}@{each['build']}" for each in value]
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def log(store: Store, reference: str) -> None:
    """The log of a build: this machine's own file for a run that failed or is newest, else the store's."""
    image, _, build = reference.partition("@")
    if local := newest_log(image, build):
        say(local.read_text(errors="replace"), end="")
        return
    record = publication.find_build(store, reference)
    if not record.log:
        raise no_build(image, build)
    with store.open_blob(record.log) as stream:
        say(stream.read().decode(errors="replace"), end="")


def checked(recipes: Sequence[Checked], as_json: bool) -> None:
    """Recipes by name and kind. Raises what is wrong in any of them, after it is printed as JSON."""
    if as_json:
        print_json([each.as_output().model_dump(mode="json") for each in recipes])
    raise_errors(recipes)
    if not as_json:
        for each in (each.recipe for each in recipes if each.recipe):
            say(f"{each.name}: valid ({each.kind})")


def locks(found: Mapping[str, Lock], known: Record | None, as_json: bool) -> None:
    """Locks by platform: all of them for programs; for people what is new since an earlier build, if there is one."""
    if as_json:
        dumped = {platform: lock.model_dump(mode="json") for platform, lock in found.items()}
        print_json(dumped if len(dumped) > 1 else dumped.popitem()[1])
        return
    for platform, lock in found.items():
        before = known.of(platform) if known else None
        news = lock_changes(before.lock if before else Lock(), lock)
        for change in news:
            say(str(change))
        since = f"{len(news)} changes since build {known.build}" if known and before else "nothing is built yet"
        say(f"{platform}: {len(lock.packages)} packages, {since}: {lock.digest}", err=True)
    for line in disagreement(differing_versions(found)):
        say(line, err=True)


def disagreement(versions: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Packages whose versions differ from platform to platform, the first few."""
    if versions:
        yield f"not the same version on all platforms: {len(versions)} of the packages"
    for name, by_platform in islice(versions.items(), SHOWN):
        yield f"  {name} " + ", ".join(f"{version} ({platform})" for platform, version in by_platform.items())
    if len(versions) > SHOWN:
        yield f"  … and {len(versions) - SHOWN} more"


def latency(found: Latency, as_json: bool) -> None:
    """How long updates took, by image, then by CVE number."""
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    if found.total is None:
        say(f"no build of the last {found.days} days has brought an update")
        return
    rows = [("all images", found.total), *((each.image, each) for each in found.images)]
    table = Table("UPDATES", "BUILDS", "P50", "P90", "P99", "MAX", box=None, pad_edge=False)
    for name, each in (*rows, *((cve.cve, cve) for cve in found.cves)):
        times = (each.p50, each.p90, each.p99, each.max)
        table.add_row(name, str(each.builds), *map(format_seconds, times))
    show(table)


def verdict(found: Verification, as_json: bool) -> int:
    """How a build that was made again compares, and the exit status that says so."""
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        _verdict(found)
    seconds = f"{sum(found.seconds.values()):.1f} s"
    say(f"{found.image}@{found.build}: {found.status}: {found.ending} ({seconds})", err=True)
    return int(found.status in ("differs", "damaged"))


def _verdict(found: Verification) -> None:
    if found.other_tools:
        say(f"made with other tools: {', '.join(found.other_tools)}")
    table = Table("LINK", "", "RECORDED", "FOUND", box=None, pad_edge=False)
    for link in found.links:
        mark, digest = ("same", "") if link.same else ("differs", link.found)
        table.add_row(link.name, mark, link.recorded, digest)
    show(table)
    for difference in found.differences:
        say(difference)
    if left := found.different - len(found.differences):
        say(f"… and {left} more differences")
    for problem in found.damage:
        say(problem)


def doctor(findings: Sequence[Finding], settings: Settings, origins: Mapping[str, str], as_json: bool) -> int:
    """What was found, and the settings in force, with their origins; status 3 when something needed is missing."""
    shown = {name: masked_values(value) for name, value in settings.model_dump(mode="json").items()}
    values = {name: SettingValue(value=value, origin=origins[name]) for name, value in shown.items()}
    if as_json:
        diagnosis = Diagnosis(machine=tuple(findings), settings=values)
        print_json(diagnosis.model_dump(mode="json", by_alias=True))
    else:
        _findings(findings)
        table = Table("SETTING", "VALUE", "FROM", box=None, pad_edge=False)
        for name, entry in values.items():
            table.add_row(name, str(entry.value), entry.origin)
        show(table)
    return 3 if any(finding.needed and not finding.ok for finding in findings) else 0


def _findings(findings: Sequence[Finding]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in findings:
        mark = "ok" if finding.ok else "MISSING" if finding.needed else "no"
        table.add_row(mark, finding.name, finding.found if finding.ok else f"{finding.found}\n{finding.hint}")
    show(table)
