"""Certificates of authorities, made with openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path


def authority(folder: Path, name: str = "ca", *, ca: bool = True, days: int = 2) -> Path:
    """A self-signed certificate NAME.crt with the subject CN=NAME; its key is beside it."""
    constraint = f"basicConstraints=critical,CA:{'TRUE' if ca else 'FALSE'}"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-days", str(days)]
    made = folder / f"{name}.crt"
    config = folder / "openssl.cnf"
    config.write_text("[req]\ndistinguished_name=name\n[name]\n")
    more = ["-config", config, "-addext", constraint, "-keyout", folder / f"{name}.key", "-out", made]
    subprocess.run([*words, *more], check=True, capture_output=True)
    return made
