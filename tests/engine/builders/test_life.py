"""The life cycle of persistent and ephemeral builders, and the removal of builders that buildx forgot."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from flows.builders import lifecycle as life
from flows.builders.lifecycle import AcquiredBuilder
from flows.builders.listing import find
from rootfs.errors import InputError
from rootfs.recipe.builder import BuilderPlan
from tests.support.services.buildkit import IMAGE
from tests.support.services.workshop import Workshop

OPTIONS = {"image": IMAGE, "network": "none", "env.COMMAS": 'a,b "c"'}
DRIVER = "docker-container"


@pytest.fixture
def place(workshop: Workshop) -> Iterator[Workshop]:
    """A workshop without the builder `kept`, and nothing else may be left."""
    yield workshop
    life.remove("kept", DRIVER)
    assert workshop.leftovers() == []


def planned(lifecycle: str = "ephemeral", **more: Any) -> BuilderPlan:
    return BuilderPlan.model_validate({"lifecycle": lifecycle, "options": OPTIONS, **more})


def up(plan: BuilderPlan, run_id: str, number: int = 1) -> AcquiredBuilder:
    """A builder that runs."""
    taken = life.acquire(plan, DRIVER, run_id, number, print)
    assert life.start(taken, print).startswith("v0.")
    return taken


def containers(workshop: Workshop) -> dict[str, str]:
    """The id of each container, by the builder's node."""
    found = workshop.engine.client.api.containers()
    return {each["Names"][0].removeprefix("/buildx_buildkit_"): each["Id"] for each in found}


def test_a_persistent_builder_is_created_once(place: Workshop) -> None:
    plan = planned("persistent", name="kept", flags=["--debug"], platforms=["linux/amd64"])
    first = up(plan, "one")
    assert first == AcquiredBuilder("kept", DRIVER, plan)
    made = containers(place)
    assert list(made) == ["kept0"]
    assert up(plan, "two") == first
    assert containers(place) == made
    for other in ({"image": IMAGE}, {**OPTIONS, "env.COMMAS": "a"}, {**OPTIONS, "memory": "1g"}):
        with pytest.raises(
            InputError, match="it is there, with another driver, address or other options than are asked for"
        ):
            life.acquire(plan.model_copy(update={"options": other}), DRIVER, "three", 1, print)
    assert containers(place) == made


def test_a_persistent_builder_that_several_want_at_once_is_created_and_started_once(place: Workshop) -> None:
    with ThreadPoolExecutor(4) as pool:
        plan = planned("persistent", name="kept")
        found = list(pool.map(lambda number: up(plan, str(number)), range(4)))
    assert found == [AcquiredBuilder("kept", DRIVER, plan)] * 4
    assert list(containers(place)) == ["kept0"]


def test_a_stopped_builder_starts_again(place: Workshop) -> None:
    plan = planned("persistent", name="kept")
    up(plan, "one")
    made = containers(place)
    place.engine.client.api.stop(made["kept0"], timeout=5)
    assert containers(place) == {}
    up(plan, "two")
    assert containers(place) == made


def test_an_ephemeral_builder_has_its_run_as_a_label(place: Workshop) -> None:
    run_id = str(uuid.uuid4())
    taken = up(planned(), run_id)
    assert (taken.name, taken.ours) == (f"baseforge-{run_id}-1x", True)
    [node] = find(taken.name).nodes
    assert node.labels["baseforge.run"] == run_id
    assert list(containers(place)) == [node.name] == [f"{taken.name}0"]
    assert len(place.leftovers()) == 3
    life.remove(taken.name, taken.driver)
    assert place.leftovers() == []


def test_a_forgotten_builder_s_container_is_found_by_its_run(place: Workshop) -> None:
    run_id = str(uuid.uuid4())
    forgotten, known = up(planned(), run_id), up(planned(), run_id, 2)
    (place.buildx / "instances" / forgotten.name).unlink()
    assert len(containers(place)) == 2
    assert known.name in place.leftovers()
    life.remove_all([run_id])
    assert place.leftovers() == []


def test_the_end_of_a_run_leaves_other_runs_builders(place: Workshop) -> None:
    one, two = (str(uuid.uuid4()) for _ in range(2))
    first, second, kept = up(planned(), one), up(planned(), two), up(planned("persistent", name="kept"), two)
    life.remove(first.name, first.driver)
    assert sorted(containers(place)) == sorted([f"{second.name}0", f"{kept.name}0"])
    life.remove_all([one])
    assert life.start(second, print)
    life.remove_all([two])
    assert list(containers(place)) == ["kept0"]
