"""Certificates are added to the bundle and the keystore of any tree, and a tree without them is refused."""

import time

import pytest

from rootfs.checks.trust import BUNDLE, KEYSTORE, require_certificates, with_certificates
from rootfs.errors import InputError
from rootfs.network.certificates import Certificate, der_certificates
from rootfs.tree import java_keystore
from rootfs.tree.member import Member

OLD, OURS = (Certificate(name, name.encode() * 50, f"CN={name}", 0) for name in ("old", "ours"))


def contents(members):
    return {member.path: member.content.read() if member.content else None for member in members}


def tree(bundle=OLD.pem):
    store = java_keystore.keystore([java_keystore.trusted_certificate("debian:old.pem", OLD.der, 5)])
    return [
        Member("etc/ssl/certs/ca-certificates.crt").with_content(bundle),
        Member("etc/ssl/certs/java/cacerts").with_content(store),
        Member("usr/local").with_content(b"x"),
    ]


def test_bundle_keystore_and_the_folder_for_later_updates_have_them():
    found = contents(require_certificates(with_certificates(tree(), [OURS, OLD], 7), [OURS]))
    assert found[BUNDLE] == OLD.pem + OURS.pem
    assert found[KEYSTORE] == java_keystore.keystore(
        [
            java_keystore.trusted_certificate("debian:old.pem", OLD.der, 5),
            java_keystore.trusted_certificate("debian:ours.pem", OURS.der, 7),
        ]
    )
    assert list(found)[3:] == [
        "usr",
        "usr/local/share",
        "usr/local/share/ca-certificates",
        "usr/local/share/ca-certificates/ours.crt",
        "usr/local/share/ca-certificates/old.crt",
    ]


def test_a_bundle_without_a_last_newline_stays_readable():
    found = contents(with_certificates(tree(OLD.pem.strip()), [OURS], 7))
    assert der_certificates(found[BUNDLE]) == [OLD.der, OURS.der]


def test_a_tree_that_does_not_trust_them_is_refused():
    with pytest.raises(InputError, match="the image does not trust CN=ours"):
        list(require_certificates(tree(), [OLD, OURS]))
    with pytest.raises(InputError, match="the image does not trust CN=ours"):
        list(require_certificates(with_certificates([], [OURS], 7), [OURS]))


def test_a_hostile_bundle_takes_no_time():
    bundle, start = b"-----BEGIN CERTIFICATE-----\n" * 30_000, time.process_time()
    found = contents(require_certificates(with_certificates(tree(bundle), [OURS], 7), [OURS]))
    assert time.process_time() - start < 2
    assert found[BUNDLE] == bundle + OURS.pem


def test_java_trusts_them_whatever_names_its_keystore_has_taken():
    taken = java_keystore.keystore([java_keystore.trusted_certificate("debian:OURS.pem", b"another", 5)])
    members = [Member(BUNDLE).with_content(b""), Member(KEYSTORE).with_content(taken)]
    found = contents(require_certificates(with_certificates(members, [OURS, OLD], 7), [OURS, OLD]))
    assert java_keystore.trusted_certificates(found[KEYSTORE]) == {b"another", OURS.der, OLD.der}


def test_a_keystore_that_does_not_trust_them_is_refused():
    sealed = java_keystore.keystore([])[:-1] + b"x"  # as with another password
    members = [Member(BUNDLE).with_content(OURS.pem), Member(KEYSTORE).with_content(sealed)]
    with pytest.raises(InputError, match="Java in the image does not trust CN=ours"):
        list(require_certificates(with_certificates(members, [OURS], 7), [OURS]))
