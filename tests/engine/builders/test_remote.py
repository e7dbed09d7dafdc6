"""Images through a remote BuildKit over TCP, with and without mutual TLS."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from flows.builders import image_import
from flows.builders.errors import BuilderFailed
from flows.builders.image_import import BuildxBuilder
from rootfs.errors import ServiceUnreachable
from rootfs.process.run import Log
from tests.engine.builders.through import ephemeral, holds_for_every_driver, samples
from tests.support.services.buildkit import Buildkitd, buildkitd
from tests.support.services.workshop import Workshop

KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


def openssl(*words: str | Path) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True)


def authority(folder: Path) -> Path:
    """An authority in a folder of its own."""
    folder.mkdir()
    subject = ["-subj", "/CN=authority", "-days", "2", "-keyout", folder / "ca-key.pem", "-out", folder / "ca.pem"]
    openssl("req", "-x509", *KEY, *subject)
    return folder


def certificate(signer: Path, name: str, *, days: int = 2) -> dict[str, str]:
    """A certificate for 127.0.0.1, for either side, as options of the driver; with -1 day it ended yesterday."""
    request, extensions = signer / f"{name}.csr", signer / f"{name}.ext"
    cert, key = signer / f"{name}.pem", signer / f"{name}-key.pem"
    extensions.write_text("subjectAltName=IP:127.0.0.1,DNS:builder.test\nbasicConstraints=critical,CA:FALSE\n")
    openssl("req", *KEY, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
    signed = ["-CA", signer / "ca.pem", "-CAkey", signer / "ca-key.pem", "-days", str(days), "-extfile", extensions]
    openssl("x509", "-req", "-in", request, *signed, "-out", cert)
    return {"cacert": str(signer / "ca.pem"), "cert": str(cert), "key": str(key)}


def flags(tls: Mapping[str, str]) -> list[str]:
    return [f"--tls{name}={path}" for name, path in tls.items()]


NO_TLS: Mapping[str, str] = MappingProxyType({})


@contextlib.contextmanager
def remote(
    workshop: Workshop, run_id: str, address: str, tls: Mapping[str, str] = NO_TLS, log: Log = print
) -> Iterator[BuildxBuilder]:
    described = {"driver": "remote", "endpoint": address, "options": dict(tls)}
    with ephemeral(workshop.engine, run_id, log, **described) as builder:
        yield builder


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return authority(tmp_path_factory.mktemp("tls") / "ours, with a comma")


@pytest.fixture(scope="module")
def daemon(ours: Path) -> Iterator[Buildkitd]:
    """A daemon that wants to know who asks."""
    with buildkitd(flags(certificate(ours, "daemon"))) as running:
        yield running


def test_an_image_comes_back_unchanged(
    daemon: Buildkitd, ours: Path, workshop: Workshop, tmp_path: Path, example: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = list[str]()
    client = {**certificate(ours, "client"), "servername": "builder.test"}
    with remote(workshop, "remote", daemon.address, client, log.append) as builder:
        assert (builder.name, builder.driver) == ("baseforge-remote-1x", "remote")
        holds_for_every_driver(builder, tmp_path, example, monkeypatch, log)
    assert workshop.leftovers() == []
    assert daemon.answers


def refused(workshop: Workshop, address: str, tls: Mapping[str, str], said: str) -> None:
    started = time.monotonic()
    with pytest.raises(ServiceUnreachable, match=said) as caught, remote(workshop, "refused", address, tls):
        pass
    assert time.monotonic() - started < 5
    assert caught.value.status == 3
    assert len(str(caught.value).splitlines()) <= 2
    assert address in str(caught.value)
    assert workshop.leftovers() == []


def test_a_client_without_a_certificate_is_refused(
    daemon: Buildkitd, ours: Path, workshop: Workshop, tmp_path: Path
) -> None:
    other = authority(tmp_path / "other")
    client, stranger = certificate(ours, "client"), certificate(other, "stranger")
    expired = certificate(ours, "expired", days=-1)
    refused(workshop, daemon.address, {**client, "cacert": stranger["cacert"]}, "self-signed|unable to get|signature")
    refused(workshop, daemon.address, {**stranger, "cacert": client["cacert"]}, "alert")
    refused(workshop, daemon.address, expired, "alert.*(expired|bad certificate)")
    refused(workshop, daemon.address, {"cacert": client["cacert"]}, "certificate required|bad certificate")
    refused(workshop, daemon.address, {**client, "servername": "elsewhere.test"}, "elsewhere.test")
    refused(workshop, daemon.address, {**client, "key": str(tmp_path / "missing.pem")}, "No such file")
    refused(workshop, daemon.address, NO_TLS, "only with TLS")


def test_a_daemon_whose_certificate_has_expired_is_refused(ours: Path, workshop: Workshop) -> None:
    with buildkitd(flags(certificate(ours, "old", days=-1))) as old:
        refused(workshop, old.address, certificate(ours, "client"), "has expired")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_daemon_that_stops(
    number: signal.Signals, workshop: Workshop, tmp_path: Path, example: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_import, "THROUGH", 5.0)
    image = samples(tmp_path, example / "hello")[0]
    with buildkitd() as running:
        with remote(workshop, "stops", running.address) as builder:
            builder.import_image(image)
            workshop.engine.client.api.remove_image(image.config_digest)
            running.send(number)
            started = time.monotonic()
            with pytest.raises(BuilderFailed, match="importing failed"):
                builder.import_image(image)
            assert time.monotonic() - started < 20
        assert workshop.leftovers() == []
    refused(workshop, running.address, NO_TLS, "refused")
