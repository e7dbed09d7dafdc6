"""Errors of registries, and of the records and channels of builds."""

from __future__ import annotations

from rootfs.errors import NEWER, BaseforgeError, BuildError, InputError, NetworkFailure


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


class ImageMissing(InputError):
    """The store has no such image."""

    def __init__(self, image: str, hint: str) -> None:
        super().__init__(f"the store has no image {image!r}", hint=hint or "`baseforge list` shows what it has.")


class BuildMissing(InputError):
    """The image has no such build."""

    def __init__(self, image: str, build: str) -> None:
        super().__init__(f"{image} has no build {build!r}", hint=f"`baseforge show {image}` shows its newest.")


class IngredientsDamaged(BuildError):
    """What a record says its build was made of is not a recipe with its files."""

    def __init__(self, digest: str, reason: str) -> None:
        super().__init__(
            f"blob {digest} holds no recipe: {reason}", hint="Look whether the record was changed by hand."
        )


class IngredientsMissing(BuildError):
    """A record does not say which recipe its build was made of."""

    def __init__(self, image: str, build: str) -> None:
        super().__init__(
            f"the record of {image}@{build} has no ingredients: it is of a time before they were kept",
            hint=f"`baseforge build {image} --force` makes a build that can be verified.",
        )


class InvalidDigest(InputError):
    """What was given as a digest is none."""

    def __init__(self, text: str, of: str = "") -> None:
        super().__init__(
            f"{text!r} is not {f'the digest {of}' if of else 'a digest'}",
            hint="A digest is sha256: and 64 hexadecimal digits.",
        )


class NotReproduced(BuildError):
    """Making a build again gave something else, or the store does not have it as it was; `verdict` is all as JSON."""

    def __init__(self, reference: str, ending: str, verdict: str) -> None:
        super().__init__(
            f"{reference} was not reproduced: {ending}",
            hint="What differs is said above, and with --json; tools that differ are the likeliest cause.",
        )
        self.verdict = verdict


class RegistryUnreachable(NetworkFailure):
    """The registry does not answer, or breaks off."""

    def __init__(self, registry: str, reason: str, output: str = "") -> None:
        super().__init__(
            f"the registry does not answer: {reason}",
            where=registry,
            hint="Check `registry` in baseforge.toml, the network and the proxy settings.",
            output=output,
        )


class InvalidRegistry(InputError):
    """The registry's address, or a tag, is not one."""

    def __init__(self, reference: str) -> None:
        super().__init__(
            "this is not a name that a registry can have",
            where=reference,
            hint="`registry` in baseforge.toml is HOST[:PORT][/PREFIX], in lower case and without https://.",
        )


class RegistrySpeaksHttp(InputError):
    """The registry speaks plain http, which only a setting allows."""

    def __init__(self, registry: str) -> None:
        super().__init__(
            "the registry speaks plain http",
            where=registry,
            hint="If that is meant to be so, set `registry_insecure = true` in baseforge.toml.",
        )


class RegistryDenied(BuildError):
    """The registry does not accept the credentials, or there are none."""

    def __init__(self, registry: str) -> None:
        super().__init__(
            "the registry denies access",
            where=registry,
            hint=f"Log in with `skopeo login {registry.partition('/')[0]}` as an account that may push there.",
        )


class RegistryFailed(BuildError):
    """The registry does not take the image, for a reason of its own."""

    def __init__(self, registry: str, output: str) -> None:
        super().__init__("the registry did not take the image", where=registry, output=output)


class RegistryAbsent(RegistryFailed):
    """The registry does not have what was asked for."""


class RegistryChanged(BuildError):
    """The registry has something else than was pushed."""

    def __init__(self, reference: str, expected: str, found: str) -> None:
        super().__init__(
            f"the registry has another image: {expected} went in, {found} is there",
            where=reference,
            hint="Somebody else pushes to this name, or the registry rewrites images: neither can be trusted.",
        )


class NamesBehind(BuildError):
    """A build is in the store, and something that should follow it, in the registry or the engine, could not."""

    def __init__(self, image: str, build: str, problem: BaseforgeError) -> None:
        super().__init__(
            f"{problem.message} (build {build} is in the store, but not all names of {image} point to it)",
            where=problem.where,
            hint=f"{problem.hint} The next build of {image} goes on from there, and so does `baseforge gc`.".lstrip(),
            output=problem.output,
        )
        self.status = problem.status
