"""What a build itself has made is found in its tree: private keys, and state that differs each time."""

import base64
import gzip
import hashlib
import io
import random
import struct
import subprocess
import tarfile
import time

import pytest

from rootfs.checks.build_state import BuildState
from rootfs.checks.errors import not_repeatable, private_keys_found
from rootfs.tree.member import Member, from_tar
from tests.support.keys import MARK, pem

EPOCH = 1_700_000_000
KEY = pem("RSA ")
POSTINST = "var/lib/dpkg/info/{}.postinst"


def file(path, data=b"x"):
    return Member(path, size=len(data), content=io.BytesIO(data))


def state_of(files, *, own=(), layer=None):
    """The state of a tree of these contents by path; `layer` are the paths that a layer has of it."""
    state = BuildState(EPOCH, own)
    members = [file(path, data) for path, data in files.items()]
    seen = {each.path: each.content.read() for each in state.observe(members)}
    assert seen == files
    if layer is not None:
        list(state.in_layer(file(path) for path in layer))
    return state


def keys(files, **more):
    return [str(key) for key in state_of(files, **more).private_keys()]


def sums(path, data):
    return f"{hashlib.md5(data).hexdigest()}  {path}\n".encode()


def test_a_key_is_found_with_the_package_whose_script_names_it():
    scripts = {
        POSTINST.format("openssh-server"): b"create_key /etc/ssh/ssh_host_rsa_key",
        POSTINST.format("ssl-cert"): b"make-ssl-cert generate-default-snakeoil",
        POSTINST.format("dropbear"): b'keyfile="/etc/dropbear/dropbear_${type}_host_key"',
        POSTINST.format("adduser"): b"exit 0",
    }
    made = {
        "etc/ssh/ssh_host_rsa_key": KEY,
        "etc/ssl/private/ssl-cert-snakeoil.key": KEY,
        "etc/dropbear/dropbear_rsa_host_key": KEY,
        "opt/unknown": KEY,
    }
    assert keys({**made, **scripts}) == [
        "/etc/dropbear/dropbear_rsa_host_key: private key in PEM, made by the package dropbear",
        "/etc/ssh/ssh_host_rsa_key: private key in PEM, made by the package openssh-server",
        "/etc/ssl/private/ssl-cert-snakeoil.key: private key in PEM, made by the package ssl-cert",
        "/opt/unknown: private key in PEM",
    ]
    assert keys({"opt/own.key": KEY}, own=["/opt/own.key"]) == [
        "/opt/own.key: private key in PEM, made by `files` in the recipe"
    ]


LARGE = {
    "opt/large": bytes(3 << 20) + KEY,
    "opt/large.gz": gzip.compress(random.Random(1).randbytes(2 << 20) + KEY, compresslevel=1),
    "usr/share/doc/a/example.gz": gzip.compress(KEY),
}


@pytest.mark.parametrize("path", LARGE)
def test_a_key_in_a_large_or_compressed_file_is_found_unless_a_package_brings_it(path):
    data = LARGE[path]
    compressed = ", compressed" if path.endswith(".gz") else ""
    assert keys({path: data}) == [f"/{path}: private key in PEM{compressed}"]
    assert keys({path: data, "var/lib/dpkg/info/a.md5sums": sums(path, data)}) == []


def test_a_key_in_a_large_file_of_a_stream_is_found():
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        info = tarfile.TarInfo("opt/large")
        info.size = len(LARGE["opt/large"])
        archive.addfile(info, io.BytesIO(LARGE["opt/large"]))
    made.seek(0)
    state = BuildState(EPOCH)
    [content] = [each.content.read() for each in state.observe(from_tar(made))]
    assert content == LARGE["opt/large"]
    assert [each.path for each in state.private_keys()] == ["/opt/large"]


def test_a_key_that_is_named_as_bytecode_is_found():
    assert keys({"k/key.pyc": KEY}) == ["/k/key.pyc: private key in PEM"]


RECORD = "usr/lib/python3/dist-packages/tornado-6.dist-info/RECORD"
PUBLIC = {
    "large bytecode": {
        "usr/lib/python3/large.pyc": struct.pack("<H2sIII", 3571, b"\r\n", 0, 0, 9) + bytes(2 << 20) + KEY
    },
    "file": {"usr/share/doc/a/test.key": KEY, "var/lib/dpkg/info/a.md5sums": sums("usr/share/doc/a/test.key", KEY)},
    "file before merged usr": {"usr/lib/a.key": KEY, "var/lib/dpkg/info/a.md5sums": sums("lib/a.key", KEY)},
    "image without dpkg": {"usr/a.key": KEY, "var/lib/dpkg/status.d/a.md5sums": sums("usr/a.key", KEY)},
    "configuration file": {
        "etc/a.key": KEY,
        "var/lib/dpkg/status": f"Conffiles:\n /etc/a.key {hashlib.md5(KEY).hexdigest()}\n".encode(),
    },
    "bytecode": {"usr/lib/python3/a/__pycache__/test.pyc": struct.pack("<H2sIII", 3571, b"\r\n", 0, 0, 9) + KEY},
}


@pytest.mark.parametrize("name", PUBLIC)
def test_a_key_that_a_package_brings_is_public_anyway(name):
    assert keys(PUBLIC[name]) == []


@pytest.mark.parametrize("name", [name for name in PUBLIC if "bytecode" not in name])
def test_a_key_in_its_place_is_not(name):
    (path, _), (listed, text) = PUBLIC[name].items()
    assert len(keys({path: pem(), listed: text})) == 1


def test_a_test_key_that_pip_lists_is_public_anyway():
    digest = base64.urlsafe_b64encode(hashlib.sha256(KEY).digest()).decode().rstrip("=")
    path = "usr/lib/python3/dist-packages/tornado/test/test.key"
    listed = {RECORD: f"tornado/test/test.key,sha256={digest},{len(KEY)}\n".encode()}
    assert keys({path: KEY, **listed}) == []
    assert len(keys({path: pem(), **listed})) == 1


def test_a_key_of_the_base_image_is_not_found_again():
    files = {"etc/old.key": KEY, "etc/new.key": KEY}
    assert keys(files, layer=["etc/new.key"]) == ["/etc/new.key: private key in PEM"]


def test_the_error_names_file_package_and_how_to_make_the_key_at_the_start():
    found = state_of({"etc/ssh/ssh_host_rsa_key": KEY, POSTINST.format("openssh-server"): b"ssh_host_rsa_key"})
    said = str(private_keys_found("web", found.private_keys()))
    for words in ("/etc/ssh/ssh_host_rsa_key", "openssh-server", "`ssh-keygen -A`", "private_keys: ["):
        assert words in said
    assert KEY.decode().splitlines()[1] not in said


VARYING = {
    "var/lib/postgresql/17/main/global/pg_control": ("/var/lib/postgresql/17/main", b"x"),
    "var/lib/mysql/ibdata1": ("/var/lib/mysql", b"x"),
    "var/lib/ldap/data.mdb": ("/var/lib/ldap", b"x"),
    "etc/ldap/slapd.d/cn=config.ldif": ("/etc/ldap/slapd.d", b"x"),
    "etc/x/host-id": ("/etc/x/host-id", b"0123456789abcdef0123456789abcdef\n"),
    "etc/x/name": ("/etc/x/name", b"UUID=3a1c1d6e-0c1c-4f0e-9d3b-0123456789ab\n"),
    "etc/ssh/key": ("/etc/ssh/key", KEY),
    "a.pyc": ("/a.pyc", struct.pack("<H2sIII", 3571, b"\r\n", 0, EPOCH + 1, 9)),
    "a.p12": ("/a.p12", b"\x30\x82\x01\x00\x02\x01\x03\x30" + bytes(252)),
}


@pytest.mark.parametrize("path", VARYING)
def test_state_that_differs_each_time_is_named(path):
    expected, data = VARYING[path]
    found = state_of({path: data}).varying()
    assert [each.path for each in found] == [expected]
    warning = not_repeatable(found)
    assert expected in warning
    assert "`repeatable: {no_because: …}`" in warning
    listed = {"var/lib/dpkg/info/a.md5sums": sums(path, data)}
    if expected == f"/{path}":
        assert state_of({path: data, **listed}).varying() == []
        assert state_of({path: data}, own=[f"/{path}"]).varying() == []
    assert state_of({path: data}, layer=["else"]).varying() == []


STEADY = {
    "etc/x/sum": b"0123456789abcdef0123456789abcdef\n",
    "a.pyc": struct.pack("<H2sIII", 3571, b"\r\n", 0, EPOCH, 9),
    "b.pyc": struct.pack("<H2sIII", 3571, b"\r\n", 3, EPOCH + 1, 9),
    "etc/ssl/certs/broken.pem": b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n",
}


@pytest.mark.parametrize("path", STEADY)
def test_other_files_are_not_named(path):
    assert state_of({path: STEADY[path]}).varying() == []


def test_a_certificate_that_the_build_has_made_is_named():
    words = ["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-keyout", "/dev/null", "-subj", "/CN=x"]
    new = subprocess.run(words, capture_output=True, check=True).stdout
    assert [each.path for each in state_of({"etc/new.pem": new}).varying()] == ["/etc/new.pem"]
    state = BuildState(1 << 40)
    list(state.observe([file("etc/old.pem", new)]))
    assert state.varying() == []


def test_folders_links_and_large_files_pass():
    large = Member("big", size=2 << 20, content=io.BytesIO(bytes(2 << 20)))
    members = [Member("etc", kind=tarfile.DIRTYPE), Member("a", kind=tarfile.SYMTYPE, link="b"), large]
    assert list(BuildState(EPOCH).observe(members)) == members


HOSTILE = {
    "beginnings": f"-----BEGIN {MARK}\n".encode() * 30_000,
    "algorithms": b"algorithm hmac-x " * 60_000,
    "blank lines": b"\n" * 1_000_000 + b"PrivateKey",
    "headers": b"Key: x\n" * 140_000,
    "lines of a program": b"\x7fELF\0" + f"-----BEGIN {MARK}".encode() + b"+ " * 30_000 + b"\1-----END ",
    "beginnings of a program": b"\x7fELF\0" + f"-----BEGIN {MARK}\n-----END \n".encode() * 60_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_takes_no_time(name):
    start = time.process_time()
    assert keys({"a": HOSTILE[name]}) == []
    assert time.process_time() - start < 2


def test_a_huge_list_of_packages_is_not_read():
    huge = Member("var/lib/dpkg/info/a.md5sums", size=1 << 40, content=None)
    assert list(BuildState(EPOCH).observe([huge])) == [huge]
