"""Small files that are kept from one night to the next: written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from rootfs.disk import disk_full


def write(path: Path, content: bytes) -> None:
    """Put a file in place at once; who reads meanwhile has the old one or the new one. Raises DiskFull."""
    with disk_full(path.parent), contextlib.ExitStack() as undo:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".")
        undo.callback(Path(name).unlink, missing_ok=True)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchmod(handle, 0o644)
        Path(name).replace(path)
