"""Images for several platforms: trees for another architecture, tested under emulation, and one index over all."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.factory import Factory
from tests.support.services.podman import LIMITS, podman
from tests.support.services.registry import registry
from tests.support.services.tools import tool

LOCAL_NAME = "baseforge-platforms"
OWN, FOREIGN = "linux/amd64", "linux/arm64"
BOTH = f"\nplatforms: [{OWN}, {FOREIGN}]\n"
IMAGES = ("static", "small", "child", "plain")
# As few packages as can be: their scripts take long under emulation.
SMALL = (
    "kind: debootstrap\nsuite: trixie\nvariant: essential\nslim: [docs, man, locales]\nsmoke: [{run: [dpkg, --audit]}]"
    + BOTH
)
CHILD = "kind: layer\nfrom: small\ninclude: [tree]\nsmoke: [{run: [tree, --version]}]" + BOTH
PLAIN = "kind: scratch\nfiles: [{path: /motd, content: hello}]" + BOTH
DOCKERFILE = "FROM below AS all\nCOPY word /word\n"
BINFMT = Path("/proc/sys/fs/binfmt_misc/status")


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True).stdout


def skopeo(*words: str | Path) -> Any:
    done = subprocess.run(["skopeo", "inspect", *words], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry(tmp_path_factory.mktemp("registry")) as where:
        yield where


@pytest.fixture(scope="module")
def site(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Factory]:
    settings = {"LOCAL_NAME": LOCAL_NAME, "REGISTRY": address, "REGISTRY_INSECURE": "true"}
    plugins = tmp_path_factory.mktemp("docker") / "cli-plugins"
    plugins.mkdir()
    (plugins / "docker-buildx").symlink_to(tool("buildx"))
    environment = {f"BASEFORGE_{name}": value for name, value in settings.items()}
    made = Factory(tmp_path_factory.mktemp("site"), {**environment, "DOCKER_CONFIG": str(plugins.parent)})
    made.shelf("static", "hello")
    with (made.recipes / "static.yaml").open("a") as recipe:
        recipe.write(BOTH)
    made.recipe("small", SMALL)
    made.recipe("child", CHILD)
    made.recipe("plain", PLAIN)
    made.recipe("stage", "kind: dockerfile\ncontexts: {below: plain}" + BOTH, Dockerfile=DOCKERFILE, word="x\n")
    yield made
    made.remove_images()


@pytest.fixture(scope="module")
def built(site: Factory) -> dict[str, Any]:
    """What was said of each image, built once for both platforms."""
    return {record["image"]: record for record in site.built(*IMAGES)}


@contextlib.contextmanager
def nothing_emulated() -> Iterator[None]:
    """No program of another machine runs on this one while the block lasts."""
    BINFMT.write_text("0")
    try:
        yield
    finally:
        BINFMT.write_text("1")


def test_each_image_is_one_index_of_both_platforms(site: Factory, built: dict[str, Any], address: str) -> None:
    for image in IMAGES:
        record = built[image]
        assert (record["status"], record["platforms"]) == ("published", [OWN, FOREIGN])
        parts = record["parts"]
        said = skopeo("--raw", "--tls-verify=false", f"docker://{address}/{image}:latest")
        assert [each["digest"] for each in said["manifests"]] == [part["manifest_digest"] for part in parts]
        assert ["{os}/{architecture}".format(**each["platform"]) for each in said["manifests"]] == [OWN, FOREIGN]
        assert record["registry"] == f"{address}/{image}@{record['manifest_digest']}"
        assert len({part["lock_digest"] for part in parts}) == (1 if image == "plain" else 2)
        assert record["smoke"]["failed"] == 0
        assert record["smoke"]["passed"] == 2 * parts[1]["smoke"]["passed"]
    assert built["small"]["smoke"]["passed"] > 0
    assert site.leftovers() == []


def test_the_engine_runs_the_other_platforms(built: dict[str, Any]) -> None:
    assert built["small"]["parts"][1]["platforms"] == [FOREIGN]
    name = f"{LOCAL_NAME}/small"
    shown = docker("run", "--rm", "--platform", FOREIGN, f"{name}:latest-arm64", "sh", "-c", "uname -m; arch")
    assert shown.split() == ["aarch64", "aarch64"]
    assert docker("run", "--rm", name, "uname", "-m") == "x86_64\n"
    assert "tree v" in docker(
        "run", "--rm", "--platform", FOREIGN, f"{LOCAL_NAME}/child:latest-arm64", "tree", "--version"
    )


def test_a_pull_gets_the_image_of_its_platform(built: dict[str, Any], address: str) -> None:
    with podman() as run:
        for platform, machine in ((FOREIGN, "aarch64"), (OWN, "x86_64")):
            reference = f"{address}/small@{built['small']['manifest_digest']}"
            words = ("run", "--rm", "--tls-verify=false", "--network=none", *LIMITS, "--platform", platform)
            assert run(*words, reference, "uname", "-m") == f"{machine}\n"


def test_an_image_that_changed_on_no_platform_is_not_built_again(site: Factory, built: dict[str, Any]) -> None:
    again = {record["image"]: record for record in site.built(*IMAGES)}
    assert {record["status"] for record in again.values()} == {"unchanged"}
    assert {name: record["build"] for name, record in again.items()} == {
        name: record["build"] for name, record in built.items()
    }
    shown = site.run("show", "static").stdout
    assert f"{FOREIGN} {built['static']['parts'][1]['manifest_digest']}" in shown


@pytest.mark.parametrize("image", ["static", "plain"])
def test_a_build_is_made_again_for_each_platform(site: Factory, built: dict[str, Any], image: str) -> None:
    with nothing_emulated():  # what is only unpacked needs none
        done = site.run("verify", image, "--json")
    assert done.status == 0, done.stderr
    names = [link["name"] for link in done.json["links"]]
    assert (names[0], names[-2:]) == (f"{OWN} recipe", [f"{FOREIGN} manifest", "index"])
    assert all(link["same"] for link in done.json["links"])
    assert done.json["links"][-1]["found"] == built[image]["manifest_digest"]
    other = site.run("verify", image, "--against", "0" * 64, "--json")
    assert (other.status, [link["name"] for link in other.json["links"] if not link["same"]]) == (1, ["index"])


def test_an_export_has_all_platforms_or_one(site: Factory, built: dict[str, Any], tmp_path: Path) -> None:
    for words in (("all.oci.tar",), ("one.oci.tar", "--platform", FOREIGN), ("one.tar", "--platform", FOREIGN)):
        done = site.run("export", "plain", str(tmp_path / words[0]), *words[1:])
        assert done.status == 0, done.stderr
        assert ("each layer twice" in done.stderr) == words[0].endswith(".oci.tar")
    both = skopeo("--raw", f"oci-archive:{tmp_path / 'all.oci.tar'}")
    assert [each["digest"] for each in both["manifests"]] == [
        part["manifest_digest"] for part in built["plain"]["parts"]
    ]
    assert skopeo(f"oci-archive:{tmp_path / 'one.oci.tar'}")["Architecture"] == "arm64"
    with tarfile.open(tmp_path / "one.tar") as tar:
        assert "motd" in tar.getnames()
    name = f"plain:{built['plain']['build']}"
    assert name in docker("load", "--input", str(tmp_path / "all.oci.tar"))
    assert docker("image", "inspect", "--format", "{{.Architecture}}", name) == "amd64\n"
    docker("rmi", name)
    done = site.run("export", "plain", str(tmp_path / "x.tar"), "--platform", "linux/386")
    assert (done.status, "plain is not for linux/386, only for" in done.stderr) == (2, True)


def test_locks_are_by_platform_and_can_be_committed(site: Factory, built: dict[str, Any], tmp_path: Path) -> None:
    file = site.recipes / "static/both.lock"
    file.parent.mkdir()
    try:
        done = site.run("lock", "static", "--write", str(file), "--json")
        assert (done.status, list(done.json)) == (0, [OWN, FOREIGN])
        assert list(json.loads(file.read_text())["platforms"]) == [OWN, FOREIGN]
        before = (site.recipes / "static.yaml").read_text()
        (site.recipes / "static.yaml").write_text(before + "lock: static/both.lock\n".replace("static/", ""))
        parts = site.built("static")[0]["parts"]
        assert [part["lock"]["packages"] for part in parts] == [each["packages"] for each in done.json.values()]
        (site.recipes / "static.yaml").write_text(before)
    finally:
        file.unlink()
        file.parent.rmdir()


def test_one_platform_is_chosen_on_the_command_line(site: Factory, built: dict[str, Any]) -> None:
    [one] = site.built("plain", "--platform", FOREIGN, "--no-publish")
    assert (one["platforms"], one["parts"]) == ([FOREIGN], [])
    assert one["manifest_digest"] == built["plain"]["parts"][1]["manifest_digest"]
    wrong = site.run("build", "plain", "--platform", "linux/arm46")
    assert (wrong.status, "Did you mean 'linux/arm64'?" in wrong.stderr) == (2, True)


def test_a_dockerfile_uses_the_base_image_of_its_platform(site: Factory, built: dict[str, Any]) -> None:
    record = site.built("stage")[-1]  # after its base image
    assert [part["bases"][0]["manifest_digest"] for part in record["parts"]] == [
        part["manifest_digest"] for part in built["plain"]["parts"]
    ]
    name = f"{LOCAL_NAME}/stage:latest-arm64"
    assert docker("image", "inspect", "--format", "{{.Architecture}}", name) == "arm64\n"


def test_programs_for_another_architecture_are_found(site: Factory) -> None:
    done = site.run("build", "hello", "--platform", FOREIGN)  # which is compiled with the machine's own compiler
    assert done.status == 1
    assert "hello: failed: hello: the programs in it are for amd64, and the image is for arm64" in done.stderr
    assert site.leftovers() == []


def test_without_emulation_nothing_is_begun_that_needs_it(site: Factory, built: dict[str, Any]) -> None:
    before = site.builds()
    with nothing_emulated():
        for image, why in (("small", "its packages' scripts"), ("static", "its smoke checks")):
            done = site.run("build", image, "--force")
            assert (done.status, "Traceback" in done.stderr) == (3, False)
            assert f"cannot run programs for {FOREIGN}, and {image} needs that: {why} have to run" in done.stderr
            assert "setup --emulation" in done.stderr
            assert "fetch" not in done.stderr
        assert site.run("verify", "small").status == 3
        assert site.built("plain", "--force", "--no-publish")[0]["status"] == "built"
        [found] = [each for each in site.run("doctor", "--json").json["machine"] if each["name"] == "other platforms"]
        assert FOREIGN not in found["found"]
    assert site.builds() == before
    [found] = [each for each in site.run("doctor", "--json").json["machine"] if each["name"] == "other platforms"]
    assert (found["ok"], FOREIGN in found["found"]) == (True, True)
