"""Packages of a tree: this machine's apt puts them in the right order, the tree's own dpkg installs them."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from rootfs.errors import BuildError
from rootfs.install import chroot_files
from rootfs.install.errors import differs_from_lock
from rootfs.install.mounts import DEBS
from rootfs.install.plan import Deb, Plan
from rootfs.process.errors import ProgramFailed
from rootfs.process.run import run
from rootfs.process.sandbox import enter_tree_command

STATE = "var/lib/dpkg"
STATUS = f"{STATE}/status"
MARKS = "var/lib/apt/extended_states"
SETTINGS = ("etc/apt", "etc/dpkg", "var/lib/apt", "var/cache/apt", "var/log/apt")  # and what they leave
FAILED = re.compile(r"^dpkg: error processing (?:package|archive) (?:\S*/)?([a-z0-9][a-z0-9+.-]+)", re.MULTILINE)
BEGIN = re.compile(r"(Setting up|Preparing to unpack|Unpacking|Removing|Processing triggers for|Configuring) ")
REASON = 2  # lines: the one that names the package, and why

# Nothing of this machine's configuration counts. apt reads the first before anything else, the others come after it.
SEALED = 'Dir::Etc::main "/dev/null";\nDir::Etc::parts "/dev/null";\n'
OPTIONS = {
    "Acquire::Languages": "none",
    "APT::Immediate-Configure": "false",  # apt and what it needs would be installed one by one, each with a dpkg run
    "APT::Install-Recommends": "false",
    "APT::Sandbox::User": "root",
    "Debug::NoLocking": "true",
    "DPkg::Install::Recursive::Minimum": "1000000",  # apt names each deb: the sandbox does not see links in its /tmp
    "DPkg::MaxArgBytes": "1000000",
    "DPkg::Options::unsafe-io": "--force-unsafe-io",
    "DPkg::Options::abort": "--abort-after=1",  # so that the first failure is the last that is printed
    "DPkg::Use-Pty": "false",
    "Dir::Etc::preferences": "/dev/null",
    "Dir::Etc::preferencesparts": "/dev/null",
    "Dir::Etc::sourcelist": "/dev/null",
    "Dir::Etc::sourceparts": "/dev/null",
}

# What apt runs as dpkg: the tree's own, in the sandbox, where the debs have another path.
DPKG = f"""#!/bin/sh
for word; do
    shift
    case $word in {{debs}}/*) word=/{DEBS}/${{{{word##*/}}}} ;; esac
    set -- "$@" "$word"
done
exec {{inside}} dpkg "$@"
"""


def say(line: str) -> None:
    """Print a line to the log of the build as it comes."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def install(plan: Plan, packages: Iterable[Deb], epoch: int) -> None:
    """Install packages in one go, with this SOURCE_DATE_EPOCH. Raises BuildError, ProgramFailed."""
    if debs := [plan.tree / DEBS / each.file for each in packages]:
        apt(plan, "--no-remove", "install", *debs, epoch=epoch)


def apt(plan: Plan, *words: str | Path, epoch: int | None = None) -> None:
    """Run this machine's apt on the tree, with the plan's epoch or another.

    Raises BuildError, ProgramFailed.
    """
    state = plan.scratch / "apt"
    for name in ("lists/partial", "archives/partial", "log"):
        (state / name).mkdir(parents=True, exist_ok=True)
    sealed = state / "apt.conf"
    sealed.write_text(SEALED)
    dpkg = state / "dpkg"
    dpkg.write_text(
        DPKG.format(debs=shlex.quote(str(plan.tree / DEBS)), inside=shlex.join(enter_tree_command(plan.tree)))
    )
    dpkg.chmod(0o755)
    own = {
        "APT::Architecture": plan.architecture,
        "Dir": state,
        "Dir::Bin::dpkg": dpkg,
        "Dir::Cache": state,
        "Dir::Cache::archives": plan.tree / DEBS,  # apt copies, and hashes four times, what it does not find there
        "Dir::Log": state / "log",
        "Dir::State": state,
        "Dir::State::status": plan.tree / STATUS,
    }
    options = [f"--option={name}={value}" for name, value in {**OPTIONS, **own}.items()]
    environment = {"APT_CONFIG": str(sealed), "SOURCE_DATE_EPOCH": str(epoch or plan.epoch)}
    _run(plan, ["apt-get", "--yes", "--quiet", *options, *words], environment)


def dpkg(plan: Plan, *words: str) -> None:
    """Run the tree's dpkg. Raises BuildError, ProgramFailed."""
    _run(plan, [*enter_tree_command(plan.tree), "dpkg", *words], {})


def _run(plan: Plan, command: list[str | Path], environment: dict[str, str]) -> None:
    try:
        run(command, env=environment_of(plan) | environment, log=say)
    except ProgramFailed as error:
        raise explained(error) from error


def environment_of(plan: Plan) -> dict[str, str]:
    """What programs in the tree see besides the clean environment."""
    return {
        "DEBIAN_FRONTEND": "noninteractive",
        "DEBCONF_NONINTERACTIVE_SEEN": "true",
        "HOME": "/root",
        "SOURCE_DATE_EPOCH": str(plan.epoch),
        "TMPDIR": "/tmp",  # noqa: S108 - the tree's own
    }


def explained(error: ProgramFailed) -> ProgramFailed | BuildError:
    """The error that names the package, and what was printed for it, where dpkg says that one failed."""
    failed = FAILED.search(error.output)
    if not failed:
        return error
    lines = error.output.splitlines()
    end = next(index for index, line in enumerate(lines) if FAILED.match(line))
    begins = [index for index, line in enumerate(lines[:end]) if BEGIN.match(line)]
    return BuildError(
        f"the package {failed[1]} could not be installed: one of its own scripts failed",
        output="\n".join(lines[begins[-1] if begins else 0 : end + REASON]),
        hint="Its output is above; `baseforge log IMAGE` has all of it. Leave it out, or wait until it is fixed.",
    )


def installed(tree: Path) -> set[tuple[str, str, str]]:
    """(name, version, architecture) of each package that dpkg's status file calls installed."""
    found = set()
    for stanza in (tree / STATUS).read_text(errors="replace").split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version|Architecture|Status): (.*)$", stanza, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            found.add((fields["Package"], fields["Version"], fields["Architecture"]))
    return found


def check(plan: Plan) -> None:
    """Raises BuildError unless just the packages of the lock are installed, beside those that were there."""
    names = {each.name for each in plan.packages}
    wanted = {(each.name, each.version, each.architecture) for each in plan.packages}
    wanted |= {(name, version, word) for name, version, word in plan.present if name not in names}
    found = installed(plan.tree)
    if wanted != found:
        raise differs_from_lock(*(sorted(map("_".join, some)) for some in (wanted - found, found - wanted)))


def mark(plan: Plan) -> None:
    """Say which packages are there only as dependencies, so that a later `apt autoremove` knows (apt-mark(8))."""
    file = plan.tree / MARKS
    before = file.read_text() if file.is_file() else ""
    old = (f"{each}\n\n" for each in before.split("\n\n") if each and not _is_asked(plan, each))
    marks = "".join([*old, *(_stanza(each) for each in plan.packages if each.auto)])
    if marks != before and plan.has("apt"):
        chroot_files.write(plan.tree, f"/{MARKS}", marks)


def _is_asked(plan: Plan, stanza: str) -> bool:
    return stanza.partition("\n")[0].removeprefix("Package: ") in plan.asked


def _stanza(package: Deb) -> str:
    return f"Package: {package.name}\nArchitecture: {package.architecture}\nAuto-Installed: 1\n\n"


def remove(plan: Plan) -> None:
    """Take apt and dpkg out of the tree, with their settings and state.

    Scanners still find what is installed: dpkg's status file stays, and the checksums of each package's files.
    Raises BuildError, ProgramFailed.
    """
    if plan.has("apt"):
        words = ("--purge", "--auto-remove", "--allow-remove-essential", "remove", "apt")
        marks = plan.tree / MARKS
        states = (f"--option=Dir::State::extended_states={marks}",) if marks.is_file() else ()
        apt(plan, *states, *words)
    # dpkg removes itself like any other package: it is in memory by then, and so is what it uses.
    dpkg(plan, "--purge", "--force-depends", "--force-remove-essential", "dpkg")
    _thin(plan.tree)
    for path in SETTINGS:
        place = plan.tree / path
        if place.is_dir():
            shutil.rmtree(place)


def _thin(tree: Path) -> None:
    """Of dpkg's state only what scanners read."""
    for place in (tree / STATE).rglob("*"):
        if not place.is_dir() and place.name != "status" and place.suffix != ".md5sums":
            place.unlink()
    for name in ("alternatives", "parts", "triggers", "updates"):
        shutil.rmtree(tree / STATE / name, ignore_errors=True)
