"""Registry errors are explained, and pushed images are checked."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from flows.publish import registry
from flows.publish.errors import RegistryDenied, RegistryFailed
from flows.publish.registry import Registry, push, tag
from rootfs.errors import BaseforgeError, BuildError, InputError, NetworkFailure
from rootfs.process.errors import ProgramFailed, ProgramMissing
from rootfs.process.run import Outcome
from tests.support.samples import image_of

HOST = "registry.test/team"

# As skopeo 1.9 and 1.18 print them.
SAID: list[tuple[str, type[BaseforgeError]]] = [
    ('dial tcp 127.0.0.1:5000: connect: connection refused"', NetworkFailure),
    ("dial tcp: lookup registry.test: no such host", NetworkFailure),
    ("read tcp 10.0.0.1:1->10.0.0.2:443: read: connection reset by peer", NetworkFailure),
    ("net/http: TLS handshake timeout", NetworkFailure),
    ("context deadline exceeded (Client.Timeout exceeded while awaiting headers)", NetworkFailure),
    ('pinging container registry registry.test: Get "https://registry.test/v2/": EOF', NetworkFailure),
    ("received unexpected HTTP status: 503 Service Unavailable", NetworkFailure),
    ("received unexpected HTTP status: 502 Bad Gateway", NetworkFailure),
    ("toomanyrequests: You have reached your pull rate limit", NetworkFailure),
    ("http: server gave HTTP response to HTTPS client", InputError),
    ("unauthorized: authentication required", RegistryDenied),
    ("unable to retrieve auth token: invalid username/password: unauthorized", RegistryDenied),
    ("denied: requested access to the resource is denied", RegistryDenied),
    ("received unexpected HTTP status: 403 Forbidden", RegistryDenied),
    ("Invalid destination name docker://Registry.test/X: invalid reference format", InputError),
    ("tls: failed to verify certificate: x509: certificate signed by unknown authority", InputError),
    ("manifest invalid: manifest invalid", RegistryFailed),
    ("open /var/tmp/storage123: permission denied", RegistryFailed),
]


@pytest.mark.parametrize(("said", "problem"), SAID)
def test_errors_of_skopeo_are_explained(
    said: str, problem: type[BaseforgeError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> Outcome:
        raise ProgramFailed("skopeo", 1, f'time="2026-01-01T00:00:00Z" level=fatal msg="{said}"')

    monkeypatch.setattr(registry, "run", fail)
    with pytest.raises(BaseforgeError) as caught:
        push(image_of({"a": b"1"}, tmp_path), Registry(HOST))
    assert type(caught.value) is problem
    assert HOST in caught.value.where
    assert isinstance(caught.value, NetworkFailure) == (problem is NetworkFailure)


def skopeo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """A stand-in for skopeo; returns the file that its arguments go to."""
    program = tmp_path / "bin/skopeo"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\n{script}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr("rootfs.process.run.SYSTEM_PATH", f"{program.parent}:{os.defpath}")
    return tmp_path / "calls"


def test_a_registry_that_rewrites_the_image_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    skopeo(tmp_path, monkeypatch, 'case "$*" in *inspect*) printf "{}";; esac')
    image = image_of({"a": b"1"}, tmp_path)
    with pytest.raises(BuildError, match="the registry has another image:") as caught:
        push(image, Registry(HOST))
    assert image.manifest_digest in caught.value.message
    assert "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a" in caught.value.message


def test_the_digest_is_pushed_first_and_every_tag_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = image_of({"a": b"1"}, tmp_path)
    manifest = image.layout / "blobs" / image.manifest_digest.replace(":", "/")
    calls = skopeo(tmp_path, monkeypatch, f'case "$*" in *inspect*) cat {manifest};; esac')
    where = Registry(f"{HOST}/")
    pushed = push(image, where)
    assert pushed == f"{HOST}/sample@{image.manifest_digest}"
    tag(pushed, where, ["20261123", "latest"])
    verbs = [(line.split()[1], line.split()[-1]) for line in calls.read_text().splitlines()]
    assert verbs == [
        (verb, f"docker://{name}")
        for name in (pushed, f"{HOST}/sample:20261123", f"{HOST}/sample:latest")
        for verb in ("copy", "inspect")
    ]
    assert "verify=false" not in calls.read_text()
    assert calls.read_text().count("--preserve-digests") == 3


def test_a_registry_that_never_ends_its_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    skopeo(tmp_path, monkeypatch, "exec sleep 60")
    monkeypatch.setattr(registry, "PUSH_TIME", 0.2)
    with pytest.raises(NetworkFailure, match=r"0\.2 s"):
        push(image_of({"a": b"1"}, tmp_path), Registry(HOST))


def test_without_skopeo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rootfs.process.run.SYSTEM_PATH", str(tmp_path))
    with pytest.raises(ProgramMissing, match="skopeo"):
        push(image_of({"a": b"1"}, tmp_path), Registry(HOST))


def test_skopeo_finds_credentials_but_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = image_of({"a": b"1"}, tmp_path)
    manifest = image.layout / "blobs" / image.manifest_digest.replace(":", "/")
    skopeo(tmp_path, monkeypatch, f'env > {tmp_path}/env; case "$*" in *inspect*) cat {manifest};; esac')
    monkeypatch.setenv("REGISTRY_AUTH_FILE", "/some/auth.json")
    monkeypatch.setenv("SECRET", "x")
    push(image, Registry(HOST))
    seen = (tmp_path / "env").read_text()
    assert "REGISTRY_AUTH_FILE=/some/auth.json" in seen
    assert "SECRET" not in seen
