"""System files that most images need and no package has: accounts, folders, settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from rootfs.elf.linkage import link_chain
from rootfs.install.accounts import NO_HOME, Accounts
from rootfs.install.errors import no_locale
from rootfs.install.plan import NewGroup, NewUser
from rootfs.recipe.scratch import NONROOT, NONROOT_HOME, TIME_ZONES
from rootfs.recipe.sections import Group, User
from rootfs.scratch.unpack import UnpackedPackages
from rootfs.tree.package_tree import PackageTree, TreeEntry

# passwd(5) and group(5); the numbers of tty and staff are Debian's, for programs that make terminals (grantpt(3)).
PASSWD = f"""\
root:x:0:0:root:/root:/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin
nonroot:x:{NONROOT}:{NONROOT}:nonroot:{NONROOT_HOME}:/sbin/nologin
"""
GROUP = f"root:x:0:\nnobody:x:65534:\ntty:x:5:\nstaff:x:50:\nnonroot:x:{NONROOT}:\n"
NSSWITCH = """\
passwd:    files
group:     files
shadow:    files
hosts:     files dns
networks:  files
protocols: files
services:  files
"""
ZONES = "usr/share/zoneinfo"
LOCALES = "usr/lib/locale"
LOCALE_PACKAGES = ("libc-bin", "locales-all")


def add_system_users(tree: PackageTree, _debs: UnpackedPackages, mtime: int) -> None:
    """Add the accounts root, nobody and nonroot, and their home folders."""
    tree.write("etc/passwd", PASSWD.encode(), mtime)
    tree.write("etc/group", GROUP.encode(), mtime)
    tree.folder("root", 0o700, mtime=mtime)
    tree.folder(NONROOT_HOME[1:], 0o700, (NONROOT, NONROOT), mtime)


def add_tmp(tree: PackageTree, _debs: UnpackedPackages, mtime: int) -> None:
    """Add folders for temporary files, and for the state of running programs, as Debian's base-files has them."""
    for path in ("tmp", "var/tmp", "run/lock"):
        tree.folder(path, 0o1777, mtime=mtime)
    tree.folder("run", 0o755, mtime=mtime)
    for path in ("run", "run/lock"):
        tree.link(f"var/{path.removeprefix('run/')}", f"/{path}", mtime)


def add_nsswitch(tree: PackageTree, debs: UnpackedPackages, mtime: int) -> None:
    """Add nsswitch.conf: names are looked up in files, hosts also in the DNS; and the files that it names."""
    tree.write("etc/nsswitch.conf", NSSWITCH.encode(), mtime)
    for path in ("etc/ethertypes", "etc/protocols", "etc/rpc", "etc/services"):
        tree.add(debs["netbase"].tree.entries[path])


def add_mime_types(tree: PackageTree, debs: UnpackedPackages, _mtime: int) -> None:
    """Add the media types by endings of file names."""
    tree.add(debs["media-types"].tree.entries["etc/mime.types"])


def add_os_release(tree: PackageTree, debs: UnpackedPackages, _mtime: int) -> None:
    """Add the distribution's os-release, and the link to it."""
    for path in ("usr/lib/os-release", "etc/os-release"):
        tree.add(debs["base-files"].tree.entries[path])


def add_time_zones(tree: PackageTree, debs: UnpackedPackages, _mtime: int) -> None:
    """Add all time zones."""
    for package in _zone_packages(debs):
        for entry in package.entries_below(ZONES):
            tree.add(entry)


def set_timezone(tree: PackageTree, debs: UnpackedPackages, name: str, mtime: int) -> None:
    """Set the time zone, which one of the packages has; UTC needs no package."""
    entries, links = dict[str, TreeEntry](), dict[str, str]()
    for package in _zone_packages(debs):
        entries |= package.entries
        links |= package.links
    if not entries:
        return
    for step in link_chain(f"{ZONES}/{name}", links):
        tree.add(entries[step])
    tree.link("etc/localtime", f"/{ZONES}/{name}", mtime)
    tree.write("etc/timezone", f"{name}\n".encode(), mtime)


def _zone_packages(debs: UnpackedPackages) -> list[PackageTree]:
    return [debs[name].tree for name in TIME_ZONES if name in debs]


def add_locale(tree: PackageTree, debs: UnpackedPackages, name: str) -> None:
    """Add the files of a locale; its folder has the code set in small letters without hyphens. Raises InputError."""
    stem, dot, rest = name.partition(".")
    codeset, at, modifier = rest.partition("@")
    folder = f"{LOCALES}/{stem}{dot}{codeset.replace('-', '').lower()}{at}{modifier}"
    found = [
        (debs[each].tree, entry)
        for each in LOCALE_PACKAGES
        if each in debs
        for entry in debs[each].tree.entries_below(folder)
    ]
    if not found:
        raise no_locale(name, f"there is none in {' or '.join(LOCALE_PACKAGES)}")
    for there, entry in found:
        tree.add(there.standalone(entry))


def add_accounts(tree: PackageTree, users: Sequence[User], groups: Sequence[Group], mtime: int) -> None:
    """Add the recipe's users and groups, and their home folders. Raises InputError."""
    known = _accounts(tree)
    for group in groups:
        known.add_group(NewGroup(group.name, group.gid))
    for user in users:
        known.add_user(NewUser(**user.model_dump()), 0)
        home = user.home.lstrip("/")
        if user.home != NO_HOME and home not in tree.entries:
            tree.folder(home, 0o700, (user.uid, known.gid_of(user.group or user.name) or 0), mtime)
    if users or groups:
        for name, text in known.texts().items():
            tree.write(f"etc/{name}", text.encode(), mtime)


def set_owners(tree: PackageTree, owners: Mapping[str, str]) -> None:
    """Give files to owners USER:GROUP, by path; names are those of the tree's own accounts. Raises InputError."""
    known = _accounts(tree)
    for path, owner in owners.items():
        uid, gid = known.ids_of(owner, f"/{path}")
        there = tree.entries[path]
        tree.entries[path] = replace(there, member=replace(there.member, uid=uid, gid=gid))


def _accounts(tree: PackageTree) -> Accounts:
    return Accounts({name: _text(tree, f"etc/{name}") for name in ("passwd", "group")})


def _text(tree: PackageTree, path: str) -> str:
    return tree.entries[path].read().decode() if path in tree.entries else ""
