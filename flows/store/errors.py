"""Errors of stores: addresses, access, conflicts."""

from __future__ import annotations

from rootfs.errors import BuildError, InputError, MachineError, NetworkFailure


class InvalidStore(InputError):
    """The address of a store is not one."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(
            f"this is not a store's address: {reason}",
            where=address,
            hint="Name a folder, `file:///FOLDER` or `s3://BUCKET/PREFIX`.",
        )


class InvalidKey(InputError):
    """A name that cannot be a document's or a blob's, such as one that leads out of the store."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key!r} is not a name the store can hold", hint="Names have letters, digits and `._+:@-`.")


class StoreUnreachable(NetworkFailure, MachineError):
    """The store's server does not answer, or breaks off. `endpoint` is the address that was asked."""

    def __init__(self, address: str, endpoint: str, reason: str) -> None:
        super().__init__(
            f"the store does not answer at {endpoint}: {reason}",
            where=address,
            hint="Check the endpoint, the network and the proxy settings, and that the server runs.",
        )


class StoreRefused(MachineError):
    """The store is there but does not let us: permissions, credentials, or something it cannot do."""

    def __init__(self, address: str, reason: str, hint: str) -> None:
        super().__init__(f"the store cannot be used: {reason}", where=address, hint=hint)


class BlobRefused(BuildError):
    """Bytes were to be kept under a digest that they do not have; nothing was kept."""

    def __init__(self, address: str, digest: str, found: str) -> None:
        super().__init__(
            f"blob {digest} was not kept: what was read has {found}",
            where=address,
            hint="Something changed it: build again.",
        )


class Conflict(BuildError):
    """Somebody else was faster in writing a document; theirs stands."""

    def __init__(self, address: str, key: str) -> None:
        super().__init__(
            f"{key} was written by somebody else meanwhile", where=address, hint="Look again, then try again."
        )
