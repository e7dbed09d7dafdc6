"""The command that shows that an image runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.platform_build import example
from rootfs.recipe.recipe import read_recipe

SCRATCH = "kind: scratch\nsuite: trixie\npackages: [bash]\n"
BRINGS = "smoke: [{run: [/smoke/id], packages: [coreutils]}]\n"


@pytest.mark.parametrize(
    ("text", "image", "expected"),
    [
        (f"{SCRATCH}smoke: [{{run: [bash, --version]}}]\n", "it", ("bash", "--version")),
        (f"{SCRATCH}debug: true\nsmoke: [{{run: [bash, --version]}}]\n", "it-debug", ("bash", "--version")),
        (f"{SCRATCH}debug: true\n{BRINGS}", "it-debug", ("ls", "/")),
        (f"{SCRATCH}debug: true\n{BRINGS}", "it", None),
        (f"{SCRATCH}image: {{cmd: [bash]}}\n{BRINGS}", "it", ()),
    ],
)
def test_it_is_the_first_check_that_needs_nothing_else_and_prints_something(
    text: str, image: str, expected: tuple[str, ...] | None, tmp_path: Path
) -> None:
    (tmp_path / "it.yaml").write_text(text)
    assert example(read_recipe(tmp_path / "it.yaml", image)) == expected
