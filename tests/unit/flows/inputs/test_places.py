"""What a recipe says wrongly, and only its archive or its tree can tell, is shown with its place in the recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flows.inputs.resolve import recipe_places, resolve_image
from rootfs.errors import BaseforgeError
from rootfs.install.accounts import Accounts
from rootfs.recipe.recipe import read_recipe
from tests.support.contexts import build_context, context
from tests.support.debian import Archive, Deb, served, signer

Resolve = Callable[[str], BaseforgeError]
APT = (Deb("base", essential=True, priority="required"), Deb("apt", priority="important"), Deb("tzdata"))
DEBIAN = "kind: debootstrap\nsuite: trixie\npockets: []\n"
SCRATCH = "kind: scratch\nfiles: [{path: /x, content: x}]\n"


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, object]]:
    """The settings for a small archive."""
    folder = tmp_path_factory.mktemp("archive")
    with signer(tmp_path_factory.mktemp("key")) as key:
        made = Archive(folder / "archive", key)
        made.publish(*APT)
        with served(made.folder) as server:
            site = server.site(key.keyring)
            yield {"mirrors": site.mirrors, "keyrings": site.keyrings}


@pytest.fixture
def refusal(tmp_path: Path, archive: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """What is said of a recipe when it is resolved; the file is `r.yaml`."""
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    monkeypatch.setenv("BASEFORGE_HOME", str(tmp_path / "home"))
    ctx = context(tmp_path, recipes=(recipes,), **archive)

    def resolve(text: str) -> BaseforgeError:
        (recipes / "r.yaml").write_text(text)
        with pytest.raises(BaseforgeError) as refused:
            resolve_image(build_context(ctx, "r"))
        refused.value.where = refused.value.where.replace(f"{recipes}/", "")
        return refused.value

    return resolve


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("kind: debootstrap\nsuite: trixy\n", "r.yaml:2:8", "Did you mean 'trixie'?"),
        ("kind: debootstrap\nsuite: testing\n", "r.yaml:2:8", "Aliases and numbers are not accepted"),
        ("kind: scratch\nsuite: '13'\npackages: [apt]\n", "r.yaml:2:8", "Aliases and numbers are not accepted"),
        ("kind: debootstrap\nsuite: trixie\npockets: [security]\n", "r.yaml:2:8", "no suite 'trixie-security'"),
        (f"{DEBIAN}components: [main, contrib]\n", "r.yaml:4:20", "trixie has no component 'contrib'"),
        (f"{DEBIAN}apt_sources: {{components: [mian]}}\n", "r.yaml:4:28", "Did you mean 'main'?"),
        (f"{DEBIAN}include: [apt, no-such]\n", "r.yaml:4:16", "no package 'no-such'"),
        (f"{DEBIAN}include: [tzdta]\n", "r.yaml:4:11", "Did you mean 'tzdata'?"),
        ("kind: scratch\nsuite: trixie\npockets: []\npackages: [no-such]\n", "r.yaml:4:12", "no package 'no-such'"),
        (f"{SCRATCH}tools: [dpkg, no-such]\n", "r.yaml:3:15", "apt knows no package 'no-such'"),
        (f"{DEBIAN}timezone: Europe/Berlin\n", "r.yaml:4:11", "add it to `include`"),
        (f"{DEBIAN}include: [tzdata]\ntimezone: US/Pacific\n", "r.yaml:5:11", "`tzdata-legacy`"),
    ],
)
def test_a_mistake_that_the_archive_tells_has_its_place(refusal: Resolve, text: str, where: str, words: str) -> None:
    refused = refusal(text)
    assert refused.where == where
    assert words in str(refused)


def test_an_owner_that_no_account_has_has_its_place(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("kind: scratch\nfiles:\n- {path: /a, content: x}\n- {path: /b, content: x, owner: 'app:app'}\n")
    accounts = Accounts({"passwd": "root:x:0:0::/:/bin/sh\n", "group": "root:x:0:\n"})
    with pytest.raises(BaseforgeError) as refused, recipe_places([read_recipe(file)], [tmp_path]):
        accounts.ids_of("app:app", "/b")
    assert refused.value.where == f"{file}:4:33"
