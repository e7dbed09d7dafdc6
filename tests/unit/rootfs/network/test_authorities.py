"""The file of trusted authorities: the machine's, and those of a bundle."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from rootfs.errors import InputError
from rootfs.network.authorities import MACHINE, Authorities, is_untrusted, read_bundle
from tests.support.services.tls import identity


def test_without_a_bundle_the_machine_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    assert Authorities().file() == MACHINE
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "own.pem"))
    assert Authorities(folder=tmp_path).file() == tmp_path / "own.pem"


def test_a_bundle_is_added_to_the_machine_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine, own = identity(tmp_path / "machine").certificate, identity(tmp_path / "own").certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(machine))
    file = Authorities(own, tmp_path / "kept").file()
    assert len(ssl.create_default_context(cafile=file).get_ca_certs()) == 2
    assert Authorities(own, tmp_path / "kept").file() == file
    own.write_text(machine.read_text())
    assert Authorities(own, tmp_path / "kept").file() != file


@pytest.mark.parametrize("content", [b"", b"no certificate", b"\xff\xfe", b"-----BEGIN CERTIFICATE-----\nAA\n"])
def test_what_is_no_bundle_is_refused(tmp_path: Path, content: bytes) -> None:
    (path := tmp_path / "ca.pem").write_bytes(content)
    with pytest.raises(ValueError, match="holds no certificates in PEM form"):
        read_bundle(path)
    path.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        Authorities(path, tmp_path).file()


def test_words_of_each_library() -> None:
    assert is_untrusted("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer")
    assert is_untrusted("tls: failed to verify certificate: x509: certificate signed by unknown authority")
    assert is_untrusted("Certificate verification failed: The certificate is NOT trusted.")
    assert not is_untrusted("connection refused")
