"""Settings: where they come from, which one counts, and what a wrong one says."""

from pathlib import Path

import pytest

from flows import settings
from flows.settings import SHELF, load, origins
from rootfs.errors import InvalidSetting


@pytest.fixture(autouse=True)
def site(tmp_path, monkeypatch):
    """An empty site as the current folder, and no settings in the environment."""
    for name in settings.Settings.model_fields:
        monkeypatch.delenv(f"BASEFORGE_{name.upper()}", raising=False)
    monkeypatch.setenv("BASEFORGE_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_anything_the_shelf_and_the_users_data_folder_are_used(site):
    found = load()
    assert (found.recipes, found.store) == (SHELF, str(site / "home/store"))
    assert (SHELF / "noble.yaml").is_file()


def test_the_file_stands_beside_the_recipes_and_the_environment_comes_before_it(site, monkeypatch):
    (site / "recipes").mkdir()
    (site / "baseforge.toml").write_text(
        'store = "s3://b/p"\nregistry = "r:5000"\n[mirrors]\n"http://a" = "http://m"\n'
    )
    monkeypatch.setenv("BASEFORGE_REGISTRY", "other")
    found = load()
    assert (found.recipes, found.store, found.registry) == (Path("recipes"), "s3://b/p", "other")
    assert found.site.mirror("http://a/x") == "http://m/x"
    where = origins(found)
    assert (where["store"], where["registry"], where["work"]) == (
        str(site / "baseforge.toml"),
        "BASEFORGE_REGISTRY",
        "default",
    )


def test_a_folder_of_recipes_can_be_named(site, monkeypatch):
    (site / "baseforge.toml").write_text('local_name = "here"\n')
    assert load(site / "mine").local_name == "here"
    monkeypatch.setenv("BASEFORGE_RECIPES", str(site / "mine"))
    assert load().recipes == site / "mine"


WRONG = {
    'stor = "x"': ("baseforge.toml:1:1", "unknown setting 'stor'", "'store'"),
    '\nregistry_insecure = "perhaps"': ("baseforge.toml:2:1", "registry_insecure", ""),
    "mirrors = 3": ("baseforge.toml:1:1", "mirrors", ""),
    "a b": ("baseforge.toml", "line 1", ""),
}


@pytest.mark.parametrize("text", WRONG)
def test_a_wrong_setting_says_where_and_what(site, text):
    (site / "recipes").mkdir()
    (site / "baseforge.toml").write_text(text + "\n")
    with pytest.raises(InvalidSetting) as caught:
        load()
    where, what, mend = WRONG[text]
    assert (where in str(caught.value), what in str(caught.value), mend in str(caught.value)) == (True, True, True)


def test_a_wrong_variable_is_named(monkeypatch):
    monkeypatch.setenv("BASEFORGE_REGISTRY_INSECURE", "perhaps")
    with pytest.raises(InvalidSetting, match="BASEFORGE_REGISTRY_INSECURE"):
        load()


def test_a_variable_that_is_not_json_is_named(monkeypatch):
    monkeypatch.setenv("BASEFORGE_MIRRORS", "{")
    with pytest.raises(InvalidSetting, match="BASEFORGE_MIRRORS"):
        load()
