"""Images through a BuildKit that is reached over TCP, with and without mutual TLS."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from flows.builders import buildx
from flows.builders.remote import Tls, remote
from rootfs.errors import BuilderFailed, BuilderUnreachable
from tests.engine.builders.conftest import Workshop
from tests.engine.builders.through import builds_the_example, passes_unchanged, samples, tampering_is_caught
from tests.engine.buildkit import Buildkitd, buildkitd

KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


def openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)


def authority(folder: Path) -> Path:
    """An authority in a folder of its own."""
    folder.mkdir()
    subject = ["-subj", "/CN=authority", "-days", "2", "-keyout", folder / "ca-key.pem", "-out", folder / "ca.pem"]
    openssl("req", "-x509", *KEY, *subject)
    return folder


def certificate(signer: Path, name: str, *, days: int = 2) -> Tls:
    """A certificate for 127.0.0.1, for either side; with -1 day it ended yesterday."""
    made = Tls(signer / "ca.pem", signer / f"{name}.pem", signer / f"{name}-key.pem")
    request, extensions = signer / f"{name}.csr", signer / f"{name}.ext"
    extensions.write_text("subjectAltName=IP:127.0.0.1,DNS:builder.test\nbasicConstraints=critical,CA:FALSE\n")
    openssl("req", *KEY, "-subj", f"/CN={name}", "-keyout", made.key or "", "-out", request)
    signed = ["-CA", made.ca, "-CAkey", signer / "ca-key.pem", "-days", str(days), "-extfile", extensions]
    openssl("x509", "-req", "-in", request, *signed, "-out", made.cert or "")
    return made


def options(tls: Tls) -> list[str]:
    return [f"--tlscacert={tls.ca}", f"--tlscert={tls.cert}", f"--tlskey={tls.key}"]


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return authority(tmp_path_factory.mktemp("tls") / "ours, with a comma")


@pytest.fixture(scope="module")
def daemon(ours: Path) -> Iterator[Buildkitd]:
    """A daemon that wants to know who asks."""
    with buildkitd(options(certificate(ours, "daemon"))) as running:
        yield running


def test_an_image_comes_back_as_it_went_in(
    daemon: Buildkitd, ours: Path, workshop: Workshop, tmp_path: Path, example: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = list[str]()
    images = samples(tmp_path, example / "hello")
    client = replace(certificate(ours, "client"), server_name="builder.test")
    with remote(workshop.engine, "remote", daemon.address, tls=client, log=log.append) as builder:
        assert (builder.name, builder.driver) == ("baseforge-remote", "remote")
        passes_unchanged(builder, images)
        builds_the_example(workshop.engine, builder.name, example)
        tampering_is_caught(builder, images[0], monkeypatch, "FROM base\nLABEL added=1\n")
    assert any(f"exporting manifest {images[0].manifest_digest}" in line for line in log)
    assert workshop.leftovers() == []
    assert daemon.answers


def refused(workshop: Workshop, address: str, tls: Tls | None, said: str) -> None:
    started = time.monotonic()
    with (
        pytest.raises(BuilderUnreachable, match=said) as caught,
        remote(workshop.engine, "refused", address, tls=tls, log=print),
    ):
        pass
    assert time.monotonic() - started < 5
    assert caught.value.status == 3
    assert len(str(caught.value).splitlines()) <= 2
    assert address in str(caught.value)
    assert workshop.leftovers() == []


def test_who_cannot_say_who_they_are_is_refused(
    daemon: Buildkitd, ours: Path, workshop: Workshop, tmp_path: Path
) -> None:
    other = authority(tmp_path / "other")
    client = certificate(ours, "client")
    refused(workshop, daemon.address, replace(client, ca=other / "ca.pem"), "self-signed|unable to get|signature")
    refused(workshop, daemon.address, replace(certificate(other, "stranger"), ca=client.ca), "alert")
    refused(workshop, daemon.address, certificate(ours, "expired", days=-1), "alert.*(expired|bad certificate)")
    refused(workshop, daemon.address, Tls(client.ca), "certificate required|bad certificate")
    refused(workshop, daemon.address, replace(client, server_name="elsewhere.test"), "elsewhere.test")
    refused(workshop, daemon.address, replace(client, key=tmp_path / "missing.pem"), "No such file")
    refused(workshop, daemon.address, None, "only with TLS")


def test_a_daemon_whose_certificate_has_expired_is_refused(ours: Path, workshop: Workshop) -> None:
    with buildkitd(options(certificate(ours, "old", days=-1))) as old:
        refused(workshop, old.address, certificate(ours, "client"), "has expired")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_daemon_that_stops(
    number: signal.Signals, workshop: Workshop, tmp_path: Path, example: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buildx, "THROUGH", 5.0)
    image = samples(tmp_path, example / "hello")[0]
    with buildkitd() as running:
        with remote(workshop.engine, "stops", running.address, log=print) as builder:
            builder.import_image(image)
            workshop.engine.client.api.remove_image(image.config_digest)
            running.send(number)
            started = time.monotonic()
            with pytest.raises(BuilderFailed, match="importing failed"):
                builder.import_image(image)
            assert time.monotonic() - started < 20
        assert workshop.leftovers() == []
    refused(workshop, running.address, None, "refused")
