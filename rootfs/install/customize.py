"""What a recipe adds to its packages: files, locale, time zone and scripts."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from rootfs.errors import BuildError
from rootfs.install import chroot_files
from rootfs.install.dpkg import environment_of, say
from rootfs.install.errors import no_locale, no_timezone
from rootfs.install.mounts import SCRIPT
from rootfs.install.plan import Entry, Plan
from rootfs.process.errors import ProgramFailed
from rootfs.process.run import run
from rootfs.process.sandbox import enter_tree_command
from rootfs.tree.errors import cannot_place

BUILT_IN = ("C", "POSIX", "C.UTF-8", "C.utf8")  # locales of libc-bin itself
CUSTOMISE = "customise: "  # begins the line that says which script is run
GENERATOR = "usr/sbin/locale-gen"
KNOWN = "usr/share/i18n/SUPPORTED"


def lay(tree: Path, entries: Iterable[Entry], files: Path) -> None:
    """Make each entry, folders first where they lead to others; `files` is the recipe's folder. Raises InputError."""
    for entry in sorted(entries, key=lambda entry: entry.path):
        if entry.link is not None:
            place = chroot_files.cleared(tree, entry.path)
            place.symlink_to(entry.link)
            os.lchown(place, *entry.owner)
        elif entry.folder:
            _folder(tree, entry)
        else:
            _file(tree, entry, files)


def _folder(tree: Path, entry: Entry) -> None:
    place = chroot_files.inside(tree, entry.path)
    if place.exists() and not place.is_dir():
        raise cannot_place(entry.path, "there is something else of this name")
    place = chroot_files.folder(tree, entry.path)
    os.chown(place, *entry.owner)
    place.chmod(0o755 if entry.mode is None else entry.mode)


def _file(tree: Path, entry: Entry, files: Path) -> None:
    content = entry.content if entry.content is not None else files / str(entry.source)
    runnable = isinstance(content, Path) and bool(content.stat().st_mode & 0o100)
    mode = (0o755 if runnable else 0o644) if entry.mode is None else entry.mode
    chroot_files.write(tree, entry.path, content, mode=mode, owner=entry.owner)


def set_locale(plan: Plan, locale: str) -> None:
    """Make the locale if need be, and the default. Raises InputError."""
    if locale not in BUILT_IN:
        _generate(plan, locale)
    default = chroot_files.inside(plan.tree, "/etc/default/locale").relative_to(plan.tree)
    chroot_files.write(plan.tree, f"/{default}", f"LANG={locale}\n")


def _generate(plan: Plan, locale: str) -> None:
    known = plan.tree / KNOWN
    if not known.is_file() or not (plan.tree / GENERATOR).is_file():
        raise no_locale(locale, "the tree cannot make it, as it has no package `locales`")
    lines = [line for line in known.read_text().splitlines() if line.split()[:1] == [locale]]
    if not lines:
        raise no_locale(locale, f"it is not in /{KNOWN}")
    chroot_files.write(plan.tree, "/etc/locale.gen", f"{lines[0]}\n")
    run([*enter_tree_command(plan.tree), f"/{GENERATOR}"], env=environment_of(plan), log=say)


def set_timezone(tree: Path, timezone: str) -> None:
    """Raises InputError where the tree does not have it."""
    zone = f"/usr/share/zoneinfo/{timezone}"
    if not chroot_files.inside(tree, zone).is_file():
        raise no_timezone(timezone)
    chroot_files.cleared(tree, "/etc/localtime").symlink_to(zone)
    chroot_files.write(tree, "/etc/timezone", f"{timezone}\n")


def run_scripts(plan: Plan) -> None:
    """Run each script in the tree, from its root folder. Raises BuildError with what it printed."""
    for script in plan.scripts:
        say(f"{CUSTOMISE}{script}")
        chroot_files.write(plan.tree, f"/{SCRIPT}", plan.files / script, mode=0o755)
        try:
            run([*enter_tree_command(plan.tree), f"/{SCRIPT}"], env=environment_of(plan), log=say)
        except ProgramFailed as error:
            raise BuildError(
                f"customise: {script} ended with exit status {error.exit_status}", output=error.output
            ) from error
        chroot_files.cleared(plan.tree, f"/{SCRIPT}")
