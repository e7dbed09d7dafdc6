"""List the installed packages and the distribution of a tree, read from its members as they stream by."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import shlex
from collections.abc import Callable, Iterable, Iterator

from rootfs.system.text import printable
from rootfs.tree.errors import BadTree
from rootfs.tree.member import Member, Members, read_whole

STATUS = "var/lib/dpkg/status"  # dpkg's database
LARGEST = 16 << 20  # bytes of a database, ten times that of a full desktop
LONGEST = 200  # characters of the distribution's name

Packages = Iterator[tuple[str, str]]
OS_RELEASE = ("etc/os-release", "usr/lib/os-release")  # os-release(5): the first counts, if it is no link to the other


class Inventory:
    """Observes the stream of members and reads the databases of dpkg, apk and pacman in it."""

    def __init__(self) -> None:
        self._packages: dict[str, str] = {}
        self._names: dict[str, str] = {}

    def observe(self, members: Members) -> Iterator[Member]:
        """Yield the same members; the inventory is complete when they have all passed. Raises BadTree."""
        for member in members:
            read = next((read for pattern, read in DATABASES if pattern.fullmatch(member.path)), None)
            if not (read or member.path in OS_RELEASE) or not (member.is_file and member.content):
                yield member
                continue
            if member.size > LARGEST:
                raise BadTree(f"/{member.path} has {member.size} bytes, which is too large for this file")
            kept, data = read_whole(member)
            if read:
                self._packages.update(read(data))
            else:
                self._names[member.path] = _pretty_name(data)
            yield kept

    def packages(self) -> dict[str, str]:
        """Installed packages as `name:architecture` and their versions, sorted; empty where no database is known."""
        return dict(sorted(self._packages.items()))

    @property
    def distribution(self) -> str:
        """The name of the distribution from os-release(5); empty where there is none."""
        return next((name for path in OS_RELEASE if (name := self._names.get(path))), "")


def packages_of(data: bytes) -> Packages:
    """The packages in dpkg's database, or the package of an image without dpkg, which has no status."""
    for entry in _stanzas(data, ("package", "status", "architecture", "version")):
        if entry.get("status", " installed").endswith(" installed"):
            yield f"{entry.get('package', '')}:{entry.get('architecture', '')}", entry.get("version", "")


def _apk(data: bytes) -> Packages:
    """apk's database, in which each letter is a field (apk-v2(5))."""
    for entry in _stanzas(data, ("p", "a", "v")):
        yield f"{entry.get('p', '')}:{entry.get('a', '')}", entry.get("v", "")


def _pacman(data: bytes) -> Packages:
    """One package of pacman's database: the field's name between percent signs, and its value on the next line."""
    fields = dict(re.findall(r"^%(NAME|ARCH|VERSION)%\n(.+)$", data.decode(errors="replace"), re.MULTILINE))
    if "NAME" in fields:
        yield f"{fields['NAME']}:{fields.get('ARCH', '')}", fields.get("VERSION", "")


DATABASES: tuple[tuple[re.Pattern[str], Callable[[bytes], Packages]], ...] = (
    (re.compile(rf"{STATUS}(\.d/.*(?<!\.md5sums))?"), packages_of),
    (re.compile(r"(usr/)?lib/apk/db/installed"), _apk),
    (re.compile(r"var/lib/pacman/local/[^/]+/desc"), _pacman),
)


def _stanzas(data: bytes, keys: Iterable[str]) -> Iterator[dict[str, str]]:
    """These fields of each paragraph, by their name in small letters.

    Own code for four fields: a hostile file could make a full parser use much memory and time.
    """
    entry: dict[str, str] = {}
    for line in itertools.chain(io.BytesIO(data), [b""]):
        key, colon, value = line.partition(b":")
        name = key.decode("ascii", errors="replace").lower()
        if not line.strip():
            if entry:
                yield entry
            entry = {}
        elif colon and name in keys:
            entry.setdefault(name, value.strip().decode(errors="replace"))


def _pretty_name(data: bytes) -> str:
    """os-release(5): PRETTY_NAME, else NAME, as a shell reads it."""
    values = dict(re.findall(r"^(PRETTY_NAME|NAME)=(.*)$", data.decode(errors="replace"), re.MULTILINE))
    value = values.get("PRETTY_NAME") or values.get("NAME", "")
    with contextlib.suppress(ValueError):  # no closing quote
        value = " ".join(shlex.split(value))
    return printable(value[:LONGEST])
