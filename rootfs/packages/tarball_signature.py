"""Detached OpenPGP signatures of tarballs: who vouches for the bytes."""

from __future__ import annotations

from pathlib import Path

from rootfs.apt.keyring import gpgv_keyring
from rootfs.apt.release import parse_signers
from rootfs.apt.transfer import ANONYMOUS, Transfers
from rootfs.errors import BuildError
from rootfs.packages.errors import source_unsigned
from rootfs.packages.tarball_source import DownloadRequest, download_file
from rootfs.process.run import Log, run
from rootfs.recipe.sections import TarballKeys, is_address
from rootfs.system.digests import sha256_of_bytes

MAX_SIGNATURE = 1 << 20  # bytes of a signature


def verified_signer(
    recipe: TarballKeys,
    folder: Path,
    archive: Path,
    cache: Path,
    *,
    offline: bool,
    log: Log,
    transfers: Transfers = ANONYMOUS,
) -> str:
    """The fingerprint of the key that the archive is signed with; empty where the recipe names no signature.

    Raises BuildError when `offline`, InputError, and what downloading raises.
    """
    if recipe.signature is None or recipe.keyring is None:
        return ""
    signature, keyring = folder / recipe.signature, folder / recipe.keyring
    if is_address(recipe.signature):
        wanted = DownloadRequest(recipe.signature, MAX_SIGNATURE, cache, log, transfers)
        signature = _fetched(wanted, f"{recipe.source} {recipe.sha256}", offline=offline)
    with gpgv_keyring(keyring) as ring:
        said = run(["gpgv", "--status-fd=2", f"--keyring={ring}", "--", signature, archive], check=False).stderr
    good, others = parse_signers(said)
    if not good:
        if is_address(recipe.signature):
            signature.unlink(missing_ok=True)  # the next build asks for it again
        raise source_unsigned(recipe.source, recipe.keyring, others)
    return good[0]


def _fetched(wanted: DownloadRequest, archive: str, *, offline: bool) -> Path:
    """The signature of just this archive, which is asked for once."""
    path = wanted.cache / f"{sha256_of_bytes(f'{wanted.address} {archive}'.encode())}.sig"

    if not path.exists():
        if offline:
            raise BuildError(
                "this signature is not kept here, and no address may be asked",
                where=wanted.address,
                hint="Build once without `--offline`, or put the signature into the recipe's folder.",
            )
        download_file(wanted, lambda got: path.write_bytes(got.whole().read()))
    return path
