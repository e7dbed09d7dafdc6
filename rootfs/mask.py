"""Mask names and passwords of addresses in text that others may read: errors, logs, progress, settings."""

from __future__ import annotations

import os
import re

MASK = "***"
PROXY = re.compile(r"(https?|all)_proxy", re.IGNORECASE)

# `name:password@` or `token@` after a scheme. It ends at the last @ before the path. A password may hold a slash that
# nobody encoded; a port before a path (docker://localhost:5000/image@sha256:…) is no password. The name alone in
# `ssh://name@host` is no secret.
USERINFO = re.compile(
    r"""\b(?!(?:\w+\+)?ssh://[^\s/:@]*@)([a-z][a-z0-9+.-]*://)
        (?:[^\s/?\#:@"'<>]*:(?!\d+(?:[/?\#\s]|$))[^\s"'<>]*|[^\s/?\#"'<>]*)@""",
    re.IGNORECASE | re.VERBOSE,
)


def masked(text: str) -> str:
    """The text without the names and passwords of its addresses, and without those of the user's proxies."""
    if "@" not in text:
        return text
    for userinfo in _of_proxies():
        text = text.replace(f"{userinfo}@", f"{MASK}@")
    return USERINFO.sub(rf"\1{MASK}@", text)


def masked_values(value: object) -> object:
    """A JSON value with all its text masked, keys too."""
    if isinstance(value, str):
        return masked(value)
    if isinstance(value, dict):
        return {masked(str(key)): masked_values(each) for key, each in value.items()}
    return [masked_values(each) for each in value] if isinstance(value, list) else value


def _of_proxies() -> set[str]:
    """What the user's proxies are told; a proxy's address may have no scheme that it could be known by."""
    values = [value for name, value in os.environ.items() if PROXY.fullmatch(name) and "@" in value]
    return {value.rpartition("@")[0].rpartition("//")[2] for value in values} - {""}
