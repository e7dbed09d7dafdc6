"""Open the store at an address: a folder or a bucket of S3."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from flows.store.errors import invalid_address
from flows.store.store import Store
from rootfs.network.authorities import Authorities


def open_store(
    address: str, *, endpoint: str | None = None, region: str | None = None, authorities: Authorities | None = None
) -> Store:
    """Open the store at a path, `file:///FOLDER` or `s3://BUCKET/PREFIX`; nothing is written or asked yet.

    `authorities` are trusted. `endpoint` (a URL) and `region` are those of the S3 server, where they are not what
    boto3's own configuration says; credentials always come from there. Raises InputError.
    """
    if address.startswith("s3://"):
        # boto3 takes half a second to import, and a folder needs none of it.
        from flows.store.s3 import S3Store

        bucket, _, prefix = address.removeprefix("s3://").partition("/")
        return S3Store(bucket, prefix.strip("/"), endpoint=endpoint, region=region, authorities=authorities)

    from flows.store.folder import FolderStore

    return FolderStore(_folder(address))


def _folder(address: str) -> Path:
    if "://" not in address and not address.startswith("file:"):
        if not address:
            raise invalid_address(address, "it is empty")
        return Path(address).expanduser().absolute()
    url = urlsplit(address)
    if url.scheme != "file":
        raise invalid_address(address, f"{url.scheme}:// is not known")
    if url.netloc not in ("", "localhost") or not url.path.startswith("/") or url.query or url.fragment:
        raise invalid_address(address, "a file address has three slashes and an absolute path")
    return Path(unquote(url.path))
