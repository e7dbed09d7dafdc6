"""Verify detached OpenPGP signatures of tarballs."""

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
    """The fingerprint of the key that a tarball is signed with; empty if the recipe names no signature.

    Raises BuildError when `offline`, InputError, and what downloading raises.
    """
    if recipe.signature is None or recipe.keyring is None:
        return ""
    signature, keyring = folder / recipe.signature, folder / recipe.keyring
    if is_address(recipe.signature):
        request = DownloadRequest(recipe.signature, MAX_SIGNATURE, cache, log, transfers)
        signature = _download_signature(request, f"{recipe.source} {recipe.sha256}", offline=offline)
    with gpgv_keyring(keyring) as ring:
        status = run(["gpgv", "--status-fd=2", f"--keyring={ring}", "--", signature, archive], check=False).stderr
    good, others = parse_signers(status)
    if not good:
        if is_address(recipe.signature):
            signature.unlink(missing_ok=True)  # the next build asks for it again
        raise source_unsigned(recipe.source, recipe.keyring, others)
    return good[0]


def _download_signature(request: DownloadRequest, archive: str, *, offline: bool) -> Path:
    """Download the signature of this tarball, once."""
    path = request.cache / f"{sha256_of_bytes(f'{request.address} {archive}'.encode())}.sig"

    if not path.exists():
        if offline:
            raise BuildError(
                "this signature is not kept here, and no address may be asked",
                where=request.address,
                hint="Build once without `--offline`, or put the signature into the recipe's folder.",
            )
        download_file(request, lambda download: path.write_bytes(download.whole().read()))
    return path
