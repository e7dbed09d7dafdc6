"""The layout of the code: small folders, imports that only go down, and no circle among modules."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[2]

MOST_FILES = 15  # modules of a folder, without `__init__.py`

# Packages from the top to the bottom: one imports only from its own line's packages, not from each other, and from
# lines below. `flows` and `rootfs` stand for the modules directly in these folders.
LAYERS = (
    ("flows.cli",),
    ("flows.scheduled",),
    ("flows",),
    ("flows.orchestration", "flows.night"),
    ("flows.inputs",),
    ("flows.runtime",),
    ("flows.smoke", "flows.publish"),
    ("flows.builders",),
    ("flows.store", "flows.image", "flows.config"),
    ("rootfs.scratch",),
    ("rootfs.bootstrap",),
    ("rootfs.layer",),
    ("rootfs.packages",),
    ("rootfs.apt", "rootfs.tarball", "rootfs.checks"),
    ("rootfs.lock", "rootfs.install", "rootfs.elf"),
    ("rootfs.recipe", "rootfs.tree"),
    ("rootfs.process", "rootfs.network"),
    ("rootfs.system",),
    ("rootfs",),
)


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for top in ("flows", "rootfs") for path in (ROOT / top).rglob("*.py")}


def package_of(module: str) -> str:
    top, *rest = module.split(".")
    return f"{top}.{rest[0]}" if len(rest) > 1 or (MODULES[module].name == "__init__.py" and rest) else top


def imports_of(module: str) -> Iterator[str]:
    """The modules of ours that a module imports, wherever in its text."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            names = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{name.name}" for name in node.names]
            names = [name if name in MODULES else str(node.module) for name in names]
        else:
            continue
        yield from (name for name in names if name in MODULES and name != module)


@cache
def graph() -> dict[str, set[str]]:
    """What each module of ours imports."""
    return {module: set(imports_of(module)) for module in MODULES}


def test_every_package_has_its_place():
    assert {package_of(module) for module in MODULES} == {package for line in LAYERS for package in line}


def test_a_folder_has_few_files():
    sizes = Counter(path.parent for path in MODULES.values() if path.name != "__init__.py")
    assert {str(folder.relative_to(ROOT)): size for folder, size in sizes.items() if size > MOST_FILES} == {}


def test_imports_go_down():
    height = {package: len(LAYERS) - number for number, line in enumerate(LAYERS) for package in line}
    upward = [
        f"{module} imports {other}"
        for module, others in graph().items()
        for other in others
        if (package_of(module) != package_of(other)) and height[package_of(module)] <= height[package_of(other)]
    ]
    assert upward == []


def test_no_modules_import_each_other():
    try:
        TopologicalSorter(graph()).prepare()
    except CycleError as error:
        raise AssertionError(" → ".join(error.args[1])) from None
