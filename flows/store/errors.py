"""Errors of stores: addresses, access, conflicts."""

from __future__ import annotations

from rootfs.errors import BuildError, InputError, MachineError, ServiceUnreachable
from rootfs.network.authorities import NOT_TRUSTED, is_untrusted


def invalid_address(address: str, reason: str) -> InputError:
    """The text is no address of a store."""
    return InputError(
        f"this is not a store's address: {reason}",
        where=address,
        hint="Name a folder, `file:///FOLDER` or `s3://BUCKET/PREFIX`.",
    )


class InvalidKey(InputError):
    """A name that cannot be a document's or a blob's, such as one that leads out of the store."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key!r} is not a name the store can hold", hint="Names have letters, digits and `._+:@-`.")


def store_unreachable(address: str, endpoint: str, reason: str) -> ServiceUnreachable:
    """The store's server does not answer, or breaks off. `endpoint` is the address that was asked."""
    return ServiceUnreachable(
        f"the store does not answer at {endpoint}: {reason}",
        where=address,
        hint=NOT_TRUSTED
        if is_untrusted(reason)
        else "Check the endpoint, the network and the proxy settings, and that the server runs.",
    )


def store_refused(address: str, reason: str, hint: str) -> MachineError:
    """The store denies access: permissions, credentials, or something it cannot do."""
    return MachineError(f"the store cannot be used: {reason}", where=address, hint=hint)


def blob_refused(address: str, digest: str, found: str) -> BuildError:
    """Bytes were to be kept under a digest that they do not have; nothing was kept."""
    return BuildError(
        f"blob {digest} was not kept: what was read has {found}",
        where=address,
        hint="Something changed it: build again.",
    )


class Conflict(BuildError):
    """Another writer changed the document first; its version stays."""

    transient = True

    def __init__(self, address: str, key: str) -> None:
        super().__init__(
            f"{key} was written by somebody else meanwhile", where=address, hint="Look again, then try again."
        )
