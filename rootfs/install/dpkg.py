"""Install packages in a tree: this machine's apt orders them, the tree's own dpkg installs them."""

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
SETTINGS = ("etc/apt", "etc/dpkg", "var/lib/apt", "var/cache/apt", "var/log/apt")  # of apt and dpkg
FAILED_PACKAGE = re.compile(
    r"^dpkg: error processing (?:package|archive) (?:\S*/)?([a-z0-9][a-z0-9+.-]+)", re.MULTILINE
)
PACKAGE_LINE = re.compile(r"(Setting up|Preparing to unpack|Unpacking|Removing|Processing triggers for|Configuring) ")
REASON_LINES = 2  # lines: the one that names the package, and the reason

# No configuration of this machine is used. apt reads this file before anything else, then the options.
APT_CONFIG = 'Dir::Etc::main "/dev/null";\nDir::Etc::parts "/dev/null";\n'
APT_OPTIONS = {
    "Acquire::Languages": "none",
    "APT::Immediate-Configure": "false",  # else apt and its dependencies are installed one by one
    "APT::Install-Recommends": "false",
    "APT::Sandbox::User": "root",
    "Debug::NoLocking": "true",
    "DPkg::Install::Recursive::Minimum": "1000000",  # apt names each deb: the sandbox does not see links in its /tmp
    "DPkg::MaxArgBytes": "1000000",
    "DPkg::Options::unsafe-io": "--force-unsafe-io",
    "DPkg::Options::abort": "--abort-after=1",  # so that the first failure is printed last
    "DPkg::Use-Pty": "false",
    "Dir::Etc::preferences": "/dev/null",
    "Dir::Etc::preferencesparts": "/dev/null",
    "Dir::Etc::sourcelist": "/dev/null",
    "Dir::Etc::sourceparts": "/dev/null",
}

# The script that apt runs as dpkg: the tree's own dpkg, in the sandbox, where the debs have another path.
DPKG_WRAPPER = f"""#!/bin/sh
for word; do
    shift
    case $word in {{debs}}/*) word=/{DEBS}/${{{{word##*/}}}} ;; esac
    set -- "$@" "$word"
done
exec {{inside}} dpkg "$@"
"""


def log_line(line: str) -> None:
    """Print a line to the log of the build as it comes."""
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def install_packages(plan: Plan, packages: Iterable[Deb], epoch: int) -> None:
    """Install packages in one go, with `epoch` as SOURCE_DATE_EPOCH. Raises BuildError, ProgramFailed."""
    if debs := [plan.tree / DEBS / each.file for each in packages]:
        run_apt(plan, "--no-remove", "install", *debs, epoch=epoch)


def run_apt(plan: Plan, *words: str | Path, epoch: int | None = None) -> None:
    """Run this machine's apt-get on the tree, with the plan's epoch or another one.

    Raises BuildError, ProgramFailed.
    """
    state = plan.work / "apt"
    for name in ("lists/partial", "archives/partial", "log"):
        (state / name).mkdir(parents=True, exist_ok=True)
    sealed = state / "apt.conf"
    sealed.write_text(APT_CONFIG + _architectures(plan))
    dpkg = state / "dpkg"
    dpkg.write_text(
        DPKG_WRAPPER.format(debs=shlex.quote(str(plan.tree / DEBS)), inside=shlex.join(enter_tree_command(plan.tree)))
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
    options = [f"--option={name}={value}" for name, value in {**APT_OPTIONS, **own}.items()]
    environment = {"APT_CONFIG": str(sealed), "SOURCE_DATE_EPOCH": str(epoch or plan.epoch)}
    _run(plan, ["apt-get", "--yes", "--quiet", *options, *words], environment)


def _architectures(plan: Plan) -> str:
    """apt's configuration of the architectures of a tree that has several."""
    words = "".join(f' "{each}";' for each in (plan.architecture, *plan.foreign))
    return f"APT::Architectures {{{words} }};\n" if plan.foreign else ""


def add_architectures(plan: Plan) -> None:
    """Let dpkg in the tree install packages of the foreign architectures. Raises ProgramFailed."""
    for each in plan.foreign:
        run_dpkg(plan, "--add-architecture", each)


def run_dpkg(plan: Plan, *words: str) -> None:
    """Run the tree's dpkg. Raises BuildError, ProgramFailed."""
    _run(plan, [*enter_tree_command(plan.tree), "dpkg", *words], {})


def _run(plan: Plan, command: list[str | Path], environment: dict[str, str]) -> None:
    try:
        run(command, env=tree_environment(plan) | environment, log=log_line)
    except ProgramFailed as error:
        raise explain_failure(error) from error


def tree_environment(plan: Plan) -> dict[str, str]:
    """Environment variables for programs in the tree, in addition to the clean environment."""
    return {
        "DEBIAN_FRONTEND": "noninteractive",
        "DEBCONF_NONINTERACTIVE_SEEN": "true",
        "HOME": "/root",
        "SOURCE_DATE_EPOCH": str(plan.epoch),
        "TMPDIR": "/tmp",  # noqa: S108 - the tree's own
    }


def explain_failure(error: ProgramFailed) -> ProgramFailed | BuildError:
    """The error for the package that failed, with its output, where dpkg names one; else the same error."""
    failed = FAILED_PACKAGE.search(error.output)
    if not failed:
        return error
    lines = error.output.splitlines()
    end = next(index for index, line in enumerate(lines) if FAILED_PACKAGE.match(line))
    begins = [index for index, line in enumerate(lines[:end]) if PACKAGE_LINE.match(line)]
    return BuildError(
        f"the package {failed[1]} could not be installed: one of its own scripts failed",
        output="\n".join(lines[begins[-1] if begins else 0 : end + REASON_LINES]),
        hint="Its output is above; `baseforge log IMAGE` has all of it. Leave it out, or wait until it is fixed.",
    )


def installed_packages(tree: Path) -> set[tuple[str, str, str]]:
    """(name, version, architecture) of each installed package, from dpkg's status file."""
    found = set()
    for stanza in (tree / STATUS).read_text(errors="replace").split("\n\n"):
        fields = dict(re.findall(r"^(Package|Version|Architecture|Status): (.*)$", stanza, re.MULTILINE))
        if fields.get("Status", "").endswith(" installed"):
            found.add((fields["Package"], fields["Version"], fields["Architecture"]))
    return found


def check_installed(plan: Plan) -> None:
    """Check that exactly the packages of the lock, and those of a base image, are installed. Raises BuildError."""
    names = {_label(plan, each.name, each.architecture) for each in plan.packages}
    expected = {(each.name, each.version, each.architecture) for each in plan.packages}
    expected |= {each for each in plan.present if _label(plan, each[0], each[2]) not in names}
    found = installed_packages(plan.tree)
    if expected != found:
        raise differs_from_lock(*(sorted(map("_".join, some)) for some in (expected - found, found - expected)))


def mark_automatic(plan: Plan) -> None:
    """Record which packages are only dependencies, for a later `apt autoremove` (apt-mark(8))."""
    file = plan.tree / MARKS
    before = file.read_text() if file.is_file() else ""
    old = (f"{each}\n\n" for each in before.split("\n\n") if each and not _is_included(plan, each))
    marks = "".join([*old, *(_stanza(each) for each in plan.packages if each.auto)])
    if marks != before and plan.has("apt"):
        chroot_files.write_file(plan.tree, f"/{MARKS}", marks)


def _is_included(plan: Plan, stanza: str) -> bool:
    fields = dict(re.findall(r"^(Package|Architecture): (.*)$", stanza, re.MULTILINE))
    return _label(plan, fields.get("Package", ""), fields.get("Architecture", "")) in plan.include


def _label(plan: Plan, name: str, architecture: str) -> str:
    """A package's name, with its architecture if that is a foreign one."""
    return f"{name}:{architecture}" if architecture in plan.foreign else name


def _stanza(package: Deb) -> str:
    return f"Package: {package.name}\nArchitecture: {package.architecture}\nAuto-Installed: 1\n\n"


def remove_package_manager(plan: Plan) -> None:
    """Take apt and dpkg out of the tree, with their settings and state.

    Scanners still find what is installed: dpkg's status file stays, and the checksums of each package's files.
    Raises BuildError, ProgramFailed.
    """
    if plan.has("apt"):
        words = ("--purge", "--auto-remove", "--allow-remove-essential", "remove", "apt")
        marks = plan.tree / MARKS
        states = (f"--option=Dir::State::extended_states={marks}",) if marks.is_file() else ()
        run_apt(plan, *states, *words)
    # dpkg can remove itself: it and its libraries are loaded by then.
    run_dpkg(plan, "--purge", "--force-depends", "--force-remove-essential", "dpkg")
    _remove_dpkg_state(plan.tree)
    for path in SETTINGS:
        place = plan.tree / path
        if place.is_dir():
            shutil.rmtree(place)


def _remove_dpkg_state(tree: Path) -> None:
    """Remove dpkg's state, except for the files that scanners read."""
    for place in (tree / STATE).rglob("*"):
        if not place.is_dir() and place.name != "status" and place.suffix != ".md5sums":
            place.unlink()
    for name in ("alternatives", "parts", "triggers", "updates"):
        shutil.rmtree(tree / STATE / name, ignore_errors=True)
