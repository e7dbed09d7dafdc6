"""Valid names of blobs and documents: the same in every kind of store, so that a store can be copied to another."""

from __future__ import annotations

import re

from flows.store.errors import InvalidKey

BLOBS = "blobs"
# No name begins with a dot: this rules out `..` and reserves such names for the folder store's own files.
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+:@-]{0,199}")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_LONGEST = 700  # S3 allows 1024 bytes with the prefix


def document_key(key: str) -> str:
    """Return the key of a document or of a folder of documents. Raises InvalidKey."""
    if not is_valid_path(key) or f"{key}/".startswith(f"{BLOBS}/"):
        raise InvalidKey(key)
    return key


def is_valid_path(path: str) -> bool:
    """Whether a path is relative and made of valid names."""
    return len(path) <= _LONGEST and all(_PART.fullmatch(part) for part in path.split("/"))


def is_valid_name(name: str) -> bool:
    """Whether this is one valid name, such as an image's or a build's."""
    return bool(_PART.fullmatch(name))


def blob_key(digest: str) -> str:
    """The key of the blob with this digest. Raises InvalidKey unless it is `sha256:HEX`."""
    match = _DIGEST.fullmatch(digest)
    if match is None:
        raise InvalidKey(digest)
    return f"{BLOBS}/sha256/{match[1]}"
