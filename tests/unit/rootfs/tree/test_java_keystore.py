"""Java keystores: their dates are clamped, their entries sorted, and the seal fits again."""

import shutil
import subprocess

import pytest

from rootfs.tree import java_keystore
from rootfs.tree.java_keystore import clamp_dates, keystore, trusted_certificate

EPOCH = 1_700_000_000
NOW = EPOCH + 1000


def test_two_builds_give_the_same_keystore():
    one = keystore([trusted_certificate("b", b"B", NOW), trusted_certificate("a", b"A", NOW + 1)])
    two = keystore([trusted_certificate("a", b"A", NOW + 2), trusted_certificate("b", b"B", NOW + 3)])
    expected = keystore([trusted_certificate("a", b"A", EPOCH), trusted_certificate("b", b"B", EPOCH)])
    assert clamp_dates(one, EPOCH) == clamp_dates(two, EPOCH) == expected
    assert java_keystore.newest_date(expected) == EPOCH


@pytest.mark.parametrize("change", [lambda data: data[:-1] + b"?", lambda data: data + b"x", lambda data: data[:30]])
def test_a_keystore_with_another_password_or_a_damaged_one_stays(change):
    data = change(keystore([trusted_certificate("a", b"A", NOW)]))
    assert clamp_dates(data, EPOCH) == data


def test_what_is_old_enough_stays_as_it_is():
    data = keystore([trusted_certificate("b", b"B", 1), trusted_certificate("a", b"A", EPOCH)])
    assert clamp_dates(data, EPOCH) == data


@pytest.mark.skipif(not shutil.which("keytool"), reason="no Java here")
def test_java_reads_what_was_clamped(tmp_path):
    made = tmp_path / "made"
    words = ["-genkeypair", "-keyalg", "EC", "-dname", "CN=x", "-alias", "x", "-storetype", "JKS"]
    common = ["-keystore", str(made), "-storepass", "changeit"]
    subprocess.run(["keytool", *words, *common, "-keypass", "changeit"], check=True, capture_output=True)
    data = made.read_bytes()
    assert java_keystore.has_private_key(data)
    made.write_bytes(clamp_dates(data, EPOCH))
    listed = subprocess.run(["keytool", "-list", *common], check=True, capture_output=True, text=True).stdout
    assert "Nov 14, 2023" in listed
