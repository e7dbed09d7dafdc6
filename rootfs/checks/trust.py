"""The authorities that programs of a tree trust: add certificates to its bundle, and check that they are there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from tarfile import DIRTYPE

from rootfs.errors import InputError
from rootfs.network.certificates import Certificate, der_certificates
from rootfs.tree import java_keystore
from rootfs.tree.member import Member, Members, read_whole
from rootfs.tree.paths import parent_folders

BUNDLE = "etc/ssl/certs/ca-certificates.crt"  # of Debian, Ubuntu, Alpine and Arch
KEYSTORE = "etc/ssl/certs/java/cacerts"
LARGEST = 16 << 20  # bytes of a bundle, fifty times that of a distribution


def with_certificates(members: Members, certificates: Sequence[Certificate], mtime: int) -> Iterator[Member]:
    """The members of a tree whose bundle, and Java keystore, have these certificates too, which are dated `mtime`.

    They also become files for update-ca-certificates(8), which makes the bundle anew when packages are installed later.
    """
    seen = set()
    for member in members:
        seen.add(member.path)
        if _is_readable(member):
            add = add_to_bundle if member.path == BUNDLE else add_to_keystore
            yield member.with_content(add(read_whole(member)[1], certificates, mtime))
        else:
            yield member
    for certificate in certificates:
        for folder in parent_folders(certificate.path):
            if folder not in seen:
                yield Member(folder, kind=DIRTYPE, mode=0o755, mtime=mtime)
                seen.add(folder)
        if certificate.path not in seen:
            yield Member(certificate.path, mtime=mtime).with_content(certificate.pem)


def add_to_bundle(bundle: bytes, certificates: Sequence[Certificate], _mtime: int = 0) -> bytes:
    """A bundle with these certificates at its end, where it does not have them yet."""
    there = set(der_certificates(bundle))
    start = bundle if not bundle or bundle.endswith(b"\n") else bundle + b"\n"
    return start + b"".join(each.pem for each in certificates if each.der not in there)


def add_to_keystore(data: bytes, certificates: Sequence[Certificate], mtime: int) -> bytes:
    """A Java keystore with these certificates; one of another format, or with another password, stays as it is."""
    entries = [
        java_keystore.trusted_certificate(f"debian:{each.name.lower()}.pem", each.der, mtime) for each in certificates
    ]
    return java_keystore.add_entries(data, entries)


def require_certificates(members: Members, certificates: Sequence[Certificate]) -> Iterator[Member]:
    """The same members. Raises InputError at their end if the tree's bundle does not have all these certificates, or
    Java's keystore, if there is one that can be read, does not.
    """
    missing, unknown_to_java = {each.der: each for each in certificates}, list[str]()
    for member in members:
        if not _is_readable(member):
            yield member
            continue
        kept, data = read_whole(member)
        if member.path == BUNDLE:
            for der in der_certificates(data):
                missing.pop(der, None)
        elif (trusted := java_keystore.trusted_certificates(data)) is not None:
            unknown_to_java = [each.subject for each in certificates if each.der not in trusted]
        yield kept
    if missing:
        raise not_trusted([each.subject for each in missing.values()])
    if unknown_to_java:
        raise not_trusted_by_java(unknown_to_java)


def _is_readable(member: Member) -> bool:
    """Whether it is the bundle or the keystore, and small enough to be looked at."""
    is_file = member.is_file and member.content is not None
    return member.path in (BUNDLE, KEYSTORE) and is_file and member.size <= LARGEST


def not_trusted(subjects: Sequence[str]) -> InputError:
    """A tree does not trust the certificates that its recipe names."""
    return InputError(
        f"`certificates`: the image does not trust {'; '.join(subjects)}: it has no /{BUNDLE} with that in it",
        hint="Install the package `ca-certificates` in the tree; a script or Dockerfile must not remove it.",
    )


def not_trusted_by_java(subjects: Sequence[str]) -> InputError:
    """A tree has a keystore for Java without the certificates that its recipe names."""
    return InputError(
        f"`certificates`: Java in the image does not trust {'; '.join(subjects)}: /{KEYSTORE} does not have that in it",
        hint=f"Only a keystore with the password `{java_keystore.PASSWORD}` gets certificates. Add them to the"
        " tree's own one by `keytool -importcert`, or leave it out with `paths`.",
    )
