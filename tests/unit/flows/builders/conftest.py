"""A fake docker command that follows a script and logs its calls."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rootfs.process import run as door

Stub = Callable[[str], Path]


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stub:
    """Makes a docker command of a few lines of sh; returns the file that has its calls."""

    def make(script: str) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir()
        calls = tmp_path / "calls"
        (folder / "docker").write_text(f'#!/bin/sh\necho "$*" >>{calls}\n{script}\n')
        (folder / "docker").chmod(0o755)
        monkeypatch.setattr(door, "SYSTEM_PATH", f"{folder}:{door.SYSTEM_PATH}")
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
        return calls

    return make


def listing(*builders: dict[str, Any]) -> str:
    """What `buildx ls` prints, as sh: a line for each of these builders, and one for each of its nodes."""
    lines = [f"{json.dumps(builder)}\t\n" * (1 + len(builder.get("Nodes", []))) for builder in builders]
    return f"[ \"$2\" != ls ] || cat <<'END'\n{''.join(lines)}END\n"
