"""What a recipe adds to its packages: files, locale, time zone and scripts."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rootfs.errors import BuildError
from rootfs.install import chroot_files
from rootfs.install.accounts import read_accounts
from rootfs.install.dpkg import log_line, tree_environment
from rootfs.install.mounts import SCRIPT
from rootfs.install.plan import NewEntry, Plan
from rootfs.process.errors import ProgramFailed
from rootfs.process.run import run
from rootfs.process.sandbox import enter_tree_command
from rootfs.tree.errors import cannot_place

SCRIPT_PREFIX = "customise: "  # begins the log line that names the script that runs
CERTIFICATES = "usr/local/share/ca-certificates"
UPDATE_CERTIFICATES = "usr/sbin/update-ca-certificates"
LOCALE_GEN = "usr/sbin/locale-gen"
SUPPORTED_LOCALES = "usr/share/i18n/SUPPORTED"


def write_entries(tree: Path, entries: Iterable[NewEntry], files: Path) -> None:
    """Create each file, link and folder, in order of path; `files` is the recipe's folder.

    Owners are users and groups of the tree. Raises InputError, MachineError.
    """
    known = read_accounts(tree)
    for entry in sorted(entries, key=lambda entry: entry.path):
        owner = known.ids_of(entry.owner, entry.path)
        if entry.link is not None:
            place = chroot_files.clear_path(tree, entry.path)
            place.symlink_to(entry.link)
            chroot_files.set_owner(place, owner)
        elif entry.folder:
            _make_folder(tree, entry, owner)
        else:
            _write_file(tree, entry, files, owner)


def _make_folder(tree: Path, entry: NewEntry, owner: chroot_files.Owner) -> None:
    place = chroot_files.resolve_path(tree, entry.path)
    if place.exists() and not place.is_dir():
        raise cannot_place(entry.path, "there is something else of this name")
    place = chroot_files.make_folder(tree, entry.path)
    chroot_files.set_owner(place, owner)
    place.chmod(0o755 if entry.mode is None else entry.mode)


def _write_file(tree: Path, entry: NewEntry, files: Path, owner: chroot_files.Owner) -> None:
    content = entry.content if entry.content is not None else files / str(entry.source)
    runnable = isinstance(content, Path) and bool(content.stat().st_mode & 0o100)
    mode = (0o755 if runnable else 0o644) if entry.mode is None else entry.mode
    chroot_files.write_file(tree, entry.path, content, mode=mode, owner=owner)


def update_certificates(plan: Plan) -> None:
    """Make the tree's bundle and Java keystore anew, with the certificates of the recipe. Raises BuildError."""
    own = [entry for entry in plan.entries if entry.path.startswith(f"/{CERTIFICATES}/")]
    if not own or not (plan.tree / UPDATE_CERTIFICATES).is_file():  # a layer may install the program later
        return
    try:
        run([*enter_tree_command(plan.tree), f"/{UPDATE_CERTIFICATES}"], env=tree_environment(plan), log=log_line)
    except ProgramFailed as error:
        raise BuildError("the tree's update-ca-certificates failed", output=error.output) from error


def set_locale(plan: Plan, locale: str) -> None:
    """Generate the locale where necessary, and make it the default."""
    if plan.generate_locale and not plan.has("locales-all"):  # which has them all
        _generate_locale(plan, locale)
    default = chroot_files.resolve_path(plan.tree, "/etc/default/locale").relative_to(plan.tree)
    chroot_files.write_file(plan.tree, f"/{default}", f"LANG={locale}\n")


def _generate_locale(plan: Plan, locale: str) -> None:
    lines = [line for line in (plan.tree / SUPPORTED_LOCALES).read_text().splitlines() if line.split()[:1] == [locale]]
    chroot_files.write_file(plan.tree, "/etc/locale.gen", f"{lines[0]}\n")
    run([*enter_tree_command(plan.tree), f"/{LOCALE_GEN}"], env=tree_environment(plan), log=log_line)


def set_timezone(tree: Path, timezone: str) -> None:
    """Set the time zone. A tree without its file has UTC, which needs none: it is the C library's default."""
    zone = f"/usr/share/zoneinfo/{timezone}"
    place = chroot_files.clear_path(tree, "/etc/localtime")
    if chroot_files.resolve_path(tree, zone).is_file():
        place.symlink_to(zone)
    chroot_files.write_file(tree, "/etc/timezone", f"{timezone}\n")


def run_scripts(plan: Plan) -> None:
    """Run each script inside the tree, in its root folder. Raises BuildError with its output."""
    for script in plan.scripts:
        log_line(f"{SCRIPT_PREFIX}{script}")
        chroot_files.write_file(plan.tree, f"/{SCRIPT}", plan.files / script, mode=0o755)
        try:
            run([*enter_tree_command(plan.tree), f"/{SCRIPT}"], env=tree_environment(plan), log=log_line)
        except ProgramFailed as error:
            raise BuildError(
                f"customise: {script} ended with exit status {error.exit_status}", output=error.output
            ) from error
        chroot_files.clear_path(plan.tree, f"/{SCRIPT}")
