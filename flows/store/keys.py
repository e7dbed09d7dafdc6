"""Which names a store can hold: the same for every kind, so that a store can be copied from one to another."""

from __future__ import annotations

import re

from flows.store.errors import InvalidKey

BLOBS = "blobs"
# No name begins with a dot: that rules out `..` and leaves those names to the folder store's own files.
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+:@-]{0,199}")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_LONGEST = 700  # S3 allows 1024 bytes with the prefix


def document_key(key: str) -> str:
    """The key of a document (or of a folder of them), if it is one; raises InvalidKey."""
    if not is_plain(key) or f"{key}/".startswith(f"{BLOBS}/"):
        raise InvalidKey(key)
    return key


def is_plain(path: str) -> bool:
    """Whether it is a relative path of plain names."""
    return len(path) <= _LONGEST and all(_PART.fullmatch(part) for part in path.split("/"))


def is_part(name: str) -> bool:
    """Whether it is one plain name, such as an image's or a build's."""
    return bool(_PART.fullmatch(name))


def blob_key(digest: str) -> str:
    """Where the blob with this digest is kept; raises InvalidKey for what is not `sha256:HEX`."""
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise InvalidKey(digest)
    return f"{BLOBS}/sha256/{match[1]}"
