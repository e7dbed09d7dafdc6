"""Recognize private keys and other secrets by the content of a file, and a few without a format by their path.

Files are read as a stream, whatever their size, and compressed ones decompressed. In programs and other binary files
only whole keys in PEM count: many have the first and the last line of one in their code.
"""

from __future__ import annotations

import base64
import functools
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path

from rootfs.system.decompression import CorruptStream, DecompressedStream, DecompressionLimits, Readable, is_compressed
from rootfs.system.digests import sha256_of_bytes
from rootfs.tree import java_keystore

BLOCK = 1 << 20  # bytes that are looked at together
HEAD = 1 << 13  # bytes that tell whether a file is binary
# Keys that everybody has: programs test themselves with them.
PUBLIC_KEYS = Path(__file__).with_name("public_test_keys.list")

# RFC 7468, also OpenSSH's and OpenPGP's keys; RFC 4716. A JSON or C text may have it in one line, with `\n`.
PEM = re.compile(
    rb"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----|---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----"
)
PEM_END = re.compile(rb"-----END |---- END ")
LONGEST_PEM = 1 << 16  # bytes between beginning and end
MOST_PEM = 100  # keys of one file that are looked at: one is enough, and a hostile file could have beginnings only
BASE64 = re.compile(rb"[A-Za-z0-9+/]{20,}")
OVERLAP = LONGEST_PEM + 128  # bytes of a block that are looked at again with the next one
# In binary files: the lines of a key, which may be parts of a text in a program or in JSON.
LINE_ENDS = re.compile(rb"[\r\n]+|\\[rn]")
PEM_LINE = re.compile(
    rb"[\s\"',+\\]*+(?:=?[A-Za-z0-9+/]*+={0,2}|[A-Za-z][A-Za-z0-9-]*+: ?[ -~]*+)[\s\"',+\\]*+"
)  # possessive: a hostile line takes no time
SHORTEST = 40  # characters of base64 in the shortest key: what has fewer is an example or a placeholder

ELF = b"\x7fELF"
JCEKS = b"\xce\xce\xce\xce"
PUTTY = b"PuTTY-User-Key-File-"
GNUPG = re.compile(
    rb"\A(?:\(\d+:(?:protected-|shadowed-)?private-key|(?:[A-Z][A-Za-z-]*: .*\n)*Key: \((?:protected-)?private-key)"
)
WIREGUARD = re.compile(rb"^[ \t]*PrivateKey[ \t]*=[ \t]*[A-Za-z0-9+/]{43}=", re.MULTILINE)
OPENVPN = re.compile(rb"-----BEGIN OpenVPN [A-Za-z0-9 -]{1,40}-----\s{1,4}[A-Za-z0-9+/]{32}")
DNSSEC = b"Private-key-format: v"
AGE = re.compile(rb"AGE-SECRET-KEY-1[A-Z0-9]{58}")
JWK = re.compile(rb'"d"\s*+:\s*+"[A-Za-z0-9_-]{40}')
PEM_IN_BASE64 = re.compile(rb"LS0tLS1CRUdJTi[A-Za-z0-9+/]{40,}")  # as kubeconfig files have it
TSIG = re.compile(rb"\balgorithm\s+\"?hmac-[^}]{0,60}?\bsecret\s+\"?[A-Za-z0-9+/]{16,}", re.IGNORECASE)

# dropbear's keys are the fields of an SSH public key and more (RFC 4253, 6.6): the most fields that a public key has.
SSH_FIELDS = {
    b"ssh-rsa": 3,
    b"ssh-dss": 5,
    b"ecdsa-sha2-nistp256": 3,
    b"ecdsa-sha2-nistp384": 3,
    b"ecdsa-sha2-nistp521": 3,
}
ED25519, ED25519_PUBLIC = b"ssh-ed25519", 32  # the public key's bytes; a private one has both in one field

IN_TEXT = (  # a word that is looked for first, which is faster
    (b"PrivateKey", WIREGUARD, "WireGuard key"),
    (b"hmac-", TSIG, "TSIG key"),
    (b"BEGIN OpenVPN ", OPENVPN, "OpenVPN key"),
    (b"AGE-SECRET-KEY-1", AGE, "age key"),
    (b'"kty"', JWK, "JSON web key"),
)

# OpenPGP (RFC 9580): packet 5 with the short, the long and the new form of its length; the algorithms of keys.
SECRET_PACKETS = {0x94: ">xB", 0x95: ">xH", 0xC5: ">xB"}
ALGORITHMS = {1, 2, 3, 16, 17, 18, 19, 22, 25, 26, 27, 28}
# Of Kerberos: format 5.2, the size of the first entry, the parts of its name, the size of its realm.
KEYTAB = struct.Struct(">2sIHH")

# DER: SEQUENCE { INTEGER version, … } of PKCS#1, PKCS#8 and SEC 1; the algorithm of an encrypted PKCS#8 key.
DER_KEYS = (b"\x02\x01\x00\x02", b"\x02\x01\x00\x30", b"\x02\x01\x01\x04", b"\x02\x01\x01\x30")
PBES = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x05"
PKCS12 = b"\x02\x01\x03\x30"
PKCS12_KEY = "PKCS#12 keystore with a private key"
KEY_BAGS = tuple(b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01" + bag for bag in (b"\x01", b"\x02"))
SHORTEST_DER = 40  # bytes

# Secrets that are random bytes.
BY_PATH = {
    "etc/munge/munge.key": "MUNGE key",
    "etc/corosync/authkey": "Corosync key",
    "var/lib/rabbitmq/.erlang.cookie": "Erlang cookie",
    "var/lib/systemd/credential.secret": "systemd credential key",
}


@dataclass
class DecompressionBudget:
    """How many bytes may still come out of compressed files; what would be more is not looked at."""

    left: int = 128 << 20  # several times what an image has


LARGEST_DECOMPRESSED = 64 << 20  # bytes of one compressed file that are looked at
PIECE = 1 << 16  # bytes that are decompressed at once: of a broken file, those before the last piece are looked at
LIMITS = DecompressionLimits(memory=128 << 20, window=128 << 20)


def private_key_format(path: str, data: bytes) -> str:
    """The format of the private key that a file is or contains, for people; empty for other files.

    `path` is the file's path in the tree.
    """
    return find_private_key(path, BytesIO(data), DecompressionBudget())


def find_private_key(path: str, content: Readable, budget: DecompressionBudget) -> str:
    """The same for a file of any size, which is read to its end or to the first key."""
    if path in BY_PATH:
        return BY_PATH[path]
    head = _read(content, BLOCK)
    if is_compressed(head):
        inner = _Limited(DecompressedStream(_Joined(head, content), LIMITS), budget)
        what = _find_in_stream(_read(inner, BLOCK), inner, only_pem=True)
        return what and f"{what}, compressed"
    return _find_in_stream(head, content)


def _find_in_stream(head: bytes, rest: Readable, *, only_pem: bool = False) -> str:
    """The format of the key in a stream, whose first block is `head`. Other texts than PEM take time to look for."""
    if what := _by_start(head):
        return what
    is_program, is_binary, is_keystore = head.startswith(ELF), b"\0" in head[:HEAD], is_certificate_store(head)
    what, window = _in_block(head, strict=is_binary, only_pem=only_pem or is_program), head
    while not what and (block := _read(rest, BLOCK)):
        window = window[-OVERLAP:] + block
        if is_keystore and any(bag in window for bag in KEY_BAGS):
            return PKCS12_KEY
        what = _in_block(window, strict=is_binary, only_pem=only_pem or is_binary)
    return what


def _read(content: Readable, size: int) -> bytes:
    """So many bytes of a stream, less at its end, or where compressed data are broken."""
    parts, left = [], size
    try:
        while left and (data := content.read(left)):
            parts.append(data)
            left -= len(data)
    except CorruptStream:
        pass
    return parts[0] if len(parts) == 1 else b"".join(parts)


class _Joined:
    """A stream whose first bytes have been read."""

    def __init__(self, head: bytes, rest: Readable) -> None:
        self._head, self._rest = BytesIO(head), rest

    def read(self, size: int, /) -> bytes:
        return self._head.read(size) or self._rest.read(size)


class _Limited:
    """The beginning of a decompressed stream, as far as the budget lasts."""

    def __init__(self, content: Readable, budget: DecompressionBudget) -> None:
        self._content, self._budget, self._left = content, budget, LARGEST_DECOMPRESSED

    def read(self, size: int, /) -> bytes:
        data = self._content.read(min(size, PIECE, self._left, self._budget.left))
        self._left -= len(data)
        self._budget.left -= len(data)
        return data


def is_certificate_store(data: bytes) -> bool:
    """Whether it is a PKCS#12 keystore."""
    return _der_body(data).startswith(PKCS12)


def _in_block(data: bytes, *, strict: bool, only_pem: bool) -> str:
    """The format of a key that is somewhere in a block. `strict`: only whole lines of PEM count."""
    if b"PRIVATE KEY" in data and _has_pem(data, strict=strict):
        return "private key in PEM"
    if only_pem:
        return ""
    if b"LS0tLS1CRUdJTi" in data and _has_pem_in_base64(data):
        return "private key in PEM, in base64"
    return next((what for mark, pattern, what in IN_TEXT if mark in data and pattern.search(data)), "")


def _has_pem(data: bytes, *, strict: bool) -> bool:
    for begin in islice(PEM.finditer(data), MOST_PEM):
        end = PEM_END.search(data, begin.end(), begin.end() + LONGEST_PEM)
        body = data[begin.end() : end.start()] if end else b""
        if b"\0" in body or (strict and not all(map(PEM_LINE.fullmatch, LINE_ENDS.split(body)))):
            continue
        text = BASE64.findall(body)
        if sum(map(len, text)) >= SHORTEST and not _is_public(text):
            return True
    return False


def _is_public(text: list[bytes]) -> bool:
    return sha256_of_bytes(b"".join(text)) in _public_keys()


@functools.cache
def _public_keys() -> frozenset[str]:
    """sha256 of the longer runs of base64 in public keys."""
    return frozenset(line for line in PUBLIC_KEYS.read_text().splitlines() if not line.startswith("#"))


def _has_pem_in_base64(data: bytes) -> bool:
    for found in islice(PEM_IN_BASE64.finditer(data), MOST_PEM):
        text = found[0][: 2 * LONGEST_PEM]
        if _has_pem(base64.b64decode(text[: len(text) // 4 * 4]) + b"-----END ", strict=False):
            return True
    return False


def _by_start(data: bytes) -> str:
    if data.startswith((java_keystore.MAGIC, JCEKS)):
        is_key = data.startswith(JCEKS) or java_keystore.has_private_key(data)
        return "Java keystore with a private key" if is_key else ""
    if data.startswith(PUTTY):
        return "PuTTY key"
    if data.startswith((b"(", b"Created: ", b"Key: ")) and GNUPG.match(data):
        return "GnuPG key"
    if data.startswith(DNSSEC):
        return "DNSSEC key"
    return _binary(data)


def _binary(data: bytes) -> str:
    if data.startswith(b"\0\0\0") and _is_dropbear(data):
        return "dropbear key"
    if data and data[0] in SECRET_PACKETS and _is_openpgp(data):
        return "OpenPGP key"
    if data.startswith(b"\5\2") and _is_keytab(data):
        return "Kerberos keytab"
    return _der(data) if data.startswith(b"\x30") else ""


def _is_openpgp(data: bytes) -> bool:
    """Whether it begins with a whole packet of a secret key, and then ends or has another packet."""
    form = SECRET_PACKETS[data[0]]
    start = struct.calcsize(form)
    if len(data) < start + SHORTEST_DER:
        return False
    [size] = struct.unpack_from(form, data)
    if data[0] == 0xC5 and size >= 192:  # RFC 9580, 4.2.1: a length of two bytes
        size, start = ((size - 192) << 8) + data[2] + 192, start + 1
    end, version, algorithm = start + size, data[start], data[start + 5]
    is_whole = len(data) == end or (len(data) > end and data[end] & 0x80)
    return bool(is_whole) and version in (4, 5, 6) and algorithm in ALGORITHMS


def _is_keytab(data: bytes) -> bool:
    if len(data) < KEYTAB.size:
        return False
    _, size, parts, realm = KEYTAB.unpack_from(data)
    name = data[KEYTAB.size : KEYTAB.size + realm]
    return 0 < parts < 10 and 0 < realm < size <= len(data) - 6 and name.isascii() and name.decode().isprintable()


def _is_dropbear(data: bytes) -> bool:
    fields = list(_ssh_fields(data))
    if not fields:
        return False
    name, *rest = fields
    if name == ED25519:
        return bool(rest) and len(rest[0]) > ED25519_PUBLIC
    return len(fields) > SSH_FIELDS.get(name, len(fields))


def _ssh_fields(data: bytes) -> Iterator[bytes]:
    """The fields (RFC 4251, `string`) that a file consists of; none if it consists of something else."""
    fields, at = [], 0
    while at + 4 <= len(data):
        [size] = struct.unpack_from(">I", data, at)
        fields.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return iter(fields if at == len(data) else ())


def _der(data: bytes) -> str:
    body = _der_body(data)
    if body.startswith(PKCS12):
        return PKCS12_KEY if any(bag in data for bag in KEY_BAGS) else ""
    is_key = body.startswith(DER_KEYS) or (body[:1] == b"\x30" and body[2 : 2 + len(PBES)] == PBES)
    return "private key in DER" if is_key and len(data) >= SHORTEST_DER else ""


def _der_body(data: bytes) -> bytes:
    """The content of the SEQUENCE that a file begins with, or empty. Java and OpenSSL ignore what follows it."""
    if len(data) < 2 or data[0] != 0x30:  # SEQUENCE
        return b""
    size, start = data[1], 2
    if size == 0x80:  # a length that is not told (BER), as NSS writes it
        return data[start:]
    if size & 0x80:
        start += size & 0x7F
        size = int.from_bytes(data[2:start], "big")
    is_whole = start + size <= len(data) or len(data) == BLOCK  # else the file goes on
    return data[start : start + size] if is_whole else b""
