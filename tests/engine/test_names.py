"""Names are corrected: whatever they point to, a run moves them to the build with the current inputs."""

from __future__ import annotations

import contextvars
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from flows.publish import newest, registry
from flows.publish.errors import registry_unreachable
from flows.store.errors import store_refused
from flows.store.folder import FolderStore
from rootfs.errors import BaseforgeError, MachineError, NetworkFailure
from tests.support.factory import Factory
from tests.support.home import own_home
from tests.support.publishing import FOREIGN, NAME, OWN, Press
from tests.support.services.registry import free_port
from tests.support.services.registry import registry as serve

LOCAL_NAME = "baseforge-names"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serve(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def press(tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Press]:
    monkeypatch.setenv("BASEFORGE_HOME", str(tmp_path / "home"))
    made = Press(tmp_path, str(tmp_path / "store"), LOCAL_NAME, f"{address}/{tmp_path.name}")
    yield made
    made.clear_engine()


def agree(press: Press, build: str) -> None:
    """See that every name means this build."""
    [record] = [each for each in press.records() if each.build == build]
    assert (press.newest().build, press.newest().named) == (build, True)
    tags = press.tags()
    assert tags["latest"] == tags[build] == record.manifest_digest
    for part in record.parts or (record,):
        tag = "latest" if part.platforms == (OWN,) else "latest-arm64"
        assert press.in_engine(tag) in (part.config_digest, part.manifest_digest)


def test_an_earlier_recipe_moves_all_names_back(press: Press) -> None:
    first, second, back = press.build("a"), press.build("b"), press.build("a")
    assert (first.status, second.status, back.status) == ("published", "published", "moved")
    assert (back.build, back.manifest_digest) == (first.build, first.manifest_digest)
    assert second.build in back.reason
    assert len(press.records()) == 2
    agree(press, first.build)
    said = press.newest()
    assert [said.number, *(each.number for each in said.history)] == [3, 2, 1]
    assert second.build in said.why
    assert press.build("a").status == "unchanged"


def test_an_earlier_recipe_moves_the_index_back(press: Press) -> None:
    first = press.build("a", OWN, FOREIGN)
    press.build("b", OWN, FOREIGN)
    press.clear_engine()
    _lose(press, first.manifest_digest)
    back = press.build("a", OWN, FOREIGN)
    assert (back.status, back.build) == ("moved", first.build)
    assert first.index
    agree(press, first.build)


def test_images_that_the_registry_lost_are_pushed_again(press: Press) -> None:
    first = press.build("a")
    _lose(press, first.manifest_digest)
    assert press.tags() == {}
    back = press.build("a")
    assert back.status == "moved"
    assert f"the registry did not have {press.registry}/{NAME}:latest" in back.reason
    agree(press, first.build)


@pytest.mark.parametrize("other", ["-old", "/deeper"])
def test_another_registry_gets_it_however_alike_the_names_are(press: Press, other: str) -> None:
    first = replace(press, registry=press.registry + other).build("a")
    back = press.build("a")
    assert (back.status, back.registry) == ("moved", f"{press.registry}/{NAME}@{first.manifest_digest}")
    agree(press, first.build)
    assert press.build("a").status == "unchanged"


def test_a_registry_tag_that_somebody_moved(press: Press) -> None:
    first, second = press.build("a"), press.build("b")
    where = registry.Registry(press.registry, insecure=True)
    registry.tag(f"{press.registry}/{NAME}@{first.manifest_digest}", where, ["latest"])
    assert press.build("b").status == "moved"
    agree(press, second.build)


@pytest.mark.parametrize("moved", [False, True])
def test_a_lost_or_moved_name_in_the_engine_is_restored(press: Press, moved: bool) -> None:
    first = press.build("a")
    press.clear_engine()
    if moved:
        other = replace(press, folder=press.folder / "other", store=str(press.folder / "other/store"), registry="")
        other.build("other")
    back = press.build("a")
    assert back.status == "moved"
    assert ("another image in the engine" in back.reason) == moved
    agree(press, first.build)


def test_a_store_that_is_copied_without_its_registry(press: Press) -> None:
    first = press.build("a")
    shutil.copytree(press.store, press.folder / "copy")
    copied = replace(press, store=str(press.folder / "copy"), registry=f"{press.registry}/elsewhere")
    assert copied.build("a").status == "moved"
    agree(copied, first.build)


def test_without_publishing_no_name_moves(press: Press) -> None:
    press.build("a")
    second = press.build("b")
    assert press.build("a", publish=False).status == "unchanged"
    agree(press, second.build)


def test_a_lost_newest_json_is_written_again(press: Press) -> None:
    press.build("a")
    second = press.build("b")
    (Path(press.store) / f"images/{NAME}/newest.json").write_text("{")
    again = press.build("b")
    assert again.status == "moved"
    assert "the store had lost which build is the newest" in again.reason
    agree(press, second.build)


@pytest.mark.parametrize("damage", [None, b"short"])
def test_a_build_with_damaged_blobs_is_built_again(press: Press, damage: bytes | None) -> None:
    first = press.build("a")
    second = press.build("b")
    layer = Path(press.store) / "blobs" / first.layer_digest.replace(":", "/")
    layer.unlink()
    if damage:
        layer.write_bytes(damage)
    again = press.build("a")
    assert (again.status, again.manifest_digest) == ("published", first.manifest_digest)
    assert again.build not in (first.build, second.build)
    agree(press, again.build)


def test_nothing_moves_where_the_record_cannot_be_written(press: Press, monkeypatch: pytest.MonkeyPatch) -> None:
    first = press.build("a")
    create = FolderStore.create_document

    def refuse(store: FolderStore, key: str, data: bytes) -> str:
        if "/builds/" in key:
            raise store_refused(store.address, "read-only", "")
        return create(store, key, data)

    monkeypatch.setattr(FolderStore, "create_document", refuse)
    with pytest.raises(MachineError, match="the store cannot be used:"):
        press.build("b")
    agree(press, first.build)
    assert set(press.tags()) == {first.build, "latest"}


def test_names_that_could_not_follow_are_moved_by_housekeeping(press: Press, monkeypatch: pytest.MonkeyPatch) -> None:
    first = press.build("a")
    with monkeypatch.context() as broken:
        broken.setattr(registry, "tag", _unreachable)
        with pytest.raises(BaseforgeError, match="is in the store, but not all names of toy point to it") as caught:
            press.build("b")
    assert "baseforge gc" in caught.value.hint
    assert press.newest().build != first.build
    assert press.tags()["latest"] == first.manifest_digest
    assert press.gc() == [NAME]
    agree(press, press.newest().build)
    assert press.gc() == []


def test_a_registry_that_does_not_answer_fails_the_build_and_moves_nothing(press: Press) -> None:
    first = press.build("a")
    gone = replace(press, registry=f"127.0.0.1:{free_port()}/x")
    for text in ("a", "b"):
        with pytest.raises(NetworkFailure, match="the registry does not answer:"):
            gone.build(text)
    agree(press, first.build)


def test_a_late_run_does_not_move_names_back(press: Press, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another run publishes while this one is about to move its tags."""
    tag, other = registry.tag, replace(press, folder=press.folder / "other")

    def late(*words: object, **more: object) -> None:
        monkeypatch.setattr(registry, "tag", tag)
        contextvars.Context().run(other.build, "newer")
        tag(*words, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(registry, "tag", late)
    mine = press.build("a")
    assert press.newest().build != mine.build
    agree(press, press.newest().build)


def test_the_counter_decides_which_build_is_newest(press: Press, monkeypatch: pytest.MonkeyPatch) -> None:
    press.build("a")
    store = press.open()
    old = press.newest()
    document = store.read_document(f"images/{NAME}/builds/{old.build}.json")
    assert document
    ahead = "20990101T000000Z-00000000"
    store.create_document(
        f"images/{NAME}/builds/{ahead}.json", json.dumps({**json.loads(document.data), "build": ahead}).encode()
    )
    newest.move_latest(store, NAME, ahead, "made while the clock was wrong")
    now = press.build("b")
    assert press.newest().build == now.build
    agree(press, now.build)


def test_an_unchanged_image_asks_the_registry_once(press: Press, monkeypatch: pytest.MonkeyPatch) -> None:
    press.build("a")
    asked: list[str] = []
    ask = registry._manifest
    monkeypatch.setattr(registry, "_manifest", lambda name, where: asked.append(name) or ask(name, where))
    assert press.build("a").status == "unchanged"
    assert asked == [f"{press.registry}/{NAME}:latest"]


def _unreachable(*_: object, **__: object) -> None:
    raise registry_unreachable("127.0.0.1:1", "connection refused")


def _lose(press: Press, digest: str) -> None:
    """Let the registry lose an image, as its API has it."""
    press.ask(f"manifests/{digest}", "DELETE")


@pytest.fixture
def site(press: Press) -> Factory:
    """The same from outside: the command line, with a registry."""
    settings = {"REGISTRY": press.registry, "REGISTRY_INSECURE": "true", "LOCAL_NAME": LOCAL_NAME}
    own = {f"BASEFORGE_{name}": value for name, value in settings.items()}
    return Factory(press.folder, {**own, **own_home(press.folder / "served")})


def test_the_command_line_reports_a_moved_name(site: Factory, press: Press) -> None:
    told = []
    for text in "aba":
        site.recipe(NAME, f"kind: scratch\nfiles: [{{path: /text, content: {text}}}]\n")
        [done] = site.built(NAME)
        told.append(done)
    assert [each["status"] for each in told] == ["published", "published", "moved"]
    first, second, _ = (each["build"] for each in told)
    agree(press, first)
    shown = site.run("show", NAME, "--json").json
    assert (shown["build"], shown["latest"]["number"]) == (first, 3)
    assert [each["build"] for each in shown["latest"]["history"]] == [second, first]
    assert [each["build"] for each in site.run("list", "--json").json] == [first]
    press.clear_engine()
    night = site.run("nightly", "--json")
    assert (night.status, night.json["summary"]) == (0, {"moved": 1})
    assert "the engine did not have" in night.json["builds"][0]["reason"]
    assert site.run("nightly", "--json").json["summary"] == {"unchanged": 1}
    agree(press, first)
