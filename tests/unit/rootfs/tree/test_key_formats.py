"""Private keys are recognized by their content, and nothing else is taken for one."""

import base64
import bz2
import gzip
import io
import json
import lzma
import shutil
import struct
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
import zstandard

from rootfs.tree import java_keystore
from rootfs.tree.key_formats import DecompressionBudget, find_private_key, private_key_format
from tests.support.keys import MARK, pem

WORDS = ("", "RSA ", "EC ", "OPENSSH ", "ENCRYPTED ")


def ssh(*fields: bytes) -> bytes:
    return b"".join(struct.pack(">I", len(field)) + field for field in fields)


def der(body: bytes) -> bytes:
    return b"\x30\x82" + struct.pack(">H", len(body)) + body


JSON = json.dumps({"type": "service_account", "private" + "_key": pem().decode()}).encode()
PUBLIC = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
TRUSTED = java_keystore.trusted_certificate("a", b"certificate", 7)
OWN = java_keystore.Entry(
    1, b"own", 7000, struct.pack(">I", 3) + b"key" + struct.pack(">I", 0)
)  # a key without a chain of certificates

# A key and a certificate, without the type that version 2 has before it.
JKS_1 = struct.pack(">4sII", java_keystore.MAGIC, 1, 1) + struct.pack(">IH3sQ", 1, 3, b"own", 7)
JKS_1 += struct.pack(">I", 3) + b"key" + struct.pack(">II", 1, 4) + b"cert" + bytes(20)
BAG = b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x02"
ELF = b"\x7fELF\2\1\1\0"
BEGIN, END = (f"-----{word} RSA {MARK}".encode() for word in ("BEGIN", "END"))


def tar(files: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return made.getvalue()


KEYS = {
    **{f"pem {word}": pem(word) for word in WORDS},
    "shortest pem": pem(size=48),
    "pem after a certificate": PUBLIC + pem("RSA "),
    "pem in json": JSON,
    "pgp": pem().replace(b"PRIVATE KEY-----", b"PGP PRIVATE KEY BLOCK-----"),
    "dropbear rsa": ssh(b"ssh-rsa", b"\1\0\1", b"n" * 256, b"d" * 256, b"p", b"q"),
    "dropbear ecdsa": ssh(b"ecdsa-sha2-nistp256", b"nistp256", b"q" * 65, b"k" * 32),
    "dropbear ed25519": ssh(b"ssh-ed25519", b"k" * 64),
    "pkcs1": der(b"\x02\x01\x00\x02\x82\x01\x01" + b"n" * 257),
    "pkcs8": der(b"\x02\x01\x00\x30\x0d\x06\x09" + b"x" * 300),
    "pkcs12": der(b"\x02\x01\x03\x30" + b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x02" + b"x" * 300),
    "java": java_keystore.keystore([TRUSTED, OWN]),
    "gnupg": b"(21:protected-private-key(3:rsa(1:n",
    "putty": b"PuTTY-User-Key-File-3: ssh-ed25519\n",
    "wireguard": b"[Interface]\nPrivateKey = " + base64.b64encode(bytes(32)) + b"\n",
    "rndc": b'key "rndc-key" {\n\talgorithm hmac-sha256;\n\tsecret "' + base64.b64encode(bytes(32)) + b'";\n};\n',
    "kubeconfig": b"    client-key-data: " + base64.b64encode(pem("RSA ", 1200)) + b"\n",
    "openvpn": b"-----BEGIN OpenVPN Static key V1-----\n" + b"0123456789abcdef0123456789abcdef\n" * 16,
    "dnssec": b"Private-key-format: v1.3\nAlgorithm: 13 (ECDSAP256SHA256)\n",
    "age": b"# created: today\nAGE-SECRET-" + b"KEY-1" + b"Q" * 58 + b"\n",
    "jwk": json.dumps({"kty": "EC", "d": "A" * 43}).encode(),
    "pkcs8 and a newline": der(b"\x02\x01\x00\x30\x0d\x06\x09" + b"x" * 300) + b"\n",
    "program with a key at its end": ELF + pem(),
    "program with a key in its data": ELF + b"text\0" + pem("RSA ") + b"\0more",
    "program with a key in a text": ELF + pem("EC ").replace(b"\n", b"\\n") + b"\0",
    "encrypted key in a program": ELF + pem("RSA ").replace(b"--\n", b"--\nProc-Type: 4,ENCRYPTED\n\n", 1),
    "gzip": gzip.compress(pem()),
    "xz": lzma.compress(b"x" * 9_000_000 + pem()),
    "bzip2": bz2.compress(pem()),
    "zstd": zstandard.compress(pem()),
    "tar.gz": gzip.compress(tar({"a/key": pem("RSA ")})),
    "truncated gzip": gzip.compress(pem() + bytes(1 << 20))[:-20],
    "DER in gzip": gzip.compress(der(b"\x02\x01\x00\x30\x0d\x06\x09" + b"x" * 300)),
    "large": b"line\n" * 700_000 + pem() + b"line\n" * 700_000,
    "across two blocks": b"x" * ((1 << 20) - 100) + b"\n" + pem("RSA ", 2000),
    "large program": ELF + bytes(3 << 20) + pem(),
    "java of version 1": JKS_1,
    "java and more": java_keystore.keystore([TRUSTED, OWN]) + bytes(9),
    "pkcs12 and more": der(b"\x02\x01\x03\x30" + b"\x06\x0b" + BAG + b"x" * 300) + bytes(9),
    "large pkcs12": b"\x30\x83\x20\0\0\x02\x01\x03\x30" + bytes(0x1F0000) + BAG + bytes(0x10000),
    "pkcs12 of unknown length": b"\x30\x80\x02\x01\x03\x30\x80" + BAG + b"x" * 300,
    "keytab": b"\5\2" + struct.pack(">IHH", 60, 1, 7) + b"EXAMPLE" + bytes(49),
}
OTHERS = {
    "certificate": PUBLIC,
    "public pem": pem().replace(b"PRIVATE", b"PUBLIC"),
    "placeholder": f"-----BEGIN RSA {MARK}\n...\n-----END RSA {MARK}\n".encode(),
    "the words": f"if line.startswith('-----BEGIN {MARK}'):\n".encode(),
    "program that reads keys": ELF + BEGIN + b"\0" + b"A" * 60 + b"\n" + END,
    "program whose strings have no ends": ELF + BEGIN + b"bytes.Buffer: Grow/usr/lib/go" + b"A" * 60 + b"%s" + END,
    "large program that reads keys": ELF + bytes(2 << 20) + BEGIN + b"\n\0" + b"A" * 60 + END,
    "gzip of a certificate": gzip.compress(PUBLIC),
    "no gzip": b"\x1f\x8b" + pem(),
    "ssh public rsa": ssh(b"ssh-rsa", b"\1\0\1", b"n" * 256),
    "ssh public ed25519": ssh(b"ssh-ed25519", b"k" * 32),
    "java certificates": java_keystore.keystore([TRUSTED]),
    "damaged java": java_keystore.keystore([OWN])[:20],
    "pkcs12 certificates": der(b"\x02\x01\x03\x30" + b"x" * 300),
    "der certificate": der(b"\x30\x82\x01\x00\xa0\x03\x02\x01\x02" + b"x" * 300),
    "certificate of a kubeconfig": base64.b64encode(PUBLIC * 3),
    "public jwk": json.dumps({"kty": "EC", "x": "A" * 43, "d": "short"}).encode(),
    "words of openvpn": b"-----BEGIN OpenVPN Static key V1-----\n[...]\n",
    "openpgp public": b"\x98\x33\x04" + bytes(4) + b"\x16" + bytes(45),
    "zeros": bytes(64),
    "nothing": b"",
    "one byte": b"\x30",
}


@pytest.mark.parametrize("name", KEYS)
def test_a_private_key_is_recognized(name):
    assert private_key_format("etc/some/file", KEYS[name])


@pytest.mark.parametrize("name", OTHERS)
def test_other_files_are_not_taken_for_keys(name):
    assert private_key_format("etc/some/file", OTHERS[name]) == ""


def test_secrets_of_random_bytes_are_known_by_their_path():
    assert private_key_format("etc/munge/munge.key", bytes(range(128))) == "MUNGE key"
    assert private_key_format("etc/other/munge.key", bytes(range(128))) == ""


OPENSSL = {
    "genpkey": ["genpkey", "-algorithm", "ed25519"],
    "rsa in DER": ["genpkey", "-algorithm", "RSA", "-outform", "DER"],
    "encrypted": ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-aes256", "-pass", "pass:x"],
    "sec1": ["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-outform", "DER"],
}


@pytest.mark.parametrize("name", OPENSSL)
def test_what_openssl_writes_is_recognized(name):
    made = subprocess.run(["openssl", *OPENSSL[name]], capture_output=True, check=True).stdout
    assert private_key_format("key", made)


@pytest.mark.parametrize("form", ["pkcs12", "jks"])
@pytest.mark.skipif(not shutil.which("keytool"), reason="needs a Java runtime")
def test_what_keytool_writes_is_recognized(tmp_path, form):
    words = ["keytool", "-genkeypair", "-storetype", form, "-keystore", tmp_path / "own", "-storepass", "changeit"]
    words += ["-keypass", "changeit", "-keyalg", "EC", "-dname", "CN=x"]
    subprocess.run(words, check=True, capture_output=True)
    assert "keystore with a private key" in private_key_format("own", (tmp_path / "own").read_bytes())


def test_what_openssl_writes_as_pkcs12_is_recognized(tmp_path):
    words = ["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=x"]
    subprocess.run([*words, "-keyout", tmp_path / "k", "-out", tmp_path / "c"], check=True, capture_output=True)
    words = ["openssl", "pkcs12", "-export", "-inkey", tmp_path / "k", "-in", tmp_path / "c", "-passout", "pass:x"]
    made = subprocess.run(words, check=True, capture_output=True).stdout
    assert private_key_format("a.p12", made) == "PKCS#12 keystore with a private key"


LIBRARIES = [
    path
    for name in ("libssl.so.3", "libcrypto.so.3", "libgnutls.so.30", "libssh2.so.1", "libnss3.so")
    for path in Path("/usr/lib").glob(f"*/{name}")
]
PROGRAMS = [Path("/usr/bin") / name for name in ("ssh", "ssh-keygen", "gpg", "openssl", "curl", "python3")]


@pytest.mark.parametrize("path", [each for each in (*LIBRARIES, *PROGRAMS) if each.is_file()], ids=str)
def test_libraries_and_programs_that_read_keys_are_not_taken_for_keys(path):
    assert private_key_format("usr/lib/it", path.read_bytes()) == ""


def test_what_comes_out_of_compressed_files_is_limited():
    budget = DecompressionBudget(left=1000)
    assert find_private_key("a.gz", io.BytesIO(gzip.compress(bytes(10_000_000) + pem())), budget) == ""
    assert budget.left == 0
    assert find_private_key("b.gz", io.BytesIO(gzip.compress(pem())), budget) == ""


def test_what_gpg_exports_is_recognized():
    with tempfile.TemporaryDirectory(prefix="gpg-") as home:  # its sockets need a short path
        gpg = ["gpg", "--homedir", home, "--batch", "--pinentry-mode", "loopback", "--passphrase", ""]
        subprocess.run([*gpg, "--quick-gen-key", "x@example.org", "ed25519", "sign", "never"], check=True)
        secret, public = (
            subprocess.run([*gpg, each], stdout=subprocess.PIPE, check=True).stdout
            for each in ("--export-secret-keys", "--export")
        )
        subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=True)
    assert private_key_format("secring", secret)
    assert private_key_format("pubring", public) == ""
