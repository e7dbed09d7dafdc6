"""Read user names and passwords for archives from files in apt's format (apt_auth.conf(5), as netrc).

They come from the machine's own files and from a file in the settings. No recipe, record or cache contains them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from rootfs.errors import InputError
from rootfs.network.addresses import PORTS, is_below

CONFIGURED = Path("/etc/apt/auth.conf")
PARTS = Path("/etc/apt/auth.conf.d")
KEYWORDS = ("machine", "login", "password", "account")  # keywords with a value
OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True)
class Entry:
    """User name and password for one machine; for all ports if it has no port, for https only if it has no scheme."""

    scheme: str
    host: str
    port: int | None
    path: str
    login: str
    password: str = field(repr=False)

    def fits(self, address: httpx.URL) -> bool:
        """Whether the entry is for this address."""
        return (
            (address.scheme, address.host) == (self.scheme, self.host)
            and self.port in (None, address.port or PORTS.get(address.scheme))
            and is_below(urlsplit(str(address)).path, self.path)  # address.path is decoded
        )

    @property
    def line(self) -> str:
        """The entry for apt, which compares starts of addresses: with a slash at the end of its path."""
        port = "" if self.port is None else f":{self.port}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        words = ["machine", f"{self.scheme}://{host}{port}{self.path.rstrip('/')}/"]
        words += ["login", self.login] if self.login else []
        words += ["password", self.password] if self.password else []
        return f"{' '.join(words)}\n"


@dataclass(frozen=True)
class Credentials:
    """Entries for machines. The first one for an address counts."""

    entries: tuple[Entry, ...] = ()

    def find(self, address: httpx.URL) -> Entry | None:
        """The entry for an address."""
        return next((entry for entry in self.entries if entry.fits(address)), None)

    async def add(self, request: httpx.Request) -> None:
        """Set the Authorization header of a request for its own address, so that a redirect does not leak it."""
        request.headers.pop("Authorization", None)
        if entry := self.find(request.url):
            next(httpx.BasicAuth(entry.login, entry.password).auth_flow(request))  # which sets the header


def load_credentials(file: Path | None, machine: tuple[Path, Path] = (CONFIGURED, PARTS)) -> Credentials:
    """Read the credentials: from the file in the settings, else from auth.conf, and then from auth.conf.d, as apt does.

    Files of the machine that this user may not read are left out. Raises InputError.
    """
    configured, parts = machine
    texts = [_read_configured(file)] if file else _read_if_readable(configured)
    texts += [text for path in sorted(parts.glob("*.conf")) for text in _read_if_readable(path)]
    return Credentials(tuple(entry for text in texts for entry in parse_entries(text)))


def _read_configured(file: Path) -> str:
    """The text of the file in the settings, which needs at least one entry. Raises InputError."""
    text = read_private_file(file)
    if text.strip() and not any(entry.login for entry in parse_entries(text)):
        raise unusable_auth_file(file, "no line of it is `machine HOST login NAME password PASSWORD`")
    return text


def unusable_auth_file(path: object, why: str, hint: str = "") -> InputError:
    """The file that the setting `auth` names cannot be used."""
    return InputError(
        f"`auth`, the file with names and passwords, cannot be used: {why}",
        where=str(path),
        hint=hint or "Correct its path or its text; `baseforge doctor` says where the setting `auth` comes from.",
    )


def read_private_file(file: Path, unusable: Callable[..., InputError] = unusable_auth_file) -> str:
    """The text of a file that only its owner, this user or root, may read.

    Raises the error that `unusable` makes of the file, the reason and perhaps a hint.
    """
    try:
        with file.open(encoding="utf-8") as stream:
            about = os.fstat(stream.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise unusable(file, "it is not a file")
            if about.st_mode & OTHERS:
                raise unusable(file, "others than its owner may read or write it", f"chmod 600 '{file}'")
            if about.st_uid not in (0, os.geteuid()):
                raise unusable(file, "it belongs to another user", "Make a copy of your own, with mode 0600.")
            return stream.read()
    except (OSError, UnicodeDecodeError) as error:
        raise unusable(file, getattr(error, "strerror", None) or "it is not UTF-8 text") from error


def unreadable_files() -> list[Path]:
    """The machine's own files that this user may not read."""
    files = (CONFIGURED, *sorted(PARTS.glob("*.conf")))
    return [file for file in files if os.access(file, os.F_OK) and not os.access(file, os.R_OK)]


def _read_if_readable(file: Path) -> list[str]:
    try:
        return [file.read_text(encoding="utf-8")]
    except (OSError, UnicodeDecodeError):
        return []


def parse_entries(text: str) -> Iterator[Entry]:
    """Parse the entries of a file. Unknown words are ignored, as apt does."""
    words = iter([word for line in text.splitlines() if not line.lstrip().startswith("#") for word in line.split()])
    values: dict[str, str] = {}
    for word in words:
        if word == "machine" and values:
            yield from _entry(values)
            values = {}
        if word in KEYWORDS:
            values.setdefault(word, next(words, ""))
    yield from _entry(values)


def _entry(values: dict[str, str]) -> Iterator[Entry]:
    machine = values.get("machine", "")
    scheme, has_scheme, rest = machine.rpartition("://")
    try:
        parts = urlsplit(f"//{rest}")
        if parts.hostname:
            login_and_password = values.get("login", ""), values.get("password", "")
            yield Entry(scheme if has_scheme else "https", parts.hostname, parts.port, parts.path, *login_and_password)
    except ValueError:  # no such port
        return
