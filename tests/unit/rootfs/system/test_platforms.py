"""Platforms: one name for each architecture that Debian has, in recipes and on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from rootfs.errors import RecipeInvalid
from rootfs.recipe.recipe import digest_recipe, files_folder, read_recipe
from rootfs.system.errors import UnknownPlatform
from rootfs.system.platforms import PLATFORMS, architecture_of, platform_name


def test_a_platform_is_one_architecture() -> None:
    assert len(PLATFORMS) == 12
    assert [architecture_of(platform_name(each)) for each in PLATFORMS] == list(PLATFORMS)
    assert (platform_name("arm64"), platform_name("armhf")) == ("linux/arm64", "linux/arm/v7")


@pytest.mark.parametrize(
    ("platform", "hint"),
    [("linux/arm64/v8", "'linux/arm64'"), ("linux/x86_64", "'linux/386'"), ("", "one of"), ("windows/amd64", "amd64")],
)
def test_an_unknown_platform_is_refused(platform: str, hint: str) -> None:
    with pytest.raises(UnknownPlatform, match=hint) as wrong:
        architecture_of(platform)
    assert wrong.value.status == 2


SCRATCH = "kind: scratch\nfiles: [{path: /a, content: x}]\n"


def recipe(folder: Path, name: str = "a", text: str = SCRATCH) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return path


def test_platforms_are_no_part_of_the_recipes_digest(tmp_path: Path) -> None:
    one = recipe(tmp_path)
    before = digest_recipe(read_recipe(one), files_folder(one))
    recipe(tmp_path, text=SCRATCH + "platforms: [linux/amd64, linux/arm64]\n")
    assert read_recipe(one).platforms == ("linux/amd64", "linux/arm64")
    assert digest_recipe(read_recipe(one), files_folder(one)) == before


TARBALL = "kind: tarball\nsource: a.tar\nsha256: " + "0" * 64 + "\n"
BASE = "kind: debootstrap\nsuite: trixie\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "kind: scratch\nplatforms: [linux/arm46]\n",
            "a.yaml:2:13: no image can be made for platform 'linux/arm46'. Did",
        ),
        ("kind: scratch\nplatforms: [arm64]\n", "write linux/amd64 or"),
        ("kind: scratch\nplatforms: [linux/386, linux/386]\n", "is there twice"),
        ("kind: scratch\nplatforms: linux/386\n", "a.yaml:2:12: expected a list"),
        (TARBALL + "platforms: [linux/amd64, linux/arm64]\n", "an archive is for one platform"),
        ("kind: layer\nfrom: base\nplatforms: [linux/amd64, linux/s390x]\n", "2:7: 'base' is not for linux/s390x"),
        ("kind: layer\nfrom: plain\nplatforms: [linux/amd64]\n", "2:7: 'plain' is not for linux/amd64: name the same"),
    ],
)
def test_impossible_platforms_are_refused(tmp_path: Path, text: str, said: str) -> None:
    recipe(tmp_path, "base", BASE + "platforms: [linux/amd64, linux/arm64]\n")
    recipe(tmp_path, "plain", BASE)
    with pytest.raises(RecipeInvalid) as wrong:
        read_recipe(recipe(tmp_path, text=text))
    assert said in str(wrong.value)


def test_a_layer_is_for_platforms_of_its_parent(tmp_path: Path) -> None:
    recipe(tmp_path, "base", BASE + "platforms: [linux/amd64, linux/arm64]\n")
    for said in ("", "platforms: [linux/arm64]\n"):
        read_recipe(recipe(tmp_path, text="kind: layer\nfrom: base\n" + said))
