"""`import`: errors name the options."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.cli.import_tarball import _recipe, _recipe_folder, with_options
from flows.config.settings import Settings
from rootfs.errors import RecipeInvalid
from rootfs.recipe.recipe import find_recipe
from rootfs.recipe.yaml import load_yaml

KEYS = {
    "image": {"cmd": ["nosuchprog"]},
    "smoke": [{"run": ["true"]}, {"run": ["false"]}],
    "unlinked": ["/opt/*"],
    "private_keys": [{"path": "/a", "why": "a test"}],
    "platforms": ["linux/amd64"],
}


@pytest.mark.parametrize(
    ("key", "option"),
    [
        (("image", "cmd"), "--cmd"),
        (("image",), "--cmd"),
        (("smoke", 1), "--smoke"),
        (("unlinked", 0), "--unlinked"),
        (("private_keys", 0, "path"), "--private-key"),
        (("platforms", 0), "--platform"),
        (("source",), "FILE"),
        (("kind",), "--kind"),
        (("user",), "import"),
    ],
)
def test_an_error_names_the_option_and_no_temporary_file(
    key: tuple[str | int, ...], option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASEFORGE_HOME", str(tmp_path / "home"))
    (tmp_path / "work").mkdir()
    settings = Settings.model_validate({"store": str(tmp_path / "store"), "work": str(tmp_path / "work")})
    recipe = _recipe("alpine", "rootfs.tar", None, KEYS)
    with _recipe_folder(recipe, f"sha256:{0:064}", settings) as used:
        file = find_recipe("alpine", *used.recipes)
        problem = RecipeInvalid([(load_yaml(file).place(key), "it is not in the image")])
        said = with_options(f"{problem}\n  hint", file)
    assert said == f"{option}: it is not in the image\n  hint"
