"""The certificate bundle and Java's key store, read as sun.security.provider.JavaKeyStore describes its format."""

import base64
import hashlib
import io
import struct

import pytest

from rootfs.errors import RecipeInvalid
from tests.support.authorities import authority
from tests.support.debian import Deb

DERS = {"B_last": b"b" * 70, "a first": b"a", "Z Third": b"z" * 300}


def pem(der):
    return f"-----BEGIN CERTIFICATE-----\n{base64.encodebytes(der).decode()}-----END CERTIFICATE-----"


PACKAGE = Deb(
    "ca-certificates",
    files={
        **{f"usr/share/ca-certificates/mozilla/{name}.crt": pem(der) for name, der in DERS.items()},
        "usr/share/ca-certificates/README": "no certificate",
        "usr/share/doc/ca-certificates/copyright": "free",
        "usr/sbin/update-ca-certificates": "#!/bin/sh",
    },
)
SORTED = ["B_last", "Z Third", "a first"]


def test_the_bundle_has_each_certificate(make):
    made = make("suite: trixie\ningredients: [certificates]\n", PACKAGE)
    assert made.contents["etc/ssl/certs/ca-certificates.crt"].decode() == "".join(
        f"{pem(DERS[name])}\n" for name in SORTED
    )
    assert made.links["usr/lib/ssl/cert.pem"] == made.links["etc/ssl/cert.pem"] == "/etc/ssl/certs/ca-certificates.crt"
    assert "usr/share/doc/ca-certificates/copyright" in made.files
    assert "usr/sbin/update-ca-certificates" not in made.files


def entries(store, password="changeit"):
    """Names and certificates of a key store, whose seal is right."""
    body, seal = store[:-20], store[-20:]
    assert hashlib.sha1(password.encode("utf-16-be") + b"Mighty Aphrodite" + body).digest() == seal
    stream = io.BytesIO(body)

    def number(form):
        return struct.unpack(form, stream.read(struct.calcsize(form)))[0]

    magic, version, count = struct.unpack(">III", stream.read(12))
    assert (magic, version) == (0xFEEDFEED, 2)
    for _ in range(count):
        assert number(">I") == 2
        alias = stream.read(number(">H")).decode()
        assert number(">Q") % 1000 == 0
        assert stream.read(number(">H")) == b"X.509"
        yield alias, stream.read(number(">I"))
    assert stream.read() == b""


def test_java_reads_the_same(make):
    made = make("suite: trixie\ningredients: [keystore]\n", PACKAGE)
    found = dict(entries(made.contents["etc/ssl/certs/java/cacerts"]))
    assert found == {f"debian:{name.lower()}.pem": der for name, der in DERS.items()}


def test_own_certificates_are_trusted_too(make, tmp_path):
    ours = authority(tmp_path, "Ours").read_text()
    text = "suite: trixie\ningredients: [certificates, keystore]\ncertificates: [Ours.crt]\n"
    made = make(text, PACKAGE, **{"Ours.crt": ours})
    bundle = made.contents["etc/ssl/certs/ca-certificates.crt"].decode()
    assert bundle == "".join(f"{pem(DERS[name])}\n" for name in SORTED) + ours
    assert "debian:ours.pem" in [alias for alias, _ in entries(made.contents["etc/ssl/certs/java/cacerts"])]


def test_an_image_may_trust_the_companys_authority_alone(make, tmp_path):
    ours = authority(tmp_path, "ours").read_text()
    made = make("certificates: [ours.crt]\n", **{"ours.crt": ours})
    assert made.contents["etc/ssl/certs/ca-certificates.crt"].decode() == ours
    assert made.links["usr/lib/ssl/cert.pem"] == "/etc/ssl/certs/ca-certificates.crt"


def test_a_file_in_a_folder_that_nothing_reads_is_refused_with_the_key_that_works(make):
    file = "{path: /usr/local/share/ca-certificates/ours.crt, content: x}"
    with pytest.raises(RecipeInvalid, match="nothing in a scratch image reads this folder: name it in `certificates`"):
        make(f"files: [{file}]\n")
