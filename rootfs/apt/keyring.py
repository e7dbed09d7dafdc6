"""Read keyrings, and convert them to the forms that gpgv and apt can read."""

from __future__ import annotations

import base64
import binascii
import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rootfs.errors import InputError
from rootfs.system.digests import sha256_of_bytes

HEAD, TAIL = "-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----END PGP PUBLIC KEY BLOCK-----"
# RFC 9580, 6.2: headers, an empty line, base64, and perhaps a checksum.
BLOCK = re.compile(
    rf"^{HEAD}[ \t]*\r?\n(?:[^\r\n]+\r?\n)*[ \t]*\r?\n(.*?)(?:^=\S+\s*)?^{TAIL}", re.MULTILINE | re.DOTALL
)
NAMED = 32  # hex digits of its sha256 in a keyring's file name: too many for another keyring to be made with the same
PACKET = 0x80  # the bit that begins every OpenPGP packet; apt cannot read files that begin otherwise


def read_keys(path: Path) -> bytes:
    """The keys in a file, armored or binary, as OpenPGP packets. Raises InputError."""
    try:
        data = path.read_bytes()
        blocks = BLOCK.findall(data.decode("latin-1"))
        packets = b"".join(map(base64.b64decode, blocks)) if blocks else data
    except (OSError, binascii.Error) as error:
        raise not_a_keyring(path) from error
    if packets and not packets[0] & PACKET:
        raise not_a_keyring(path)
    return packets


def own_file_name(path: Path) -> str:
    """A file name for a keyring that no other one has, with the ending that tells apt its form (sources.list(5)).

    Raises InputError.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise not_a_keyring(path) from error
    ending = "asc" if BLOCK.search(data.decode("latin-1")) else "gpg"
    return f"key-{sha256_of_bytes(data)[:NAMED]}.{ending}"


def armored_keys(path: Path) -> str:
    """The keys in a file as armored text for sources.list(5). Raises InputError."""
    text = base64.b64encode(read_keys(path)).decode()
    return "\n".join([HEAD, "", *(text[at : at + 64] for at in range(0, len(text), 64)), TAIL])


@contextlib.contextmanager
def gpgv_keyring(path: Path) -> Iterator[Path]:
    """A temporary binary copy of a keyring: gpgv reads no armored ones. Raises InputError."""
    packets = read_keys(path)
    with tempfile.NamedTemporaryFile(prefix="baseforge-", suffix=".gpg") as file:
        file.write(packets)
        file.flush()
        yield Path(file.name)


def not_a_keyring(path: object) -> InputError:
    """A file that is to hold an archive's keys does not."""
    return InputError(
        "this is not a keyring that apt can use",
        where=str(path),
        hint="Write it by `gpg --export KEY > FILE`, with or without `--armor`.",
    )
