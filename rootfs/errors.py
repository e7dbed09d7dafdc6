"""Every error a user can see: what went wrong, where, and what to do about it.

Exit statuses: 1 a build or a check failed, 2 the user's input is wrong, 3 the machine lacks something.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rootfs.mask import masked


class BaseforgeError(Exception):
    """An error that a user can do something about. Printed as a few lines, never as a traceback.

    `message` is one sentence; `where` is `file:line:column`, a step or an address; `hint` says what to do; `output` is
    the end of what the failing program printed. Names and passwords of addresses are masked in all of them.
    """

    status = 1

    def __init__(self, message: str, *, where: str = "", hint: str = "", output: str = "") -> None:
        self.message, self.where, self.hint, self.output = map(masked, (message, where, hint, output))
        super().__init__(self.message)

    def __str__(self) -> str:
        head = f"{self.where}: {self.message}" if self.where else self.message
        tail = "".join(f"\n  | {line}" for line in self.output.strip().splitlines()[-20:])
        return head + tail + (f"\n  {self.hint}" if self.hint else "")

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions are rebuilt from `args` when pickled (Prefect does); ours have keywords.
        return (_empty, (type(self), self.message), vars(self))

    def as_dict(self) -> dict[str, str | int]:
        """The error as JSON data, for `error_from`."""
        return {**{key: getattr(self, key) for key in ("message", "where", "hint", "output")}, "status": self.status}


def _empty(kind: type[BaseforgeError], message: str) -> BaseforgeError:
    return kind.__new__(kind, message)


class BuildError(BaseforgeError):
    """A build or a check failed."""


class InputError(BaseforgeError):
    """What the user wrote (a recipe, an option, a setting) is wrong."""

    status = 2


class MachineError(BaseforgeError):
    """The machine lacks something, or something on it does not answer."""

    status = 3


def error_from(data: Mapping[str, Any]) -> BaseforgeError:
    """An error that another process has written as `as_dict`. Of its class only the exit status is known."""
    kind = next(kind for kind in (BuildError, InputError, MachineError) if kind.status == data["status"])
    return kind(data["message"], where=data["where"], hint=data["hint"], output=data["output"])


class NetworkFailure(BuildError):
    """Something on the network did not answer as it should: the only kind of error that trying again can help."""


class ServiceUnreachable(NetworkFailure, MachineError):
    """A server that the site has chosen does not answer, such as its store: not a build that failed."""


class Unexpected(BuildError):
    """A bug of ours: an error that no user can fix."""

    def __init__(self, image: str, bug: Exception) -> None:
        super().__init__(
            f"a bug: {type(bug).__name__}: {bug}", hint=f"`baseforge log {image}` has the traceback. Please report it."
        )


def nearest(word: str, known: Iterable[str]) -> str:
    """`Did you mean …?` with the nearest known word, or an empty string when none is near."""
    match = difflib.get_close_matches(word, list(known), n=1, cutoff=0.4)
    return f"Did you mean {match[0]!r}?" if match else ""


# Programs


class ProgramMissing(MachineError):
    """A program is not installed."""

    def __init__(self, program: str) -> None:
        super().__init__(
            f"{program} is not installed", hint="`./baseforge doctor` says what is missing and how to get it."
        )


class ProgramFailed(BuildError):
    """A program ended with an exit status other than 0."""

    def __init__(self, program: str, status: int, output: str) -> None:
        ending = f"was killed by signal {-status}" if status < 0 else f"failed with exit status {status}"
        super().__init__(f"{program} {ending}", output=output)
        self.exit_status = status


class ProgramTimedOut(BuildError):
    """A program was still running when its time was up; it and all it had started were killed."""

    def __init__(self, program: str, seconds: float, output: str, setting: str = "") -> None:
        super().__init__(
            f"{program} did not end within {seconds:g} s and was stopped",
            hint=f"If it needs longer, raise {_setting(setting)}." if setting else "",
            output=output,
        )


class LimitReached(BuildError):
    """A program of a sandbox reached the limit of memory or processes; it and all it had started were killed."""

    def __init__(self, program: str, amount: str, setting: str, output: str) -> None:
        super().__init__(
            f"{program} reached the limit of {amount} and was stopped, with all that it had started",
            hint=f"If it needs more, raise {_setting(setting)}.",
            output=output,
        )


class OutputTooLarge(BuildError):
    """A program printed more than is kept in memory."""

    def __init__(self, program: str, most: int) -> None:
        super().__init__(f"{program} printed more than {most >> 20} MiB", hint="See why it prints so much.")


class TreeTooLarge(BuildError):
    """The files of a tree have more bytes than they may."""

    def __init__(self, path: str, most: int) -> None:
        super().__init__(
            f"the files of the tree have more than {most >> 20} MiB: {path} is the one that is too much",
            hint=f"If it is meant to be that large, raise {_setting('sandbox_disk')}.",
        )


def _setting(name: str) -> str:
    """A setting, with both ways to set it."""
    return f"`{name}` in baseforge.toml (BASEFORGE_{name.upper()})"


# Trees and layers


class BadTree(BuildError):
    """What an engine gave is not a tree we can pack."""

    def __init__(self, message: str) -> None:
        super().__init__(message, hint="Build again; if that fails too, `baseforge log IMAGE` has what was printed.")


class TarballRefused(BuildError):
    """An archive that cannot be read, or that holds what no root filesystem may hold."""

    def __init__(self, message: str, hint: str = "Make the archive again, or get it again where it came from.") -> None:
        super().__init__(message, hint=hint)

    @classmethod
    def too_large(cls, largest: int) -> TarballRefused:
        """More comes out than may."""
        return cls(f"it unpacks to more than {largest} bytes", "If it is meant to be that large, raise `largest`.")

    @classmethod
    def too_many(cls, most: int) -> TarballRefused:
        """It has more members than it may."""
        return cls(f"it has more than {most} members", "If it is meant to have as many, raise `most`.")

    @classmethod
    def of(cls, member: str, why: str) -> TarballRefused:
        """What one member is or does."""
        return cls(f"{member} {why}", f"`leave_out` with a pattern of /{member} makes the image without it.")


class SetuidFiles(BuildError):
    """Files of an archive that run with somebody else's rights, of which its recipe says nothing."""

    SHOWN = 18

    def __init__(self, files: Sequence[str], source: str) -> None:
        more = [f"… and {len(files) - self.SHOWN} more"] if len(files) > self.SHOWN else []
        super().__init__(
            f"{len(files)} files in it are set-uid or set-gid, and not on the list `setuid`",
            where=source,
            output="\n".join([*(f"/{path}" for path in files[: self.SHOWN]), *more]),
            hint="List those under `setuid` (--setuid) that the image needs, and leave the others out (`leave_out`).",
        )


class OtherArchitecture(BuildError):
    """The programs of an archive or an image are for another machine."""

    def __init__(self, found: str, wanted: str, source: str) -> None:
        super().__init__(
            f"the programs in it are for {found}, and the image is for {wanted}",
            where=source,
            hint=f"Get, or make, the same for {wanted}.",
        )


class DiskFull(BuildError):
    """No space is left where a file was being written; nothing half-written is left."""

    def __init__(self, folder: object) -> None:
        super().__init__(
            f"no space is left in {folder}",
            hint="Free some, or name another folder: BASEFORGE_HOME has the logs, the cache and Prefect's database; "
            "`store`, `work` and `memory` are settings; TMPDIR is for the rest.",
        )


# Archives


class ArchiveUnreachable(NetworkFailure):
    """An archive does not answer, or breaks off."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(
            f"the archive does not answer as it should: {reason}",
            where=address,
            hint="Check the network and the proxy settings, or name a mirror: [mirrors] in baseforge.toml.",
        )


# Where names and passwords for archives go, as a hint.
PUT_CREDENTIALS = (
    "Put name and password into /etc/apt/auth.conf.d/NAME.conf (apt_auth.conf(5)), or into a file of that form that the"
    " setting `auth` names."
)


class AccessDenied(BuildError):
    """An archive, or a proxy before it, wants a name and a password, or forbids what was asked for."""

    def __init__(self, address: str, status: int, words: str, *, known: bool) -> None:
        answer = f"{status} {words}".rstrip()
        message = f"access is denied ({answer})"
        hint = f"If it exists and is not for everybody: {PUT_CREDENTIALS[0].lower()}{PUT_CREDENTIALS[1:]}"
        if status == 407:
            message = f"the proxy wants a name and a password, or refuses those that it has got ({answer})"
            hint = "Put them into the proxy's address: http_proxy=http://NAME:PASSWORD@HOST:PORT, https_proxy likewise."
        elif known:
            message = f"the name and the password for it are refused ({answer})"
            hint = (
                "Correct them in /etc/apt/auth.conf.d (apt_auth.conf(5)) or in the file that the setting `auth` names."
            )
        elif status == 401:
            message = f"it wants a name and a password ({answer})"
            hint = f"{PUT_CREDENTIALS} For plain http the entry's machine begins with http://."
        super().__init__(message, where=address, hint=hint)


class AuthFileUnfit(InputError):
    """The file that the setting `auth` names cannot be used."""

    def __init__(self, path: object, why: str, hint: str = "") -> None:
        super().__init__(
            f"`auth`, the file with names and passwords, cannot be used: {why}",
            where=str(path),
            hint=hint or "Correct its path or its text; `baseforge doctor` says where the setting `auth` comes from.",
        )


class ArchiveMoved(NetworkFailure):
    """The archive changed between our look at it and the engine's."""

    def __init__(self, suite: str) -> None:
        super().__init__(f"the archive published a new {suite} while the tree was being made", hint="Build again.")


class UnknownSuite(InputError):
    """No distribution has a suite of this name."""

    def __init__(self, suite: str, known: Iterable[str]) -> None:
        hint = nearest(suite, known) or "`baseforge doctor` lists the suites known here (from distro-info-data)."
        super().__init__(f"no distribution has a suite {suite!r}", hint=hint)


class SuiteMissing(InputError):
    """The archive does not have the suite."""

    def __init__(self, suite: str, address: str) -> None:
        super().__init__(
            f"the archive has no suite {suite!r}",
            where=address,
            hint="Check `suite` in the recipe; an old release may have moved to another archive ([mirrors]).",
        )


class PackageMissing(InputError):
    """The archive has no such package."""

    def __init__(self, package: str, suite: str, components: Iterable[str]) -> None:
        super().__init__(
            f"{suite} ({', '.join(components)}) has no package {package!r}",
            hint="Check the name in `include` or `exclude`, or add the component that has it to `components`.",
        )


class KeyringMissing(MachineError):
    """The file that a distribution's signatures are checked with is not there."""

    def __init__(self, distribution: str, path: object) -> None:
        super().__init__(
            f"there is no keyring for {distribution} at {path}",
            hint=f"Install {distribution}'s archive keyring (`./baseforge setup` does), or name one under [keyrings].",
        )


class UnsignedRelease(BuildError):
    """A Release file is not signed by a key of the keyring: the archive is not who it says it is."""

    def __init__(self, address: str, keyring: object, unknown: list[str]) -> None:
        by = f" (it is signed by {', '.join(unknown)})" if unknown else ""
        super().__init__(
            f"the signature is not one of {keyring}{by}; nothing was built from it",
            where=address,
            hint="If the archive has a new key, update the keyring's package; otherwise do not trust this mirror.",
        )


class InvalidRelease(BuildError):
    """A Release file is signed, but not one to build from."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(
            f"the Release file cannot be used: {reason}",
            where=address,
            hint="Check the mirror and this machine's clock.",
        )


class OlderRelease(BuildError):
    """An archive shows an older state of a suite than it has shown before."""

    def __init__(self, address: str, date: str, seen: str, memory: object) -> None:
        super().__init__(
            f"the Release file is of {date}, but one of {seen} has been seen; nothing was built from it",
            where=address,
            hint=f"The mirror lags behind: wait, or name another ([mirrors]). If the archive went back: rm '{memory}'.",
        )


class ArchiveChanging(NetworkFailure):
    """What an archive serves is not what its signed Release file says: it changes just now, or is damaged."""

    def __init__(self, address: str, output: str) -> None:
        super().__init__(
            "the indexes it serves are not those that its signed Release file names",
            where=address,
            output=output,
            hint="It may be being updated: try again in a while. If it stays so, the mirror is damaged: name another.",
        )


class ComponentMissing(InputError):
    """A suite lacks a component, or has it not for the architecture."""

    def __init__(self, suite: str, component: str, architecture: str, known: Sequence[str]) -> None:
        hint = nearest(component, set(known) - {component}) if component not in known else ""
        super().__init__(
            f"{suite} has no component {component!r} for {architecture}",
            hint=hint or f"It has: {', '.join(known) or 'none that it names'}.",
        )


class InvalidKeyring(InputError):
    """A file that is to hold an archive's keys does not."""

    def __init__(self, path: object) -> None:
        super().__init__(
            "this is not a keyring that apt can use",
            where=str(path),
            hint="Write it by `gpg --export KEY > FILE`, with or without `--armor`.",
        )


class PackagesConflict(InputError):
    """apt finds no set of packages that is what a recipe asks for; its own explanation is the output."""

    def __init__(self, output: str) -> None:
        super().__init__(
            "apt finds no set of packages that fits the recipe",
            output=output,
            hint="Change `include`, `exclude`, `variant`, `repositories` or `pins`.",
        )


class ParentBehind(BuildError):
    """A layer's packages need other versions of packages that its parent's image has."""

    def __init__(self, image: str, parent: str, changes: Sequence[str]) -> None:
        super().__init__(
            f"{image}: its packages would replace some of the image {parent}, which it stands on: {', '.join(changes)}",
            hint=f"Build {parent} anew first (where it has a `lock`, with a newer one), or lock {image} as it is.",
        )


class ParentWouldLose(InputError):
    """apt would remove packages that a layer's parent has."""

    def __init__(self, image: str, parent: str, packages: Iterable[str]) -> None:
        super().__init__(
            f"{image}: its packages do not go together with {', '.join(packages)} of {parent}, which it stands on",
            hint="A layer adds packages: change `include`, or stand on another image.",
        )


class ParentFailed(BuildError):
    """An image that another one stands on could not be made; that one is left as it was."""

    def __init__(self, image: str, parent: str) -> None:
        super().__init__(
            f"{image} is left as it was, as it stands on {parent}, which could not be built",
            hint=f"Mend {parent}, then build both: baseforge build {image}",
        )


class ParentUnpublished(InputError):
    """An image that another one stands on is not in the store."""

    def __init__(self, image: str, parent: str) -> None:
        super().__init__(
            f"{image} stands on {parent}, of which the store has no build as it is meant today",
            hint=f"Build it first: baseforge build {parent}",
        )


class NothingKept(BuildError):
    """No archive may be asked, and what it last said of a suite is not kept here."""

    def __init__(self, suite: str) -> None:
        super().__init__(
            f"nothing is kept here of {suite}, and no archive may be asked",
            hint="Build once without `--offline`, or name a lock file in the recipe (`lock`).",
        )


class SnapshotsUnknown(InputError):
    """A recipe asks for a snapshot of an archive whose snapshots no setting names."""

    def __init__(self, address: str) -> None:
        super().__init__(
            f"the recipe names a snapshot, but no setting says where snapshots of {address} are",
            hint="Name it under [snapshots] in baseforge.toml: archive address = address of its snapshots.",
        )


class LockUnfit(InputError):
    """A lock file is not one of the recipe that names it."""

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(
            f"this lock is not one of the recipe: {reason}",
            where=str(path),
            hint="Write it anew: `baseforge lock NAME --write FILE`, with the recipe's `lock` taken out.",
        )


# Tarballs from elsewhere


class SourceMissing(InputError):
    """There is no such tarball, or it cannot be read."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(
            f"this archive cannot be had: {reason}", where=source, hint="Correct `source`, or put the archive there."
        )


class ImportRefused(InputError):
    """What `import` was asked for cannot be."""

    def __init__(self, name: str, why: str) -> None:
        super().__init__(f"{name!r} cannot be imported: {why}", hint="`baseforge import --help` shows what there is.")


class SourceUnreachable(NetworkFailure):
    """A tarball's address does not answer, or breaks off."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(
            f"the archive could not be fetched: {reason}",
            where=address,
            hint="Check the network and the proxy (http_proxy) and build again: it goes on where it broke off. If it is"
            " always slow, name another address.",
        )


class SourceMismatch(BuildError):
    """A tarball is not the one that is meant."""

    def __init__(self, source: str, expected: str, found: str) -> None:
        super().__init__(
            f"this is another archive than the one that is meant: its sha256 is {found}, not {expected}",
            where=source,
            hint="If this is a newer one that you trust, put its sha256 into the recipe (or after --sha256).",
        )


class SourceUnsigned(BuildError):
    """The signature of a tarball is by nobody in its keyring, or of other bytes."""

    def __init__(self, source: str, keyring: object, reasons: Iterable[str]) -> None:
        found = ", ".join(reasons)
        super().__init__(
            "its signature is none of the keyring's keys for these bytes" + (f" (found: {found})" if found else ""),
            where=source,
            hint=f"Compare the key with the one that the distribution publishes; the keyring is {keyring}.",
        )


class SignatureMissing(BuildError):
    """The signature of a tarball is at an address, and no address may be asked."""

    def __init__(self, address: str) -> None:
        super().__init__(
            "this signature is not kept here, and no address may be asked",
            where=address,
            hint="Build once without `--offline`, or put the signature into the recipe's folder.",
        )


# Pool


class DebGone(ArchiveMoved):
    """The archive no longer has a deb of the lock."""

    def __init__(self, deb: str, address: str) -> None:
        BaseforgeError.__init__(
            self,
            f"the archive no longer has {deb}",
            where=address,
            hint="Build again for a newer lock; a committed lock needs a pool or a snapshot that still has its debs.",
        )


class DebMismatch(BuildError):
    """A mirror gave, twice, something else than the deb that the lock names; it was not kept."""

    def __init__(self, deb: str, expected: str, found: str, address: str) -> None:
        super().__init__(
            f"this is not {deb}: {expected} was expected, {found} came; "
            "the mirror serves something else than its signed index says",
            where=address,
            hint="Name another mirror ([mirrors] in baseforge.toml), or look for a proxy that changes files.",
        )
        self.found = found


class PoolLacks(BuildError):
    """The pool lacks debs, and no archive may be asked for them."""

    SHOWN = 5

    def __init__(self, debs: Sequence[str]) -> None:
        more = f" and {len(debs) - self.SHOWN} more" if len(debs) > self.SHOWN else ""
        super().__init__(
            f"the pool lacks {', '.join(debs[: self.SHOWN])}{more}",
            hint="Build once without `--offline`, or name the store that has them.",
        )


class PoolDamaged(BuildError):
    """Debs of the pool are damaged or gone, and could not be had again; `debs` are (name, digest, why)."""

    SHOWN = 10

    def __init__(self, debs: Sequence[tuple[str, str, str]]) -> None:
        lines = [f"{name} ({digest}): {why}" for name, digest, why in debs[: self.SHOWN]]
        more = [f"… and {len(debs) - self.SHOWN} more"] if len(debs) > self.SHOWN else []
        super().__init__(
            "\n  ".join([f"{len(debs)} of the pool's debs cannot be used:", *lines, *more]),
            hint="Put a copy from another store in place, or `baseforge build` for a newer lock.",
        )


# Engines


class ToolsMissing(MachineError):
    """Packages of this machine that a recipe is built with are not installed."""

    def __init__(self, packages: list[str]) -> None:
        super().__init__(
            f"not installed: {', '.join(packages)}",
            hint=f"sudo apt-get install --no-install-recommends {' '.join(packages)}",
        )


class NeedsRoot(MachineError):
    """The engine works only as root."""

    def __init__(self, engine: str) -> None:
        super().__init__(f"the engine {engine} needs root", hint="Run with sudo, or use `engine: mmdebstrap`.")


class BadDeb(BuildError):
    """A deb has the sha256 that the archive says, but cannot be read as one."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} is not a deb we can read: {reason}", hint="Report it to the archive it comes from.")


class ClockBehind(MachineError):
    """The machine's clock is before the dates of the archive that the tree is made of."""

    def __init__(self, now: str, epoch: str) -> None:
        super().__init__(
            f"this machine's clock says {now}, but the lock's archive was published at {epoch}",
            hint="Set the clock (`timedatectl`), then build again.",
        )


class MaintainerScriptFailed(BuildError):
    """A package's own script failed while it was installed."""

    def __init__(self, package: str, output: str) -> None:
        super().__init__(
            f"the package {package} could not be installed: one of its own scripts failed",
            output=output,
            hint="Its output is above; `baseforge log IMAGE` has all of it. Leave it out, or wait for its mending.",
        )


class LibrariesMissing(BuildError):
    """Files of an image do not find what they are linked with."""

    SHOWN = 10  # of them, in the message

    def __init__(self, image: str, missing: list[tuple[str, str]]) -> None:
        lines = [f"{what}, which is in the package {package}" if package else what for what, package in missing]
        more = [f"… and {len(lines) - self.SHOWN} more"] if len(lines) > self.SHOWN else []
        super().__init__(
            f"{image}: libraries are missing in the image",
            output="\n".join([*lines[: self.SHOWN], *more]),
            hint="Add them, leave the files out, or name in `unlinked` what nothing runs there.",
        )


class NotTheLock(BuildError):
    """What is installed in a tree is not what its lock says."""

    def __init__(self, missing: list[str], surplus: list[str]) -> None:
        parts = [
            f"{word}: {', '.join(names[:10])}"
            for word, names in (("missing", missing), ("not in it", surplus))
            if names
        ]
        super().__init__(
            f"the tree is not what the lock says ({'; '.join(parts)})",
            hint="A script in `customise` must not install or remove packages: use `include` and `exclude`.",
        )


class ScriptFailed(BuildError):
    """A script of the recipe failed inside the tree."""

    def __init__(self, script: str, status: int, output: str) -> None:
        super().__init__(f"customise: {script} ended with exit status {status}", output=output)


class AccountClash(InputError):
    """A user or group of a recipe cannot be in its tree."""

    def __init__(self, message: str) -> None:
        super().__init__(message, hint="Change `users` or `groups` in the recipe.")


class FileClash(InputError):
    """A file of a recipe cannot be where it is to be."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"files: {path}: {reason}", hint="Change `files` in the recipe.")


class PackagesClash(InputError):
    """Two packages of an image have the same path."""

    def __init__(self, path: str, one: str, other: str) -> None:
        super().__init__(
            f"/{path}: both {one} and {other} have it",
            hint="Leave one of the packages out, or name the path in `paths: {exclude: [...]}`.",
        )


class InterpreterMissing(InputError):
    """A script of an image has no interpreter there."""

    def __init__(self, path: str, interpreter: str) -> None:
        super().__init__(
            f"/{path} is a script for {interpreter}, which the image lacks",
            hint="Name its package in `packages` or `libraries`, or the script in `unlinked` if nothing runs it.",
        )


class OpenedMissing(InputError):
    """A library that is opened at run time is in no package of the image."""

    def __init__(self, library: str, why: str) -> None:
        super().__init__(
            f"{library}, {why}, is in none of the image's packages",
            hint="Name the package that has it in `libraries`.",
        )


class LocaleMissing(InputError):
    """The tree cannot have the recipe's locale."""

    def __init__(self, locale: str, reason: str) -> None:
        super().__init__(
            f"locale {locale!r}: {reason}",
            hint="Use C.UTF-8, or a locale that the package `locales` has, which a tree needs in `include`.",
        )


class TimezoneMissing(InputError):
    """The tree does not know the recipe's time zone."""

    def __init__(self, timezone: str) -> None:
        super().__init__(
            f"the tree has no time zone {timezone!r}",
            hint="Check its name; a tree of installed packages needs `tzdata` in `include`.",
        )


# Settings


class InvalidSetting(InputError):
    """A setting is unknown or has a wrong value."""


# Prefect


class RecipesForeign(InputError):
    """The recipes or the settings in the current folder are another user's, and nobody has named them."""

    def __init__(self, path: object, owner: str, recipes: object) -> None:
        super().__init__(
            f"this belongs to {owner}: recipes and settings of another user are taken only where you name them",
            where=str(path),
            hint=f"If you trust {owner}: --recipes {recipes}",
        )


class ServerFailed(MachineError):
    """The local Prefect server did not start."""

    def __init__(self, log: str) -> None:
        super().__init__(
            "the local Prefect server did not start",
            hint="`baseforge doctor` says where its folder is; PREFECT_API_URL names another server.",
            output=log,
        )


class NotPrivate(MachineError):
    """A file with a secret belongs to somebody else, or others can read or change it."""

    def __init__(self, path: object, why: str = "it belongs to somebody else, or others can read or change it") -> None:
        super().__init__(
            f"this is not a private file: {why}",
            where=str(path),
            hint="Remove it and run `baseforge stop`; the next command makes a new one.",
        )


class PortTaken(MachineError):
    """The local Prefect server cannot listen where it was told to, as another program does."""

    def __init__(self, port: int, why: str) -> None:
        super().__init__(
            f"port {port} of this machine cannot be used: {why}",
            where="the setting `server_port`",
            hint="Choose another port in baseforge.toml (BASEFORGE_SERVER_PORT), or stop that program.",
        )


class ServerElsewhere(MachineError):
    """The local Prefect server runs already, on another port than the one that was chosen since."""

    def __init__(self, port: int, wanted: int) -> None:
        super().__init__(
            f"the local Prefect server runs on port {port}, not on {wanted}",
            where="the setting `server_port`",
            hint="`baseforge stop` ends it; the next command starts it on the new port.",
        )


class ServicesFailing(MachineError):
    """The Prefect server is up, but its services do not do their work: no night will happen."""

    def __init__(self, problem: str, log: Sequence[str], address: str) -> None:
        hint = "`baseforge doctor` shows its state; `baseforge stop`, and `baseforge serve` starts it anew."
        super().__init__(
            f"the services of the Prefect server do not work: {problem}; no night would happen",
            where=address,
            hint=hint if log else "Look into the log of that server.",
            output="\n".join(log),
        )


class ServerEnded(MachineError):
    """The local Prefect server has ended while `baseforge serve` used it."""

    def __init__(self, address: str, log: Sequence[str]) -> None:
        super().__init__(
            "the local Prefect server has ended: it was stopped, or has failed; no night would happen",
            where=address,
            hint="`baseforge serve` starts it anew.",
            output="\n".join(log),
        )


# Folders and locks

NEWER = "It was written by a newer version of Baseforge: update this one."


class FormatNewer(MachineError):
    """A document on this machine has a newer format than this version knows."""

    def __init__(self, what: str, where: str, found: int, known: int) -> None:
        super().__init__(
            f"{what} cannot be read: it has format {found}, and this version knows format {known}",
            where=where,
            hint=NEWER,
        )


class FolderForeign(MachineError):
    """A folder that must be this user's alone is somebody else's."""

    def __init__(self, folder: object, owner: str) -> None:
        super().__init__(
            f"this folder belongs to {owner}, and you are not that user",
            where=str(folder),
            hint="With sudo: sudo -H. Or name another as the data folder: BASEFORGE_HOME.",
        )


class FolderMovable(MachineError):
    """A folder that must be this user's alone is in one where other users can rename it."""

    def __init__(self, folder: object, above: object, setting: str) -> None:
        super().__init__(
            f"other users can rename this folder: they may write in {above}, which is not sticky",
            where=str(folder),
            hint=f"Take that right away (chmod go-w {above}), make it sticky (chmod +t), or name another: {setting}.",
        )


class DataFolderFailed(MachineError):
    """The folder where the factory keeps its data cannot be made."""

    def __init__(self, folder: object, reason: str) -> None:
        super().__init__(f"the data folder {folder} cannot be made: {reason}", hint="Name another: BASEFORGE_HOME.")


class LockHeld(MachineError):
    """Another process holds a lock for longer than we wait. `holder` says which, as far as that is known."""

    def __init__(self, path: object, seconds: float, holder: str) -> None:
        super().__init__(
            f"this lock was not free within {seconds:g} s: {holder} holds it",
            where=str(path),
            hint="Wait until that process ends, or end it; then try again.",
        )


class ServedAlready(MachineError):
    """Another `baseforge serve` runs from the same data folder."""

    def __init__(self, folder: object) -> None:
        super().__init__(
            "`baseforge serve` is running already",
            where=str(folder),
            hint="End that one first, or give this one a data folder of its own: BASEFORGE_HOME.",
        )


class ServerHung(MachineError):
    """The local Prefect server is there, but does not answer; a second one would write to the same database."""

    def __init__(self, pid: int, address: str, log: object, seconds: float) -> None:
        super().__init__(
            f"the local Prefect server (process {pid}) did not answer within {seconds:.0f} s; its log is {log}",
            where=address,
            hint="Wait if the machine is busy; else `baseforge stop` ends it, and the next command starts it anew.",
        )


class ServerUnreachable(MachineError):
    """Nothing answers at the address of the Prefect server."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(
            f"the Prefect server does not answer: {reason}",
            where=address,
            hint="Check PREFECT_API_URL, and that the server runs. Without PREFECT_API_URL a local server is started.",
        )


class ServerDenied(MachineError):
    """The Prefect server does not accept the credentials, or there are none."""

    def __init__(self, address: str, status: int) -> None:
        super().__init__(
            f"the Prefect server denies access (HTTP status {status})",
            where=address,
            hint="Set PREFECT_API_AUTH_STRING to the server's USER:PASSWORD; for Prefect Cloud set PREFECT_API_KEY.",
        )


class NotAServer(MachineError):
    """What answers at the address of the Prefect server is something else."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(
            f"what answers here is not a Prefect server: {reason}",
            where=address,
            hint="Check PREFECT_API_URL: it ends with /api, as in http://prefect.example:4200/api.",
        )


# Work folders


class WorkFolderFailed(MachineError):
    """No work folder can be made."""

    def __init__(self, parent: object, reason: str) -> None:
        super().__init__(
            f"no work folder can be made in {parent}: {reason}",
            hint="Name another: `work` or `memory` in baseforge.toml, or BASEFORGE_WORK or BASEFORGE_MEMORY.",
        )


# Store


class BlobMissing(BuildError):
    """The store does not have a blob."""

    def __init__(self, address: str, digest: str) -> None:
        super().__init__(
            f"there is no blob {digest}",
            where=address,
            hint="Check that this is the store it was kept in; `baseforge build IMAGE` makes what an image lacks anew.",
        )


class BlobDamaged(BuildError):
    """What the store gives for a blob is not what was kept in it."""

    def __init__(self, address: str, digest: str, found: str) -> None:
        super().__init__(
            f"blob {digest} is damaged: what is kept there has {found}",
            where=address,
            hint="`baseforge build IMAGE --force` puts a good one in its place; check the disk under the store.",
        )


# Layers and images


class UnknownArchitecture(InputError):
    """An architecture that has no name in the OCI's specifications."""

    def __init__(self, architecture: str, known: Iterable[str]) -> None:
        super().__init__(f"no image can be made for architecture {architecture!r}", hint=nearest(architecture, known))


class UnknownPlatform(InputError):
    """A platform that images cannot be made for."""

    def __init__(self, platform: str, known: Iterable[str]) -> None:
        names = list(known)
        hint = nearest(platform, names) or f"It is one of {', '.join(names)}."
        super().__init__(f"no image can be made for platform {platform!r}", hint=hint)


class PlatformMissing(InputError):
    """An image was not built for this platform."""

    def __init__(self, image: str, platform: str, there: Sequence[str]) -> None:
        super().__init__(
            f"{image} is not for {platform}, only for {', '.join(there)}",
            hint="Name one of these with `--platform`, or name this one in the recipe's `platforms` and build again.",
        )


class ParentLacksPlatform(InputError):
    """The image that another one stands on is not built for a platform of that one."""

    def __init__(self, image: str, parent: str, platform: str, there: Sequence[str]) -> None:
        super().__init__(
            f"{image} is to be for {platform}, and {parent}, which it stands on, is there for {', '.join(there)} alone",
            hint=f"Name {platform} in the `platforms` of {parent}, too: baseforge build {image} builds both.",
        )


class EmulationMissing(MachineError):
    """Programs of another machine have to run here, and cannot."""

    def __init__(self, image: str, platform: str, why: str) -> None:
        super().__init__(
            f"this machine cannot run programs for {platform}, and {image} needs that: {why}",
            hint="sudo ./baseforge setup --emulation brings QEMU and registers it.",
        )


class ExportRefused(InputError):
    """The file to export to cannot be written."""

    def __init__(self, path: object, reason: str) -> None:
        super().__init__(f"cannot be written: {reason}", where=str(path), hint="Name a file where you may write.")


# Registries


class NightFailed(BuildError):
    """Some images of a night failed; `night` is the whole night as JSON."""

    def __init__(self, images: list[str], night: str) -> None:
        super().__init__(f"failed: {', '.join(images)}", hint="`baseforge log IMAGE` shows what each printed.")
        self.night = night


# Recipes


class RecipeInvalid(InputError):
    """A recipe cannot be read or says what no recipe can; `problems` are (file:line:column, sentence), at least one."""

    SHOWN = 10
    problems: tuple[tuple[str, str], ...] = ()

    def __init__(self, problems: Sequence[tuple[str, str]]) -> None:
        self.problems = tuple((masked(place), masked(sentence)) for place, sentence in problems)
        (where, what), *others = self.problems
        more = [f"{place}: {sentence}" for place, sentence in others[: self.SHOWN - 1]]
        rest = [f"… and {len(problems) - self.SHOWN} more"] if len(problems) > self.SHOWN else []
        super().__init__("\n".join([what, *more, *rest]), where=where)


class UnknownRecipe(InputError):
    """There is no recipe of this name."""

    def __init__(self, name: str, folder: object, known: Sequence[str]) -> None:
        there = f"There are: {', '.join(known)}." if known else "`--recipes DIR` names another folder."
        super().__init__(f"there is no recipe {name!r} in {folder}", hint=nearest(name, known) or there)


class FileNotMade(BuildError):
    """A scratch recipe's commands did not make a file that the image is to have."""

    def __init__(self, source: str) -> None:
        super().__init__(
            f"`build` did not make {source!r}", hint="Check the commands in `build` and the names in `from`."
        )


class EngineUnfit(InputError):
    """The chosen engine does not know the recipe's variant."""

    def __init__(self, image: str, engine: str, variant: str) -> None:
        super().__init__(
            f"{image}: engine {engine} has no variant {variant!r}", hint="Leave `--engine` out, or change `variant`."
        )
