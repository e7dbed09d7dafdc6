"""Images are loaded into a real engine and read back."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from flows.builders import engine as engines
from flows.builders import image_import
from flows.builders.engine import Engine, connect
from flows.builders.errors import EngineRefused
from flows.builders.image_import import EngineBuilder, import_image, remove_unused, tag
from flows.image.errors import LayerDamaged
from flows.image.oci import Image, blob_path
from rootfs.errors import BuildError, MachineError
from rootfs.recipe.sections import ImageSettings
from rootfs.system.digests import digest_of_bytes
from tests.support.samples import image_of
from tests.support.services.dockerd import dockerd
from tests.support.services.relay import relay

NAME = f"baseforge-test-{uuid.uuid4().hex[:8]}"


@dataclass
class Maker:
    """Makes images that no other test has; what comes of them in the engine is removed at the end."""

    folder: Path
    engine: Engine
    probe: bytes

    def __call__(self, content: bytes = b"", settings: ImageSettings | None = None) -> Image:
        unique = uuid.uuid4().hex
        files = {"probe": self.probe, "unique": unique.encode(), "content": content}
        return image_of(files, self.folder / unique, settings or ImageSettings(cmd=("/probe", "say", "hello")))

    def clean(self) -> None:
        for folder in self.folder.iterdir():
            for blob in (folder / "layout/blobs/sha256").iterdir():
                with contextlib.suppress(Exception):
                    self.engine.client.images.remove(f"sha256:{blob.name}", force=True)


@pytest.fixture
def make(tmp_path: Path, engine: Engine, probe: bytes) -> Iterator[Maker]:
    folder = tmp_path / "images"
    folder.mkdir()
    maker = Maker(folder, engine, probe)
    yield maker
    maker.clean()


def docker_cli(*words: str) -> str:
    return subprocess.run(["docker", *words], capture_output=True, text=True, check=True).stdout.strip()


def test_the_engine_is_the_one_the_docker_command_speaks_to(engine: Engine) -> None:
    assert engine.version == docker_cli("version", "--format", "{{.Server.Version}}")
    assert engine.endpoint == docker_cli("context", "inspect", "--format", "{{.Endpoints.docker.Host}}")


def test_an_image_has_the_id_that_was_computed(make: Maker, engine: Engine) -> None:
    image = make()
    imported = import_image(image, EngineBuilder(engine))
    assert imported == engine.image_id(image)
    details = engine.inspect(imported)
    assert details
    assert details["Id"] == engine.image_id(image)
    assert details["RepoTags"] == []
    assert details["RootFS"]["Layers"] == [image.layer.diff_id]
    said = docker_cli("run", "--rm", "--network=none", imported)
    assert said == "hello"
    assert import_image(image, EngineBuilder(engine)) == imported


def test_all_settings_arrive(make: Maker, engine: Engine) -> None:
    settings = ImageSettings(
        cmd=("say", "x"),
        entrypoint=("/probe",),
        env={"A": "<&>"},
        user="1000:1000",
        workdir="/srv",
        labels={"l": "ü"},
        expose=("80", "53/udp"),
        volumes=("/data",),
        stop_signal="SIGINT",
    )
    details = engine.inspect(import_image(make(settings=settings), EngineBuilder(engine)))
    assert details
    config = details["Config"]
    assert config["Env"][1:] == ["A=<&>"]
    assert (config["Entrypoint"], config["Cmd"]) == (["/probe"], ["say", "x"])
    assert (config["User"], config["WorkingDir"], config["StopSignal"]) == ("1000:1000", "/srv", "SIGINT")
    assert (config["Labels"], config["Volumes"]) == ({"l": "ü"}, {"/data": {}})
    assert sorted(config["ExposedPorts"]) == ["53/udp", "80/tcp"]
    assert details["Created"].startswith("2023-11-14T22:13:20")


def test_a_name_moves_and_the_old_image_is_removed(make: Maker, engine: Engine) -> None:
    name = f"{NAME}/move:latest"
    first, second = (import_image(make(), EngineBuilder(engine)) for _ in range(2))
    tag(engine, first, name)
    tag(engine, first, name)
    assert engine.inspect(name) == engine.inspect(first)
    tag(engine, second, name)
    assert engine.inspect(first) is None
    details = engine.inspect(name)
    assert details
    assert details["Id"] == second
    assert not remove_unused(engine, second)
    assert engine.inspect(second)
    docker_cli("rmi", name)


def test_an_image_with_another_name_or_a_container_stays(make: Maker, engine: Engine) -> None:
    name, other = f"{NAME}/stay:latest", f"{NAME}/stay:other"
    first, second, third = (import_image(make(), EngineBuilder(engine)) for _ in range(3))
    tag(engine, first, name)
    tag(engine, first, other)
    tag(engine, second, name)
    assert engine.inspect(first)
    container = docker_cli("create", second)
    tag(engine, third, name)
    assert engine.inspect(second)
    docker_cli("rm", container)
    assert remove_unused(engine, second)
    assert remove_unused(engine, second)  # gone already
    docker_cli("rmi", name, other)


@dataclass
class Tampering:
    """A builder that puts another image in the place of the one it is given."""

    engine: Engine
    other: Image
    name: str = "tampering"
    driver: str = "docker"

    def import_image(self, image: Image) -> str:
        return EngineBuilder(self.engine).import_image(self.other)


def test_a_builder_that_changes_the_image_is_caught(make: Maker, engine: Engine) -> None:
    image = make()
    other = make(settings=ImageSettings(labels={"added": "by the builder"}))
    with pytest.raises(BuildError, match="changed the image:") as caught:
        import_image(image, Tampering(engine, other))
    assert engine.image_id(image) in caught.value.message
    assert engine.image_id(other) in caught.value.message
    assert "tampering" in caught.value.message
    assert engine.inspect(engine.image_id(other)) is None
    EngineBuilder(engine).import_image(other)
    with pytest.raises(BuildError, match="changed the image:"):
        import_image(image, Tampering(engine, other))
    assert engine.inspect(engine.image_id(other))  # it was there before


def test_a_damaged_layer_leaves_nothing(make: Maker, engine: Engine) -> None:
    image = make(os.urandom(3 << 20))
    damaged = bytearray(image.layer.path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    image.layer.path.write_bytes(damaged)
    with pytest.raises(LayerDamaged):
        import_image(image, EngineBuilder(engine))
    assert engine.inspect(engine.image_id(image)) is None


def test_a_config_that_promises_another_layer_is_refused(make: Maker, engine: Engine) -> None:
    image = make()
    config = blob_path(image.layout, image.config_digest).read_bytes()
    wrong = config.replace(image.layer.diff_id.encode(), b"sha256:" + b"0" * 64)
    blob_path(image.layout, digest_of_bytes(wrong)).write_bytes(wrong)
    lying = replace(image, config_digest=digest_of_bytes(wrong))
    with pytest.raises(EngineRefused, match="diffID"):
        import_image(lying, EngineBuilder(engine))
    assert engine.inspect(digest_of_bytes(wrong)) is None


@pytest.mark.parametrize("moment", ["in the middle", "at the end"])
def test_an_interrupted_import_leaves_nothing(
    moment: str, make: Maker, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = make(os.urandom(30 << 20))
    stream = image_import.docker_archive

    def interrupting(image: Image) -> Iterator[bytes]:
        for number, piece in enumerate(stream(image)):
            if (number, moment) == (20, "in the middle"):
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.2)
            yield piece
        if moment == "at the end":
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()

    monkeypatch.setattr(image_import, "docker_archive", interrupting)
    with pytest.raises(KeyboardInterrupt):
        import_image(image, EngineBuilder(engine))
    assert engine.inspect(engine.image_id(image)) is None
    time.sleep(2)
    assert engine.inspect(engine.image_id(image)) is None


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # the SDK's, where it cannot connect
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_an_engine_that_stops_in_the_middle(
    number: signal.Signals, tmp_path: Path, probe: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "SILENCE", 3)
    image = image_of({"probe": probe, "content": os.urandom(30 << 20)}, tmp_path / "made")
    stream = image_import.docker_archive
    with dockerd() as daemon:
        monkeypatch.setenv("DOCKER_HOST", daemon.address)

        def stopping(image: Image) -> Iterator[bytes]:
            for count, piece in enumerate(stream(image)):
                if count == 20:
                    daemon.send(number)
                yield piece

        monkeypatch.setattr(image_import, "docker_archive", stopping)
        with connect() as reached:
            started = time.monotonic()
            with pytest.raises(MachineError, match="loading sample") as caught:
                import_image(image, EngineBuilder(reached))
            assert time.monotonic() - started < 15
            assert caught.value.status == 3
            assert len(str(caught.value).splitlines()) <= 3
    gc.collect()  # of sockets, while their warnings are filtered


def test_a_context_with_tls(tmp_path: Path, probe: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sides prove who they are; a client that the engine does not know, or that does not know it, gets nowhere."""
    for folder in ("good", "bad"):
        certificates(tmp_path / folder)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "config"))
    monkeypatch.delenv("DOCKER_HOST", raising=False)  # which would come before any context
    (tmp_path / "config").mkdir()
    good = tmp_path / "good"
    options = ["--host=tcp://127.0.0.1:2376", "--tlsverify", f"--tlscacert={good}/ca.pem"]
    options += [f"--tlscert={good}/cert.pem", f"--tlskey={good}/key.pem"]
    image = image_of({"probe": probe}, tmp_path / "made")
    with dockerd(options) as daemon, relay(daemon.pid, 2376) as port:
        for name in ("good", "bad"):
            files = {key: tmp_path / name / f"{key}.pem" for key in ("ca", "cert", "key")}
            endpoint = ",".join([f"host=tcp://127.0.0.1:{port}", *(f"{key}={path}" for key, path in files.items())])
            docker_cli("context", "create", name, "--docker", endpoint)
        docker_cli("context", "use", "good")
        with connect() as reached:
            assert import_image(image, EngineBuilder(reached)) == image.config_digest
        monkeypatch.setenv("DOCKER_CONTEXT", "bad")
        with pytest.raises(MachineError, match=f"127.0.0.1:{port}"):
            connect()


def certificates(folder: Path) -> None:
    """An authority of its own and one certificate for 127.0.0.1, for client and server alike."""
    folder.mkdir()
    openssl = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    days = ["-days", "2"]
    authority = ["-subj", "/CN=authority", "-keyout", folder / "ca-key.pem", "-out", folder / "ca.pem"]
    usage = "subjectAltName=IP:127.0.0.1"
    subject = ["-subj", "/CN=engine", "-addext", usage, "-addext", "basicConstraints=critical,CA:FALSE"]
    signer = ["-CA", folder / "ca.pem", "-CAkey", folder / "ca-key.pem"]
    made = ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run([*openssl, *days, *authority], check=True, capture_output=True)
    subprocess.run([*openssl, *days, *subject, *signer, *made], check=True, capture_output=True)
