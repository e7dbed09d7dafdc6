"""Private keys for tests, made when they are needed: no file of the project has one."""

from __future__ import annotations

import base64
import secrets

MARK = "PRIVATE " + "KEY-----"


def pem(word: str = "", size: int = 300) -> bytes:
    """A text as a key of so many bytes has it in PEM; `word` is a format, such as `RSA `."""
    body = base64.encodebytes(secrets.token_bytes(size)).decode()
    return f"-----BEGIN {word}{MARK}\n{body}-----END {word}{MARK}\n".encode()
