"""Damage in a store is noticed, does not affect other images, and is repaired by following the hint."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.factory import Done, Factory

LOCAL_NAME = "baseforge-damage"
TINY = "kind: scratch\nfiles: [{path: /motd, from: motd}]\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    """A site with two images that are built; each test leaves them whole."""
    made = Factory(tmp_path_factory.mktemp("site"), {"BASEFORGE_LOCAL_NAME": LOCAL_NAME})
    for name in ("tiny", "other"):
        made.recipe(name, TINY, motd=f"{name}\n" * 1000)
    made.built("tiny", "other")
    yield made
    names = [f"{LOCAL_NAME}/{name}" for name in ("tiny", "other")]
    subprocess.run(["docker", "rmi", *names], capture_output=True, check=False)


def record_of(site: Factory, image: str = "tiny") -> Path:
    return max((site.folder / "store/images" / image / "builds").iterdir())


def blob(site: Factory, name: str) -> Path:
    """The file of a blob that the newest record of `tiny` names."""
    digest = json.loads(record_of(site).read_bytes())[name]
    return site.folder / "store/blobs/sha256" / str(digest).removeprefix("sha256:")


def changed(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


def cut(path: Path) -> None:
    changed(path, path.read_bytes()[:-1])


def flip(path: Path) -> None:
    data = path.read_bytes()
    changed(path, bytes([data[0] ^ 1]) + data[1:])


def whole(site: Factory) -> None:
    """See that what the store has of `tiny` can be used."""
    done = site.run("verify", "tiny")
    assert done.status == 0, done.stderr
    assert "reproduced" in done.stderr
    done = site.run("export", "tiny", "tiny.oci.tar")
    assert done.status == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "harm"), [("layer_digest", cut), ("manifest_digest", Path.unlink), ("ingredients", cut)]
)
def test_an_image_with_a_damaged_blob_is_built_again(site: Factory, name: str, harm: Callable[[Path], None]) -> None:
    harm(bad := blob(site, name))
    done = site.run("verify", "tiny")
    assert done.status == 1, done.stderr
    assert f"sha256:{bad.name}" in done.stdout + done.stderr
    assert "reproduced" not in done.stderr
    assert [each["status"] for each in site.built("tiny", "other")] == ["published", "unchanged"]
    whole(site)


def test_following_the_hint_repairs_a_changed_layer(site: Factory) -> None:
    flip(blob(site, "layer_digest"))
    done = site.run("export", "tiny", "bad.oci.tar")
    assert done.status == 1
    assert "baseforge build IMAGE --force" in done.stderr
    assert not (site.folder / "bad.oci.tar").exists()
    done = site.run("verify", "tiny", "--json")
    assert (done.status, done.json["status"], len(done.json["damage"])) == (1, "damaged", 1)
    assert site.run("build", "tiny", "--force").status == 0
    whole(site)


NEWER = "newer"
RECORDS: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "cut off": lambda said: json.dumps(said).encode()[:300],
    "another type": lambda said: json.dumps({**said, "lock": "none"}).encode(),
    NEWER: lambda said: json.dumps({**said, "format": 99}).encode(),
}


@pytest.mark.parametrize("damage", RECORDS)
def test_a_damaged_record_is_named_and_hides_no_other_image(site: Factory, damage: str) -> None:
    record = record_of(site)
    before = record.read_bytes()
    record.write_bytes(RECORDS[damage](json.loads(before)))

    def complains(done: Done) -> None:
        assert done.status == 1, done.stdout + done.stderr
        assert f"images/tiny/builds/{record.name} cannot be read" in done.stderr
        assert "Traceback" not in done.stderr

    listed = site.run("list")
    complains(listed)
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["IMAGE", "other", "tiny"]
    listed = site.run("list", "--json")
    complains(listed)
    assert [(each["image"], each["status"]) for each in listed.json] == [("other", "published"), ("tiny", "damaged")]
    for words in (["show"], ["verify"], ["export"]):
        file = ["x.oci.tar"] if words == ["export"] else []
        complains(site.run(*words, "tiny", *file))
        assert site.run(*words, "other", *file).status == 0
    night = site.run("nightly", "--json")
    if damage == NEWER:  # this version cannot know what the newer one has built
        complains(night)
        assert "update this one" in night.stderr
        assert [each["status"] for each in night.json["builds"]] == ["unchanged", "failed"]
        record.write_bytes(before)
        assert site.run("nightly").status == 0
        return
    assert night.status == 0, night.stderr
    assert {each["image"]: each["status"] for each in night.json["builds"]} == {
        "tiny": "published",
        "other": "unchanged",
    }
    assert site.run("list").status == 0
    whole(site)
