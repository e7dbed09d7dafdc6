"""Mask names and passwords of addresses in text that others may read: errors, logs, progress, settings."""

from __future__ import annotations

import os
import re

MASK = "***"
ADDRESSES = re.compile(r"(https?|all)_proxy|docker_host|prefect_api_url|baseforge_s3_endpoint", re.IGNORECASE)

SCHEME = r"\b(?!(?:\w+\+)?ssh://[^\s/:@]*@)([a-z][a-z0-9+.-]*://)"  # the name alone in `ssh://name@host` is no secret
# `name:password@` or `token@` after a scheme. It ends at the last @ before the path or white space: whatever else is in
# it counts, quotes too. A password may hold a slash that nobody encoded; a port before a path
# (docker://localhost:5000/image@sha256:…) is no password.
USERINFO = re.compile(
    SCHEME + r"""(?:[^\s/?\#:@]*:(?!\d+(?:[/?\#\s]|$))\S*|[^\s/?\#]*)@""",
    re.IGNORECASE | re.VERBOSE,
)
IN_NETLOC = re.compile(SCHEME + r"[^/?#]*@", re.IGNORECASE)  # also one with white space in it


def masked(text: str) -> str:
    """The text without the names and passwords of its addresses, and without those of the environment's addresses."""
    if "@" not in text:
        return text
    for userinfo in _of_environment():
        text = text.replace(f"{userinfo}@", f"{MASK}@")
    return USERINFO.sub(rf"\1{MASK}@", text)


def has_credentials(address: str) -> bool:
    """Whether an address, or a text with one in it, has a name or a password before its host."""
    return masked(address) != address or bool(IN_NETLOC.search(address))


def masked_values(value: object) -> object:
    """A JSON value with all its text masked, keys too."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        return {masked(str(key)): masked_values(each) for key, each in value.items()}
    return [masked_values(each) for each in value] if isinstance(value, list) else value


def _of_environment() -> set[str]:
    """Names and passwords in variables that hold an address, as a proxy's: libraries show them without a scheme."""
    values = [value for name, value in os.environ.items() if "@" in value and ADDRESSES.fullmatch(name)]
    return {value.rpartition("@")[0].rpartition("//")[2] for value in values} - {""}
