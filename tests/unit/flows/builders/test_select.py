"""Selection of the builder, and its reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.builders.errors import BuildxMissing, OtherContext
from flows.builders.select import SelectedBuilder, select_builder
from flows.config.settings import Settings
from rootfs.errors import BaseforgeError, InputError
from rootfs.recipe.builder import BuilderPlan, existing_builder
from tests.unit.flows.builders.conftest import Stub, listing

# Builders that buildx knows, with their drivers; `mine` is what stands for the current docker context.
KNOWN = {
    "option": "kubernetes",
    "variable": "remote",
    "recipe": "docker-container",
    "setting": "kubernetes",
    "selected": "remote",
    "mine": "docker",
    "other": "docker",
}

WAYS = [
    ("option", "kubernetes", "--builder"),
    ("variable", "remote", "BUILDX_BUILDER"),
    ("recipe", "docker-container", "the recipe"),
    ("setting", "kubernetes", "the setting `builder`"),
    ("selected", "remote", "selected with `builder use`"),
    ("mine", "docker", "default: the engine of the current docker context"),
]

EPHEMERAL = BuilderPlan(lifecycle="ephemeral", driver="kubernetes", options={"image": "x"})
KEPT = BuilderPlan(lifecycle="persistent", name="kept", driver="docker-container")


def knowing(selected: str) -> str:
    """A docker command whose buildx knows these builders, of which one is selected."""
    cases = [f'{name}) echo "Name: {name}"; echo "Driver: {driver}" ;;' for name, driver in KNOWN.items()]
    choice = f'case "${{3:-{selected}}}" in\n' + "\n".join(cases) + '\n*) echo "ERROR: none" >&2; exit 1 ;;\nesac'
    known = listing(*({"Name": name, "Driver": driver} for name, driver in KNOWN.items()))
    return f'{known}\n[ "$2" != inspect ] || {choice}'


@pytest.fixture(autouse=True)
def _context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.delenv("BUILDX_BUILDER", raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONTEXT", "mine")


@pytest.mark.parametrize("first", range(len(WAYS)), ids=[name for name, _, _ in WAYS])
def test_the_first_choice_of_a_builder_counts(first: int, docker: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    docker(knowing("selected" if first < 5 else "mine"))
    if first <= 1:
        monkeypatch.setenv("BUILDX_BUILDER", "variable")
    settings = Settings(store="", builder="setting" if first <= 3 else "")
    chosen = select_builder(
        "option" if first == 0 else "", existing_builder("recipe") if first <= 2 else None, settings
    )
    name, driver, why = WAYS[first]
    assert chosen == SelectedBuilder(existing_builder(name), driver, why)
    assert chosen.title == name


@pytest.mark.parametrize("way", ["option", "variable", "recipe", "setting"])
def test_a_name_means_what_the_site_describes(way: str, docker: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = docker(knowing("mine"))
    if way == "variable":
        monkeypatch.setenv("BUILDX_BUILDER", "big")
    settings = Settings(store="", builder="big" if way == "setting" else "", builders={"big": EPHEMERAL})
    chosen = select_builder(
        "big" if way == "option" else "", existing_builder("big") if way == "recipe" else None, settings
    )
    assert (chosen.plan, chosen.driver, chosen.title) == (EPHEMERAL, "kubernetes", "kubernetes")
    assert not calls.exists()  # nothing has to be asked for it


def test_the_settings_may_name_an_existing_builder(docker: Stub) -> None:
    docker(knowing("mine"))
    plan = BuilderPlan(lifecycle="existing", name="option", timeout=3)
    assert select_builder("slow", None, Settings(store="", builders={"slow": plan})) == SelectedBuilder(
        plan, "kubernetes", "--builder"
    )


@pytest.mark.parametrize("plan", [EPHEMERAL, KEPT], ids=lambda plan: plan.lifecycle)
def test_a_recipe_may_describe_a_builder(plan: BuilderPlan, docker: Stub) -> None:
    docker(knowing("mine"))
    settings = Settings(store="", builders={"kept": EPHEMERAL})
    assert select_builder("", plan, settings) == SelectedBuilder(plan, plan.driver, "the recipe")
    assert select_builder("kept", plan, settings).plan == EPHEMERAL


def test_plans_that_one_builder_serves_have_one_key() -> None:
    one, two = (
        SelectedBuilder(existing_builder("a"), "remote", "--builder"),
        SelectedBuilder(existing_builder("a"), "remote", "the recipe"),
    )
    assert one.key == two.key != SelectedBuilder(existing_builder("b"), "remote", "--builder").key


@pytest.mark.parametrize(
    ("name", "error", "hint"),
    [
        ("selectet", InputError, "'selected'"),  # that nobody knows
        ("other", OtherContext, "docker context use other"),  # the engine of another context
    ],
)
def test_an_unknown_builder_name_is_refused(name: str, error: type[BaseforgeError], hint: str, docker: Stub) -> None:
    docker(knowing("mine"))
    with pytest.raises(error, match=f"'{name}'") as caught:
        select_builder(name, None, Settings(store=""))
    assert caught.value.status == 2
    assert hint in caught.value.hint


@pytest.mark.parametrize("name", ["", "mine"])
def test_the_engine_itself_needs_no_buildx(name: str, docker: Stub) -> None:
    docker("exit 1")
    chosen = select_builder(name, None, Settings(store=""))
    assert (chosen.plan, chosen.driver) == (existing_builder("mine"), "docker")


def test_any_other_builder_needs_buildx(docker: Stub) -> None:
    docker("exit 1")
    with pytest.raises(BuildxMissing):
        select_builder("option", None, Settings(store=""))


def test_with_docker_host_the_engine_is_called_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://engine.example:2375")
    assert select_builder("default", None, Settings(store="")).driver == "docker"
