"""The bootstrapper of scratch images: unpacks packages without running their scripts, and adds files.

The recipe's commands may make files first, in a clean folder without network.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tarfile import DIRTYPE, LNKTYPE, SYMTYPE

from rootfs.bootstrap import local_repository
from rootfs.bootstrap.bootstrapper import Job, is_root
from rootfs.bootstrap.settings_check import check_settings
from rootfs.errors import BuildError
from rootfs.lock.lock import Package
from rootfs.network.certificates import read_certificates
from rootfs.process.host import toolchain_programs
from rootfs.process.run import SYSTEM_PATH, run
from rootfs.process.sandbox import FOLDER, NOBODY, for_commands
from rootfs.recipe.base import Filters
from rootfs.recipe.scratch import Ingredient, ScratchRecipe
from rootfs.recipe.sections import FileEntry
from rootfs.scratch import busybox, certificates, linker_cache, system_files
from rootfs.scratch.dependencies import DependencyResolver
from rootfs.scratch.unpack import UnpackedPackages, unpack_packages
from rootfs.system.platforms import platform_name, platform_of
from rootfs.tree.filters import Rules, excluded, filter_lines
from rootfs.tree.member import Member, Members
from rootfs.tree.package_tree import PackageTree, TreeEntry, entry_from_disk
from rootfs.tree.paths import usr_merged_path

INGREDIENTS: dict[Ingredient, Callable[[PackageTree, UnpackedPackages, int], None]] = {
    "certificates": certificates.add_bundle,
    "keystore": certificates.add_keystore,
    "zones": system_files.add_time_zones,
    "users": system_files.add_system_users,
    "tmp": system_files.add_tmp,
    "os-release": system_files.add_os_release,
    "nsswitch": system_files.add_nsswitch,
    "mime-types": system_files.add_mime_types,
    "busybox": busybox.add_programs,
    "debug-shell": busybox.add_debug_shell,
}
STATUS_FOLDER = "var/lib/dpkg/status.d"  # where scanners look for the packages of images without dpkg


@contextmanager
def open_tree(job: Job, recipe: ScratchRecipe) -> Iterator[Members]:
    """The tree of a scratch recipe. It needs no root: owners are set in the members, not on a disk.

    Raises InputError, BadDeb, BuildError, ProgramFailed.
    """
    check_settings(job, recipe)
    folder = _run_build(job, recipe)
    debs = unpack_packages(_image_packages(job, recipe), job.debs, job.decompressed, job.deb_cache)
    made = PackageTree(aliased=bool(debs))
    mtime = local_repository.newest_build_time(job.debs, job.lock.packages)
    complete = _add_packages(made, recipe, debs)
    _add_ingredients(job, made, recipe, debs, mtime)
    files = [_file_entry(entry, folder, merge=made.aliased) for entry in recipe.files]
    for file in files:
        made.put(file)
    system_files.add_accounts(made, recipe.users, recipe.groups, mtime)
    system_files.set_owners(made, {file.path: entry.owner for file, entry in zip(files, recipe.files, strict=True)})
    cached = "linker-cache" in recipe.ingredients
    resolver = DependencyResolver(
        made, debs, complete, recipe.image.env.get("LD_LIBRARY_PATH", ""), has_linker_cache=cached
    )
    used = Rules.parse(excluded(recipe.unlinked))
    resolver.resolve(recipe.opened, [file for file in files if used.keeps(file.path)])
    if cached:
        linker_cache.write_cache(made, mtime)
    _write_package_records(made, debs, mtime)
    yield made.members()


def _image_packages(job: Job, recipe: ScratchRecipe) -> list[Package]:
    """The packages that files of the image may come from, without those that only checks need."""
    named = {*recipe.packages, *recipe.libraries, *recipe.partly}
    for_checks = {name for check in recipe.smoke for name in check.packages} - named
    return [package for package in job.lock.packages if package.auto or package.name not in for_checks]


def _run_build(job: Job, recipe: ScratchRecipe) -> Path:
    """Run the recipe's commands, in a sandbox, in a copy of its folder; the copy."""
    folder = job.folder / "build"
    if job.files.is_dir():
        shutil.copytree(job.files, folder, symlinks=True)
    else:
        folder.mkdir()
    programs = toolchain_programs(recipe.tools, job.toolchains)
    view = for_commands(folder, job.limits, tuple(sorted({program.parent.parent for program in programs.values()})))
    if recipe.build and is_root():
        run(["chown", "--recursive", "--no-dereference", f"{view.user}:{NOBODY}", folder])
    environment = {**job.environment, **_target_environment(job.architecture), "HOME": FOLDER, "TMPDIR": "/tmp"}  # noqa: S108
    environment["PATH"] = ":".join([SYSTEM_PATH, *sorted({str(program.parent) for program in programs.values()})])
    for command in recipe.build:
        run(command, env=environment, contained=view, timeout=job.limits.seconds, log=job.log)
    return folder


def _target_environment(architecture: str) -> dict[str, str]:
    """The target platform for compilers, in the variables of BuildKit's Dockerfiles."""
    platform = platform_of(architecture)
    return {"TARGETPLATFORM": platform_name(architecture), "TARGETARCH": platform["architecture"]}


def _add_packages(made: PackageTree, recipe: ScratchRecipe, debs: UnpackedPackages) -> set[str]:
    """Add the packages that the recipe names to the tree, without what it leaves out; returns their names."""
    rules = Rules.parse(filter_lines(Filters(recipe.slim, recipe.paths.exclude, recipe.paths.include)))
    partly = {*recipe.libraries, *recipe.partly} - {*recipe.packages}
    complete = {name for name, each in debs.items() if not each.package.auto and name not in partly}
    for name in sorted(complete):
        for path, entry in debs[name].tree.entries.items():
            if rules.keeps(path, is_folder=entry.member.is_folder):
                is_whole = entry.member.kind == LNKTYPE and not rules.keeps(entry.member.link)
                made.add(debs[name].tree.standalone(entry) if is_whole else entry)
    return complete


def _add_ingredients(job: Job, made: PackageTree, recipe: ScratchRecipe, debs: UnpackedPackages, mtime: int) -> None:
    """Add ingredients, time zone and locale; `linker-cache` follows when all libraries are in the tree."""
    for word in recipe.ingredients:
        if word in INGREDIENTS:
            INGREDIENTS[word](made, debs, mtime)
    certificates.add_own(made, read_certificates(job.files, recipe.certificates), mtime)
    if recipe.timezone:
        system_files.set_timezone(made, debs, recipe.timezone, mtime)
    if recipe.locale:
        system_files.add_locale(made, debs, recipe.locale)


def _write_package_records(made: PackageTree, debs: UnpackedPackages, mtime: int) -> None:
    """Record each package of the tree as other images without dpkg do: control stanza and checksums of files."""
    for name in sorted({entry.package for entry in made.entries.values() if entry.package}):
        there = {f"{line}\n" for line in debs[name].sums.splitlines() if _is_there(made, line, name)}
        made.write(f"{STATUS_FOLDER}/{name}", debs[name].control.encode(), mtime)
        made.write(f"{STATUS_FOLDER}/{name}.md5sums", "".join(sorted(there)).encode(errors="surrogateescape"), mtime)


def _is_there(made: PackageTree, line: str, package: str) -> bool:
    path = line.partition("  ")[2]
    return any(each in made.entries and made.entries[each].package == package for each in (path, f"usr/{path}"))


def _file_entry(entry: FileEntry, folder: Path, *, merge: bool) -> TreeEntry:
    """A file, link or folder of the recipe; with `merge`, /bin is a link to /usr/bin, as in trees of packages."""
    plain = entry.path.lstrip("/")
    path = usr_merged_path(plain) if merge else plain
    mode = None if entry.mode is None else int(entry.mode, 8)
    if entry.link is not None:
        return TreeEntry(Member(path, kind=SYMTYPE, mode=0o777, link=entry.link))
    if entry.folder:
        return TreeEntry(Member(path, kind=DIRTYPE, mode=0o755 if mode is None else mode))
    if entry.content is not None:
        data = entry.content.encode()
        member = Member(path, mode=0o644 if mode is None else mode, size=len(data))
        return TreeEntry(member, data=data)
    return entry_from_disk(path, _built_file(folder, str(entry.source)), mode)


def _built_file(folder: Path, source: str) -> Path:
    """A file that the commands have made. Raises BuildError, also for a link out of the folder."""
    try:
        file = (folder / source).resolve()
    except (OSError, RuntimeError):  # a link to itself
        raise not_made(source) from None
    if not file.is_relative_to(folder.resolve()) or not file.is_file():
        raise not_made(source)
    return file


def not_made(source: str) -> BuildError:
    """A scratch recipe's commands did not make a file that the image is to have."""
    return BuildError(f"`build` did not make {source!r}", hint="Check the commands in `build` and the names in `from`.")
