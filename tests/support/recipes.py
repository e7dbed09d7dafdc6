"""Recipes that take long or need more space than there is."""

from __future__ import annotations

from pathlib import Path

from tests.support.factory import Factory


def checked(site: Factory, name: str, probe: Path, *checks: str) -> None:
    """An image of the probe alone, with these smoke checks (each a mapping in YAML's flow style)."""
    text = f"kind: scratch\nfiles: [{{path: /probe, from: probe}}, {{path: /name, content: {name}}}]\n"
    site.recipe(name, f"{text}smoke:\n" + "".join(f"  - {check}\n" for check in checks))
    (site.recipes / name).mkdir()
    (site.recipes / name / "probe").write_bytes(probe.read_bytes())
    (site.recipes / name / "probe").chmod(0o755)


def random_data(site: Factory, name: str, megabytes: int) -> None:
    """An image with a file that no compressor makes smaller, and that is another one each time."""
    commands(site, name, f"head --bytes={megabytes}M /dev/urandom > made")


def commands(site: Factory, name: str, *scripts: str) -> None:
    """An image whose file comes out of shell scripts."""
    lines = "".join(f"  - [sh, -c, '{script}']\n" for script in scripts)
    site.recipe(name, f"kind: scratch\nbuild:\n{lines}files: [{{path: /made, from: made}}]\n")
