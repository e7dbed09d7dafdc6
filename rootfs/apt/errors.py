"""Errors of package archives: access, signatures, Release files, resolution."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rootfs.errors import AMONG_MANY, PUT_CREDENTIALS, BuildError, InputError, NetworkFailure, RecipeValue, nearest
from rootfs.network.authorities import NOT_TRUSTED, is_untrusted


class ArchiveUnreachable(NetworkFailure):
    """An archive does not answer, or breaks off."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(
            f"the archive does not answer as it should: {reason}",
            where=address,
            hint=NOT_TRUSTED
            if is_untrusted(reason)
            else "Check the network and the proxy settings, or name a mirror: [mirrors] in baseforge.toml.",
        )


class AccessDenied(BuildError):
    """An archive, or a proxy in front of it, demands a name and a password, or forbids the request."""

    transient = True

    def __init__(self, address: str, status: int, words: str, *, known: bool, proxy: bool = False) -> None:
        answer = f"{status} {words}".rstrip()
        message = f"access is denied ({answer})"
        hint = f"If it exists and is not for everybody: {PUT_CREDENTIALS[0].lower()}{PUT_CREDENTIALS[1:]}"
        if proxy and status == 403:
            message = f"the proxy refuses to connect ({answer})"
            hint = "Ask who runs the proxy to allow this host, or name a mirror: [mirrors] in baseforge.toml."
        elif proxy or status == 407:
            message = f"the proxy wants a name and a password, or refuses those that it has got ({answer})"
            hint = (
                "Put them before the host in the proxy's address (NAME:PASSWORD@HOST:PORT): http_proxy=, https_proxy=."
            )
        elif known:
            message = f"the name and the password for it are refused ({answer})"
            hint = (
                "Correct them in /etc/apt/auth.conf.d (apt_auth.conf(5)) or in the file that the setting `auth` names."
            )
        elif status == 401:
            message = f"it wants a name and a password ({answer})"
            hint = f"{PUT_CREDENTIALS} For plain http the entry's machine begins with http://."
        super().__init__(message, where=address, hint=hint)


class ArchiveMoved(NetworkFailure):
    """The archive changed after its Release files were read."""

    def __init__(self, suite: str) -> None:
        super().__init__(f"the archive published a new {suite} while the tree was being made", hint="Build again.")


def unknown_suite(suite: str, known: Iterable[str], meant: str = "") -> InputError:
    """No distribution has a suite of this name; an alias or a version number is `meant` for one today."""
    about = RecipeValue(suite, ("suite",))
    if meant:
        hint = f"Name a code name: today it is {meant!r}. Aliases and numbers are not accepted, because aliases move."
        return InputError(f"{suite!r} is no code name of a suite", hint=hint, about=about)
    hint = nearest(suite, known) or "`baseforge doctor` lists the suites known here (from distro-info-data)."
    return InputError(f"no distribution has a suite {suite!r}", hint=hint, about=about)


class PackageMissing(InputError):
    """The archive has no such package."""

    def __init__(self, package: str, suite: str, components: Iterable[str], known: Iterable[str] = ()) -> None:
        super().__init__(
            f"{suite} ({', '.join(components)}) has no package {package!r}",
            hint=nearest(package, known, AMONG_MANY)
            or "Check the name, or add the component that has it to `components`.",
            about=RecipeValue(package, ("include", "packages", "libraries", "exclude")),
        )


class SuiteError(InputError):
    """A recipe asks for what an archive does not have. `archive` and `suite` say of which; `key` is the wrong key.

    The caller, who knows the recipe's file, replaces `where`.
    """

    def __init__(
        self, message: str, *, archive: str, suite: str, key: str, hint: str, where: str = "", component: str = ""
    ) -> None:
        about = RecipeValue(component, ("components", "suite")) if component else RecipeValue(suite, ("suite",))
        super().__init__(message, where=where or archive, hint=hint, about=about)
        self.archive, self.suite, self.key = archive, suite, key


def suite_missing(archive: str, suite: str, folder: str, *, further: bool) -> SuiteError:
    """An archive has no Release file of a suite."""
    hint = "Check `suite` and `pockets` in the recipe, and [mirrors] in the settings."
    if further:
        hint = (
            "Check `uri` and `suites` of this entry of `repositories`. For an archive without dists/: `suites: [./]`."
        )
    return SuiteError(
        f"{archive} has no suite {suite!r}: neither InRelease nor Release is in {folder}",
        archive=archive,
        suite=suite,
        key="suites",
        hint=hint,
        where=folder,
    )


def signature_missing(address: str) -> BuildError:
    """An archive has a Release file without a signature."""
    return BuildError(
        "it is not signed: neither InRelease nor Release.gpg is there; nothing was built from it",
        where=address,
        hint="An archive has to be signed. Ask who runs it, or sign a mirror of it with a key of your own.",
    )


def signature_binary(address: str) -> BuildError:
    """A detached signature has a form that apt does not read."""
    return BuildError(
        "this signature is binary, and apt reads armored ones only",
        where=address,
        hint="Ask who runs the archive to sign it with `gpg --armor --detach-sign`, or to serve InRelease.",
    )


class PinUnused(InputError):
    """A pin of a recipe selects no version of a package; `index` is its place in the request's list of pins."""

    def __init__(self, index: int, reason: str, hint: str) -> None:
        super().__init__(reason, hint=hint or "Correct `packages` of the pin, or remove it.")
        self.index = index


def unsigned_release(
    address: str,
    keyring: object,
    unknown: Sequence[str],
    *,
    further: bool = False,
    ended: bool = False,
    changed: bool = False,
) -> BuildError:
    """A Release file is not signed by a key of the keyring: the archive is not who it says it is."""
    by = f" (it is signed by {', '.join(unknown)})" if unknown else ""
    hint = "If the archive has a new key, update the keyring's package; otherwise do not trust this mirror."
    if changed:
        hint = "It was changed after it was signed, or is just being updated: try again, or do not trust this mirror."
    elif ended:
        hint = (
            "Keys of old suites are in their own file of the keyring's package, such as"
            " debian-archive-removed-keys.gpg: join it with the current one, and name the result under [keyrings]."
        )
    elif further and unknown:
        hint = (
            f"If the archive's owner publishes this key, add it to the recipe's file {keyring}; else do not trust it."
        )
    elif further:
        hint = f"Compare {keyring} with the key that the archive's owner publishes."
    return BuildError(f"the signature is not one of {keyring}{by}; nothing was built from it", where=address, hint=hint)


class InvalidRelease(BuildError):
    """A Release file is signed, but not one to build from."""

    transient = True

    def __init__(self, address: str, reason: str, hint: str = "Check the mirror and this machine's clock.") -> None:
        super().__init__(f"the Release file cannot be used: {reason}", where=address, hint=hint)


def older_release(address: str, date: str, seen: str, memory: object) -> BuildError:
    """An archive shows an older state of a suite than it has shown before."""
    error = BuildError(
        f"the Release file is of {date}, but one of {seen} has been seen; nothing was built from it",
        where=address,
        hint=f"The mirror lags behind: wait, or name another ([mirrors]). If the archive went back: rm '{memory}'.",
    )
    error.transient = True
    return error


def archive_changing(address: str, output: str) -> NetworkFailure:
    """What an archive serves is not what its signed Release file says: it changes just now, or is damaged."""
    return NetworkFailure(
        "the indexes it serves are not those that its signed Release file names",
        where=address,
        output=output,
        hint="It may be being updated: try again in a while. If it stays so, the mirror is damaged: name another.",
    )


def component_missing(archive: str, suite: str, component: str, known: Sequence[str], on: str = "") -> SuiteError:
    """A suite lacks a component, or has none for an architecture."""
    hint = nearest(component, set(known) - {component}) if component not in known else ""
    return SuiteError(
        f"{suite} has no component {component!r}{on and f' for {on}'}",
        archive=archive,
        suite=suite,
        key="components",
        component=component,
        hint=hint or f"It has: {', '.join(known) or 'none that it names'}.",
    )


def architecture_missing(
    archive: str, suite: str, architecture: str, known: Sequence[str], *, further: bool
) -> SuiteError:
    """A suite has no packages for an architecture."""
    hint = "Leave the platform out of `platforms`."
    if further:
        hint = f"Limit this entry of `repositories` (`architectures: [{', '.join(known)}]`), or leave the platform out."
    return SuiteError(
        f"{suite} of {archive} has no packages for {architecture}, only for {', '.join(known)}",
        archive=archive,
        suite=suite,
        key="suites",
        hint=hint,
    )


def no_packages(archive: str, suite: str, folder: str) -> SuiteError:
    """The Release file of an archive without dists/ names no packages."""
    return SuiteError(
        f"the Release file of {folder} names no Packages",
        archive=archive,
        suite=suite,
        key="suites",
        hint="For an archive with dists/, `suites` has the name of a folder there, without a slash at its end.",
    )


class PackagesConflict(InputError):
    """apt finds no set of packages for a recipe; its own explanation is the output."""

    def __init__(self, output: str) -> None:
        super().__init__(
            "apt finds no set of packages that fits the recipe",
            output=output,
            hint="Change `include`, `exclude`, `variant`, `repositories` or `pins`.",
        )


class NeverFetched(BuildError):
    """No archive may be asked, and there is no cached state of the suite."""

    def __init__(self, suite: str) -> None:
        super().__init__(
            f"nothing is kept here of {suite}, and no archive may be asked",
            hint="Build once without `--offline`, or name a lock file in the recipe (`lock`).",
        )
