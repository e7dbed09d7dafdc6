"""Who is told about nights: Apprise's addresses. They contain passwords and tokens, so they are never shown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, SecretStr
from pydantic_settings import NoDecode

from rootfs.apt.credentials import read_private_file
from rootfs.errors import InputError

ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
FORM = "a receiver is an address of Apprise, such as mailto://HOST?to=ADDRESS or json://HOST/PATH"


def _split(value: object) -> object:
    """Several addresses: a list, or a text with white space between them. The error does not show them."""
    each = value.split() if isinstance(value, str) else value
    if not isinstance(each, list | tuple):
        raise ValueError(FORM)
    for address in each:
        text = address.get_secret_value() if isinstance(address, SecretStr) else address
        if not (isinstance(text, str) and ADDRESS.fullmatch(text)):
            raise ValueError(FORM)
    return tuple(each)


Receivers = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_split)]


def addresses(receivers: tuple[SecretStr, ...], file: Path | None) -> tuple[str, ...]:
    """All receivers' addresses: those of the settings, and those in the file, one a line. Raises InputError."""
    named = [each.get_secret_value() for each in receivers]
    lines = read_private_file(file, _unusable_file).splitlines() if file else []
    for number, line in enumerate((line.strip() for line in lines), 1):
        if line and not line.startswith("#"):
            if not ADDRESS.fullmatch(line):
                raise InputError(f"this line is no address: {FORM}", where=f"{file}:{number}")
            named.append(line)
    return tuple(dict.fromkeys(named))


def _unusable_file(path: object, why: str, hint: str = "") -> InputError:
    return InputError(
        f"`notify_file`, the file with receivers of messages, cannot be used: {why}",
        where=str(path),
        hint=hint or "Correct its path or its text; `baseforge doctor` says where the setting comes from.",
    )
