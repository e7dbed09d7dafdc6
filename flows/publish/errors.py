"""Errors of registries, and of the records and channels of builds."""

from __future__ import annotations

from rootfs.errors import BaseforgeError, BuildError, InputError, NetworkFailure
from rootfs.system.errors import NEWER


class RecordDamaged(BuildError):
    """A document of the store cannot be read: it is cut off, or has wrong types."""

    def __init__(self, address: str, key: str, reason: str) -> None:
        super().__init__(
            f"the document {key} cannot be read: {reason}",
            where=address,
            hint="Put a copy of it back, or remove it; `baseforge build IMAGE` makes a build that can be read.",
        )


class RecordNewer(RecordDamaged):
    """A document of the store has a newer format than this version knows."""

    def __init__(self, address: str, key: str, found: int, known: int) -> None:
        BaseforgeError.__init__(
            self,
            f"the document {key} cannot be read: it has format {found}, and this version knows format {known}",
            where=address,
            hint=NEWER,
        )


def no_image(image: str, hint: str) -> InputError:
    """The store has no such image."""
    return InputError(f"the store has no image {image!r}", hint=hint or "`baseforge list` shows what it has.")


def no_build(image: str, build: str) -> InputError:
    """The image has no such build."""
    return InputError(f"{image} has no build {build!r}", hint=f"`baseforge show {image}` shows its newest.")


def damaged_sources(digest: str, reason: str) -> BuildError:
    """The blob of a build's sources is not a recipe with its files."""
    return BuildError(f"blob {digest} holds no recipe: {reason}", hint="Look whether the record was changed by hand.")


def not_a_digest(text: str, of: str = "") -> InputError:
    """The given text is no digest."""
    return InputError(
        f"{text!r} is not {f'the digest {of}' if of else 'a digest'}",
        hint="A digest is sha256: and 64 hexadecimal digits.",
    )


class NotReproduced(BuildError):
    """A rebuild differs from its record, or blobs of the build are damaged; `verdict` has the Verification as JSON."""

    def __init__(self, reference: str, ending: str, verdict: str) -> None:
        super().__init__(
            f"{reference} was not reproduced: {ending}",
            hint="The differences are above, and in --json; tools that differ are the likeliest cause.",
        )
        self.verdict = verdict


def registry_unreachable(registry: str, reason: str, output: str = "") -> NetworkFailure:
    """The registry does not answer, or breaks off."""
    return NetworkFailure(
        f"the registry does not answer: {reason}",
        where=registry,
        hint="Check `registry` in baseforge.toml, the network and the proxy settings.",
        output=output,
    )


class RegistryDenied(BuildError):
    """The registry does not accept the credentials, or there are none."""

    transient = True

    def __init__(self, registry: str) -> None:
        super().__init__(
            "the registry denies access",
            where=registry,
            hint=f"Log in with `skopeo login {registry.partition('/')[0]}` as an account that may push there.",
        )


class RegistryFailed(BuildError):
    """The registry refuses the image for another reason."""

    transient = True

    def __init__(self, registry: str, output: str) -> None:
        super().__init__("the registry did not take the image", where=registry, output=output)


class RegistryAbsent(RegistryFailed):
    """The registry does not have what was asked for."""
