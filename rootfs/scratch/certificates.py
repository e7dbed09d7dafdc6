"""CA certificates, as update-ca-certificates(8) and ca-certificates-java make them of the distribution's package."""

from __future__ import annotations

from collections.abc import Sequence

from rootfs.checks.trust import BUNDLE, KEYSTORE, add_to_bundle, add_to_keystore
from rootfs.network.certificates import Certificate, der_certificates
from rootfs.scratch.unpack import UnpackedPackages
from rootfs.tree import java_keystore
from rootfs.tree.package_tree import PackageTree, TreeEntry

PACKAGE = "ca-certificates"
SHARED = "usr/share/ca-certificates"
# Where OpenSSL looks by itself, in Debian's build and as it comes (OPENSSLDIR, X509_CERT_FILE).
LINKS = {"usr/lib/ssl/cert.pem": f"/{BUNDLE}", "usr/lib/ssl/certs": "/etc/ssl/certs", "etc/ssl/cert.pem": f"/{BUNDLE}"}


def add_bundle(tree: PackageTree, debs: UnpackedPackages, mtime: int) -> None:
    """Add all certificates of the package in one file, sorted by name, each ending with a newline."""
    package = debs[PACKAGE].tree
    texts = [entry.read() for entry in _certificates(package)]
    tree.write(BUNDLE, b"".join(text if text.endswith(b"\n") else text + b"\n" for text in texts), mtime)
    _add_links(tree, mtime)
    _add_license(tree, package)


def add_keystore(tree: PackageTree, debs: UnpackedPackages, mtime: int) -> None:
    """Add the same as a key store for Java, with Java's default password; its entries are dated `mtime`."""
    package = debs[PACKAGE].tree
    entries = [
        java_keystore.trusted_certificate(
            f"debian:{file.path.rpartition('/')[2].removesuffix('.crt').lower()}.pem", der, mtime
        )
        for file in _certificates(package)
        for der in der_certificates(file.read())
    ]
    tree.write(KEYSTORE, java_keystore.keystore(entries), mtime)
    _add_license(tree, package)


def _certificates(package: PackageTree) -> list[TreeEntry]:
    return [entry for entry in package.entries_below(SHARED) if entry.path.endswith(".crt")]


def add_own(tree: PackageTree, certificates: Sequence[Certificate], mtime: int) -> None:
    """Add the recipe's own certificates to the bundle, which is made where there is none, and to the Java keystore."""
    if not certificates:
        return
    bundle = tree.entries[BUNDLE].read() if BUNDLE in tree.entries else b""
    tree.write(BUNDLE, add_to_bundle(bundle, certificates), mtime)
    _add_links(tree, mtime)
    if KEYSTORE in tree.entries:
        tree.write(KEYSTORE, add_to_keystore(tree.entries[KEYSTORE].read(), certificates, mtime), mtime)


def _add_links(tree: PackageTree, mtime: int) -> None:
    for path, target in LINKS.items():
        tree.link(path, target, mtime)


def _add_license(tree: PackageTree, package: PackageTree) -> None:
    tree.add(package.entries[f"usr/share/doc/{PACKAGE}/copyright"])
