"""The kinds of text a recipe is made of, each with its rule and the place the rule comes from."""

from __future__ import annotations

import re
import signal
import warnings
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from rootfs.errors import PUT_CREDENTIALS, nearest
from rootfs.mask import has_credentials
from rootfs.network.addresses import is_plain
from rootfs.system.errors import UnknownPlatform
from rootfs.system.platforms import PLATFORMS, architecture_of
from rootfs.system.text import DURATION, parse_duration
from rootfs.time_zones import is_zone, time_zones


def _like(pattern: str, meaning: str) -> tuple[AfterValidator, Any]:
    """Text that the pattern matches completely; `meaning` describes it in the error."""
    rule = re.compile(pattern)

    def check(value: str) -> str:
        if not rule.fullmatch(value):
            raise ValueError(f"{value!r} is not {meaning}")
        return value

    return AfterValidator(check), Field(json_schema_extra={"pattern": f"^({pattern})$"})


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ValueError(f"{value!r} is there twice")
    return values


def _not_empty(values: tuple[object, ...]) -> tuple[object, ...]:
    if not values:
        raise ValueError("this list needs at least one item")
    return values


def _known_platform(value: str) -> str:
    """A platform that images can be made for."""
    try:
        architecture_of(value)
    except UnknownPlatform as error:
        raise ValueError(f"{error.message}. {error.hint}") from error
    return value


def _known_architecture(value: str) -> str:
    """An architecture that images can be made for."""
    if value not in PLATFORMS:
        hint = nearest(value, PLATFORMS) or f"Known are {', '.join(PLATFORMS)}."
        raise ValueError(f"{value!r} is not an architecture of Debian. {hint}")
    return value


def _own_architecture(value: str) -> str:
    """A package's name without an architecture."""
    name, colon, architecture = value.partition(":")
    if colon and architecture in (*PLATFORMS, "all", "any", "native"):
        raise ValueError(
            f"{value!r} names an architecture, which only `include` of a debootstrap or layer recipe may:"
            f" write {name!r}"
        )
    return value


def _any_architecture(value: str) -> str:
    """A package's name, perhaps with a colon and an architecture."""
    _, colon, architecture = value.partition(":")
    if colon and architecture not in PLATFORMS:
        hint = nearest(architecture, PLATFORMS) or f"Known are {', '.join(PLATFORMS)}."
        raise ValueError(f"{value!r}: {architecture!r} is not an architecture of Debian. {hint}")
    return value


Distinct = AfterValidator(_distinct), Field(json_schema_extra={"uniqueItems": True})
NotEmpty = AfterValidator(_not_empty), Field(json_schema_extra={"minItems": 1})

# A repository's name in the OCI distribution specification, without its slashes.
Name = Annotated[
    str, *_like(r"[a-z0-9]+([._-][a-z0-9]+)*", "a name: use small letters and digits, with single . _ - between")
]
# A repository as engines take it (distribution/reference): [HOST[:PORT]/]NAME[/NAME…].
_PATH = r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"
RepositoryName = Annotated[
    str,
    *_like(
        rf"(?=.{{1,200}}$)([A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{{1,5}})?/)?{_PATH}(/{_PATH})*",
        "a name that engines take: use small letters and digits, with single . _ - / between",
    ),
]
# Debian Policy 5.6.1.
PackageName = Annotated[
    str, AfterValidator(_own_architecture), *_like(r"[a-z0-9][a-z0-9+.-]+", "a Debian package name")
]
# dpkg(1): NAME, or NAME:ARCHITECTURE.
QualifiedPackageName = Annotated[
    str,
    *_like(r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9]+)?", "a Debian package name, such as libc6 or libc6:i386"),
    AfterValidator(_any_architecture),
]
# As in Release files; never a space, a slash or a leading dash, since they become words of commands and of sources.
Suite = Annotated[str, *_like(r"[a-z0-9][a-z0-9.-]*", "a suite's name")]
Component = Annotated[str, *_like(r"[a-z0-9][a-z0-9.-]*", "a component's name")]
# Those of other archives, as sources.list(5) allows them: with slashes, and paths, which end in one and have no
# components.
_PART = r"[A-Za-z0-9][A-Za-z0-9.~+_-]*"
ArchiveSuite = Annotated[
    str, *_like(rf"\.?/|{_PART}(/{_PART})*/?|\./{_PART}(/{_PART})*/", "a suite: write NAME, NAME/NAME, ./ or PATH/")
]
ArchiveComponent = Annotated[str, *_like(rf"{_PART}(/{_PART})*", "a component's name")]
ReleaseName = Annotated[str, *_like(rf"{_PART}(/{_PART})*", "a name of a suite, as Release files have it")]
# As buildx has it: what becomes a container's name, a label of a deployment and a file's name.
BuilderName = Annotated[str, *_like(r"([A-Za-z0-9][A-Za-z0-9_.-]*)?", "a builder's name")]
DriverOption = Annotated[str, *_like(r"[A-Za-z0-9][A-Za-z0-9_.-]*", "a name of a driver's option")]
# As BuildKit has names of stages (frontend/dockerfile/instructions/parse.go) and buildx ids of secrets: without what
# separates options.
Stage = Annotated[str, *_like(r"[a-z][a-z0-9_.-]*", "a stage's name: use small letters, digits and _ . -")]
SecretId = Annotated[str, *_like(r"[A-Za-z0-9][A-Za-z0-9_.-]*", "an id of a secret: use letters, digits and _ . -")]
# containerd's platforms: OS/ARCHITECTURE[/VARIANT].
Platform = Annotated[str, *_like(r"[a-z0-9]+/[a-z0-9]+(/[a-z0-9.]+)?", "a platform: write linux/amd64 or linux/arm/v7")]
KnownPlatform = Annotated[Platform, AfterValidator(_known_platform)]
Architecture = Annotated[str, AfterValidator(_known_architecture)]
# POSIX.1, 8.1: what programs and shells can read.
EnvName = Annotated[str, *_like(r"[A-Za-z_][A-Za-z0-9_]*", "a name of an environment variable")]
Label = Annotated[str, *_like(r"[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?", "a name of a label")]
# OCI image specification, config: `user`, `uid`, `user:group`, `uid:gid`, `uid:group`, `user:gid`; names as useradd(8).
_WHO = r"([A-Za-z_][A-Za-z0-9_.-]*|[0-9]+)"
LAST_ID = (1 << 32) - 2  # of uid_t and gid_t; the number after it means "no change" (chown(2))
LAST_STARTED_ID = (1 << 31) - 1  # the last number that engines start a container as (moby/sys/user: maxID)


def _up_to(last: int, why: str) -> AfterValidator:
    """Users and groups whose numbers are at most `last`."""

    def check(value: str) -> str:
        for word in value.split(":"):
            if word.isdigit() and int(word) > last:
                raise ValueError(f"{word} is too large: {why} {last}")
        return value

    return AfterValidator(check)


User = Annotated[
    str,
    *_like(rf"{_WHO}(:{_WHO})?", "a user: write NAME or NUMBER, or USER:GROUP"),
    _up_to(LAST_STARTED_ID, "the last number that engines start a container as is"),
]
Owner = Annotated[
    str,
    *_like(rf"{_WHO}:{_WHO}", "an owner: write USER:GROUP, each a name or a number"),
    _up_to(LAST_ID, "the last number of a user or group is"),
]
Id = Annotated[int, Field(ge=1, le=LAST_ID)]
# useradd(8); systemd's "strict mode" of user names.
UserName = Annotated[str, *_like(r"[a-z_][a-z0-9_-]{0,30}", "a user's or group's name")]
# apt_preferences(5) and sources.list(5); never what could begin another line or option.
Priority = Annotated[int, Field(ge=-1, le=32767)]
PinnedPackage = Annotated[str, *_like(r"[a-z0-9*?][a-z0-9+.*?-]*", "a package's name or a pattern of names")]
PinRule = Annotated[
    str,
    *_like(
        r"(version|release|origin) [A-Za-z0-9\"][A-Za-z0-9 .,=*~+:\"_/-]*",
        "a pin: write `version 1.2*`, `release n=SUITE` or `origin HOST`",
    ),
]


def without_credentials(address: str, hint: str = PUT_CREDENTIALS) -> str:
    """The address, where it has no name or password. No error shows the address."""
    if has_credentials(address):
        raise ValueError(f"this address has a name or a password in it. {hint}")
    if "://" in address and re.search(r"""[^!-~]|["'<>\\^`{|}]""", address):
        raise ValueError("this address has a space, a quote or another character that no address has: write it as %XX")
    try:
        _ = urlsplit(address).port
    except ValueError:
        raise ValueError("this address has a port that is no number, or a host in brackets that is none") from None
    return address


def _plain_path(address: str) -> str:
    """An address that cannot lead out of the folder that a password or a mirror is for."""
    if not is_plain(urlsplit(address).path):
        raise ValueError("this address has `.`, `..` or an encoded slash in its path: write the path that is meant")
    return address


ArchiveAddress = Annotated[
    str,
    AfterValidator(without_credentials),
    AfterValidator(_plain_path),
    *_like(r"https?://[A-Za-z0-9._~:/\[\]@%+-]+", "an archive's address (http:// or https://)"),
]
# The snapshot archive's own form of a moment.
Snapshot = Annotated[str, *_like(r"[0-9]{8}T[0-9]{6}Z", "a moment, such as 20261101T000000Z")]


def _duration(value: str) -> str:
    parse_duration(value)
    return value


Duration = Annotated[str, AfterValidator(_duration), Field(json_schema_extra={"pattern": f"^({DURATION})$"})]
# What DT_SONAME and dlopen(3) have; never a path.
Library = Annotated[str, *_like(r"[A-Za-z0-9][A-Za-z0-9_.+-]*", "a library's name, such as libnss_dns.so.2")]
PathGlob = Annotated[str, *_like(r"/[^\n ]*", "a pattern of paths, such as /usr/share/doc/*")]
BUILT_IN_LOCALES = ("C", "POSIX", "C.UTF-8", "C.utf8")  # of libc-bin itself
BUILT_IN_ZONES = ("UTC", "Etc/UTC")  # what the C library uses where no time zone is set
Locale = Annotated[str, *_like(r"[A-Za-z_]+(\.[A-Za-z0-9-]+)?(@[a-z]+)?", "a locale, such as C.UTF-8")]


def _known_zone(value: str) -> str:
    """A time zone that exists."""
    if not is_zone(value):
        hint = nearest(value, time_zones()) or "Write a name of the tz database, such as Europe/Berlin."
        raise ValueError(f"there is no time zone {value!r}. {hint}")
    return value


Timezone = Annotated[
    str,
    *_like(r"[A-Z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*", "a time zone, such as Europe/Berlin"),
    AfterValidator(_known_zone),
]
# Values of these keys are text, as it is written in the file: `0644`, `8080` and `true` need no quotes.
AS_WRITTEN = frozenset({"mode", "env", "labels", "args", "options"})
Mode = Annotated[
    str,
    *_like(r"[0-7]{3,4}", "a mode: write it in octal digits, as 0755"),
    WithJsonSchema({"type": ["string", "integer"], "pattern": "^([0-7]{3,4})$"}),
]
Written = Annotated[str, WithJsonSchema({"type": ["string", "number", "boolean"]})]


def _without_controls(value: str) -> None:
    """Paths become lines of files, such as apt's sources, and words of errors: none may begin a line of its own."""
    if not value.isprintable():
        raise ValueError(f"{value!r} has a line break or another character that cannot be printed")


def _absolute(value: str) -> str:
    """A path as the kernel would write it, so that one file has one name."""
    _without_controls(value)
    if not value.startswith("/") or ".." in value.split("/") or str(PurePosixPath(value)) != value or value[:2] == "//":
        raise ValueError(f"{value!r} is not a plain absolute path, such as /etc/motd")
    return value


def _file_path(value: str) -> str:
    if _absolute(value) == "/":
        raise ValueError("'/' is the root folder, not a file")
    return value


def _inside(value: str) -> str:
    """A path that cannot lead out of the folder it is taken from."""
    _without_controls(value)
    if value.startswith("/") or ".." in value.split("/"):
        raise ValueError(f"{value!r} leads out of the recipe's folder")
    if str(PurePosixPath(value)) != value or value == ".":
        raise ValueError(f"{value!r} is not a plain relative path, such as etc/motd")
    return value


def _target(value: str) -> str:
    if not value:
        raise ValueError("a link has to point somewhere")
    return value


def _reason(value: str) -> str:
    if not value.strip():
        raise ValueError("a reason is a sentence, not nothing")
    return value


Reason = Annotated[str, AfterValidator(_reason)]
FolderPath = Annotated[str, AfterValidator(_absolute)]
FilePath = Annotated[str, AfterValidator(_file_path)]
Inside = Annotated[str, AfterValidator(_inside)]
Target = Annotated[str, AfterValidator(_target)]


def _source(value: str) -> str:
    """A file of the recipe's folder, or an address."""
    return value if re.match(r"https?://.", without_credentials(value)) else _inside(value)


FileOrAddress = Annotated[str, AfterValidator(_source)]
Sha256 = Annotated[str, *_like(r"[0-9a-f]{64}", "a sha256: 64 small letters and digits")]


def _regex(value: str) -> str:
    """A regular expression. Ambiguous ones, of which `re` warns, are refused too."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)
            re.compile(value)
    except (re.error, OverflowError, RecursionError, FutureWarning) as error:
        raise ValueError(f"{value!r} is not a regular expression: {error}") from None
    return value


Regex = Annotated[str, AfterValidator(_regex)]


def _command(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value or not value[0]:
        raise ValueError("a command needs a program as its first word")
    return value


Command = Annotated[tuple[str, ...], AfterValidator(_command), Field(json_schema_extra={"minItems": 1})]


def _text_or_number(check: Callable[[str], str]) -> tuple[BeforeValidator, WithJsonSchema]:
    """Text, or a bare number where that is as clear: `80`, `9`."""

    def convert(value: object) -> object:
        return check(str(value)) if isinstance(value, (str, int)) and not isinstance(value, bool) else value

    return BeforeValidator(convert), WithJsonSchema({"type": ["string", "integer"]})


def _port(value: str) -> str:
    """OCI image specification, config `ExposedPorts`: PORT/PROTOCOL, tcp by default."""
    match = re.fullmatch(r"([1-9][0-9]{0,4})(?:/(tcp|udp|sctp))?", value)
    if not match or int(match[1]) > 65535:
        raise ValueError(f"{value!r} is not a port: write 80, 80/tcp or 53/udp")
    return f"{match[1]}/{match[2] or 'tcp'}"


def _signal(value: str) -> str:
    """OCI image specification, config `StopSignal`: SIGNAME, SIGRTMIN+3 or a number."""
    names = signal.Signals.__members__
    if value in names or re.fullmatch(r"[1-9]|[1-5][0-9]|6[0-4]|SIGRT(MIN\+|MAX-)([1-9]|[12][0-9])", value):
        return value
    raise ValueError(" ".join(filter(None, (f"{value!r} is not a signal.", nearest(value.upper(), names)))))


Port = Annotated[str, *_text_or_number(_port)]
StopSignal = Annotated[str, *_text_or_number(_signal)]
