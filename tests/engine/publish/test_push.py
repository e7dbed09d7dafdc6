"""Images are pushed to a real registry, pulled back and run."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.image.oci import Image
from flows.publish.errors import RegistryDenied
from flows.publish.registry import Registry, push, tag
from rootfs.errors import BuildError, InputError, NetworkFailure
from rootfs.recipe.sections import ImageSettings
from tests.support.samples import image_of
from tests.support.services.podman import LIMITS, podman
from tests.support.services.registry import PASSWORD, USER, free_port, registry


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture
def where(address: str) -> Registry:
    return Registry(f"{address}/team/images", insecure=True)


@pytest.fixture
def image(tmp_path: Path, probe: bytes) -> Image:
    files = {"probe": probe, "unique": uuid.uuid4().hex.encode(), "noise": os.urandom(1 << 20)}
    return image_of(files, tmp_path / "made", ImageSettings(cmd=("/probe", "say", "hello")), name=uuid.uuid4().hex)


def output(*words: str | Path) -> str:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def inspect(reference: str) -> dict[str, object]:
    return json.loads(output("skopeo", "inspect", "--no-tags", "--tls-verify=false", f"docker://{reference}"))


def list_tags(where: Registry, image: Image) -> list[str]:
    """The image's tags, as the registry's API lists them; it knows no list before the first."""
    host, _, repository = where.repository(image.name).partition("/")
    try:
        with urllib.request.urlopen(f"http://{host}/v2/{repository}/tags/list", timeout=10) as answer:
            return sorted(json.load(answer)["tags"])
    except urllib.error.HTTPError as error:
        error.close()
        return []


def test_pushed_by_digest_then_named(image: Image, where: Registry) -> None:
    pushed = push(image, where)
    assert pushed == f"{where.repository(image.name)}@{image.manifest_digest}"
    assert list_tags(where, image) == []
    tag(pushed, where, ["20261123T020000Z-1a2b3c4d", "latest"])
    said = inspect(f"{where.repository(image.name)}:latest")
    assert said["Digest"] == image.manifest_digest
    assert said["Layers"] == [image.layer.digest]
    assert list_tags(where, image) == ["20261123T020000Z-1a2b3c4d", "latest"]


def test_pushing_again_succeeds_and_moves_the_tag(image: Image, where: Registry, tmp_path: Path) -> None:
    for _ in range(2):
        tag(push(image, where), where, ["latest"])
    other = image_of({"other": b"content"}, tmp_path / "other", name=image.name)
    tag(push(other, where), where, ["latest"])
    assert inspect(f"{where.repository(image.name)}:latest")["Digest"] == other.manifest_digest
    assert inspect(f"{where.repository(image.name)}@{image.manifest_digest}")["Digest"] == image.manifest_digest


def test_a_pulled_image_is_the_same_and_runs(image: Image, where: Registry, tmp_path: Path) -> None:
    pushed = push(image, where)
    back = tmp_path / "back"
    copy = ["skopeo", "--insecure-policy", "copy", "--preserve-digests", "--src-tls-verify=false"]
    output(*copy, f"docker://{pushed}", f"oci:{back}")
    for digest in (image.manifest_digest, image.config_digest, image.layer.digest):
        name = f"blobs/{digest.replace(':', '/')}"
        assert (back / name).read_bytes() == (image.layout / name).read_bytes()

    with podman() as run:
        run("pull", "--tls-verify=false", pushed)
        assert run("run", "--rm", "--network=none", *LIMITS, pushed) == "hello\n"


def test_plain_http_only_where_it_is_allowed(image: Image, address: str) -> None:
    with pytest.raises(InputError, match="registry_insecure") as caught:
        push(image, Registry(address))
    assert caught.value.status == 2


def test_a_registry_login_is_required_and_found(image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_AUTH_FILE", str(tmp_path / "auth.json"))
    (tmp_path / "auth.json").write_text("{}")
    with registry(tmp_path / "registry", login=True) as running:
        where = Registry(running, insecure=True)
        with pytest.raises(RegistryDenied, match=f"skopeo login {running}"):
            push(image, where)
        login = ["skopeo", "login", "--tls-verify=false", "--username", USER, "--password"]
        output(*login, PASSWORD, running)
        tag(push(image, where), where, ["latest"])


def test_docker_logins_count_too(image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `docker login` wrote is used where skopeo has nothing of its own."""
    home = tmp_path / "home"
    (home / ".docker").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    for name in ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    with registry(tmp_path / "registry", login=True) as running:
        file = home / ".docker/config.json"
        output(
            *("skopeo", "login", "--tls-verify=false", "--authfile", file),
            *("--username", USER, "--password", PASSWORD, running),
        )
        push(image, Registry(running, insecure=True))


def test_a_missing_registry_is_reported(image: Image) -> None:
    for host in (f"127.0.0.1:{free_port()}", "registry.invalid"):
        with pytest.raises(NetworkFailure, match=host):
            push(image, Registry(host, insecure=True))


def test_a_registry_that_stops_in_the_middle(image: Image, tmp_path: Path) -> None:
    with registry(tmp_path / "registry") as running:
        where = Registry(running, insecure=True)
        pushed = push(image, where)
    with pytest.raises(NetworkFailure, match="the registry does not answer:"):
        tag(pushed, where, ["latest"])


@pytest.mark.parametrize("name", ["https://HOST", "HOST/Team", "HOST/a b"])
def test_invalid_registry_names_are_refused(name: str, image: Image, address: str) -> None:
    with pytest.raises(InputError, match="this is not a name that a registry can have"):
        push(image, Registry(name.replace("HOST", address), insecure=True))


def test_a_tag_that_somebody_else_moves(image: Image, where: Registry, tmp_path: Path, address: str) -> None:
    """The registry is asked afterwards: a tag that means something else by then is an error."""
    other = image_of({"other": b"content"}, tmp_path / "other", name=image.name)
    pushed, theirs = push(image, where), push(other, where)
    skopeo = tmp_path / "bin/skopeo"
    skopeo.parent.mkdir()
    moved = f"docker://{where.repository(image.name)}:latest"
    skopeo.write_text(
        "#!/bin/sh\n"
        '/usr/bin/skopeo "$@" || exit\n'
        f'case "$*" in *copy*:latest) /usr/bin/skopeo --insecure-policy copy --src-tls-verify=false'
        f" --dest-tls-verify=false docker://{theirs} {moved};; esac\n"
    )
    skopeo.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rootfs.process.run.SYSTEM_PATH", f"{skopeo.parent}:/usr/bin:/bin")
        with pytest.raises(BuildError, match=other.manifest_digest):
            tag(pushed, where, ["latest"])
