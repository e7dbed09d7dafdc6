"""CA certificates, as update-ca-certificates(8) and ca-certificates-java make them of the distribution's package."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

from rootfs.scratch.unpack import UnpackedPackages
from rootfs.tree import java_keystore
from rootfs.tree.package_tree import PackageTree, TreeEntry

PACKAGE = "ca-certificates"
SHARED = "usr/share/ca-certificates"
BUNDLE = "etc/ssl/certs/ca-certificates.crt"
KEYSTORE = "etc/ssl/certs/java/cacerts"
# Where OpenSSL looks by itself, in Debian's build and as it comes (OPENSSLDIR, X509_CERT_FILE).
LINKS = {"usr/lib/ssl/cert.pem": f"/{BUNDLE}", "usr/lib/ssl/certs": "/etc/ssl/certs", "etc/ssl/cert.pem": f"/{BUNDLE}"}
PEM = re.compile(rb"-----BEGIN CERTIFICATE-----(.+?)-----END CERTIFICATE-----", re.DOTALL)


def add_bundle(tree: PackageTree, debs: UnpackedPackages, mtime: int) -> None:
    """Add all certificates of the package in one file, sorted by name, each ending with a newline."""
    package = debs[PACKAGE].tree
    texts = [entry.read() for entry in _certificates(package)]
    tree.write(BUNDLE, b"".join(text if text.endswith(b"\n") else text + b"\n" for text in texts), mtime)
    for path, target in LINKS.items():
        tree.link(path, target, mtime)
    _add_license(tree, package)


def add_keystore(tree: PackageTree, debs: UnpackedPackages, mtime: int) -> None:
    """Add the same as a key store for Java, with Java's default password; its entries are dated `mtime`."""
    package = debs[PACKAGE].tree
    entries = [
        java_keystore.trusted_certificate(
            f"debian:{file.path.rpartition('/')[2].removesuffix('.crt').lower()}.pem", der, mtime
        )
        for file in _certificates(package)
        for der in _der_certificates(file.read())
    ]
    tree.write(KEYSTORE, java_keystore.keystore(entries), mtime)
    _add_license(tree, package)


def _certificates(package: PackageTree) -> list[TreeEntry]:
    return [entry for entry in package.entries_below(SHARED) if entry.path.endswith(".crt")]


def _der_certificates(text: bytes) -> Iterator[bytes]:
    return (base64.b64decode(found) for found in PEM.findall(text))


def _add_license(tree: PackageTree, package: PackageTree) -> None:
    tree.add(package.entries[f"usr/share/doc/{PACKAGE}/copyright"])
