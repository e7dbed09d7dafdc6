"""Changelogs of debs in the pool: the entries between two versions, and the CVE numbers that they name."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import BinaryIO

import pytest

from flows.store.folder import FolderStore
from rootfs.lock.lock import Package
from rootfs.packages import changelog
from rootfs.packages.changelog import changes, cves
from tests.support.debs import a_deb, package

DOC = "usr/share/doc/openssl"
ENTRY = """\
openssl ({version}) bookworm-security; urgency=medium

  * {text}

 -- Someone <someone@example.org>  Tue, 03 Sep 2024 20:10:01 +0200

"""
VERSIONS = {
    "3.0.15-1~deb12u1": "Rebuild for bookworm",
    "3.0.15-1": "New upstream version\n    - fixes CVE-2024-6119 and cve-2024-5535",
    "3.0.14-1~deb12u2": "CVE-2024-4741 (use after free)",
    "3.0.14-1~deb12u1": "CVE-2024-4603",
    "3.0.11-1~deb12u2": "CVE-2023-5363",
}


def text(versions: dict[str, str] = VERSIONS) -> bytes:
    return "".join(ENTRY.format(version=version, text=text) for version, text in versions.items()).encode()


class Pool:
    """A store with debs in it."""

    def __init__(self, folder: Path) -> None:
        self.store = FolderStore(folder)

    def put(
        self,
        version: str,
        files: dict[str, bytes | str],
        *,
        name: str = "openssl",
        source: str = "",
        ending: str = ".xz",
    ) -> Package:
        """Keep a deb with these files; `source` is its field of that name."""
        lines = f"Package: {name}\nVersion: {version}\nArchitecture: amd64\n" + (
            f"Source: {source}\n" if source else ""
        )
        data = a_deb(ending, lines.encode(), files=files)
        self.store.put_blob(io.BytesIO(data))
        sha256 = hashlib.sha256(data).hexdigest()
        return package(
            name, version, sha256=sha256, size=len(data), source=source.split(maxsplit=1)[0] if source else name
        )

    def versions(self, old: Package, new: Package, *others: Package) -> list[str]:
        return [entry.version for entry in changes(self.store, old, new, (new, *others))]


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return Pool(tmp_path)


def packed(data: bytes) -> dict[str, bytes | str]:
    return {"usr/bin/openssl": b"x" * 5000, f"{DOC}/changelog.Debian.gz": gzip.compress(data)}


@pytest.mark.parametrize("ending", ["", ".gz", ".xz", ".zst"])
def test_entries_between_two_versions(pool: Pool, ending: str) -> None:
    old = pool.put("3.0.14-1~deb12u1", {})
    new = pool.put("3.0.15-1~deb12u1", packed(text()), ending=ending)
    found = changes(pool.store, old, new)
    assert [entry.version for entry in found] == ["3.0.15-1~deb12u1", "3.0.15-1", "3.0.14-1~deb12u2"]
    assert cves(found) == ("CVE-2024-4741", "CVE-2024-5535", "CVE-2024-6119")
    assert found[0].distributions == "bookworm-security"
    assert (found[0].urgency, found[0].date) == ("medium", "Tue, 03 Sep 2024 20:10:01 +0200")
    assert found[0].text == "  * Rebuild for bookworm"


def test_old_deb_that_the_pool_has_no_more(pool: Pool) -> None:
    new = pool.put("3.0.15-1~deb12u1", packed(text()))
    assert pool.versions(package("openssl", "3.0.14-1~deb12u2"), new) == ["3.0.15-1~deb12u1", "3.0.15-1"]


def test_nothing_for_an_older_or_the_same_version(pool: Pool) -> None:
    old, new = pool.put("3.0.14-1~deb12u1", packed(text())), pool.put("3.0.15-1~deb12u1", packed(text()))
    assert pool.versions(new, old) == []
    assert pool.versions(new, new) == []


def test_epochs_count_and_tildes_sort_first(pool: Pool) -> None:
    versions = {"1:2.0-1": "CVE-2024-1111", "1:2.0-1~rc1": "-", "3.0-1": "CVE-2020-9999"}
    new = pool.put("1:2.0-1", packed(text(versions)))
    assert pool.versions(package("openssl", "3.0-1"), new) == ["1:2.0-1", "1:2.0-1~rc1"]


def test_native_package(pool: Pool) -> None:
    new = pool.put("12.4+deb12u7", {f"{DOC}/changelog.gz": gzip.compress(text({"12.4+deb12u7": "-", "12.4": "-"}))})
    assert pool.versions(package("openssl", "12.4"), new) == ["12.4+deb12u7"]


def test_changelog_of_the_upstream_is_not_taken_for_a_native_one(pool: Pool) -> None:
    files = {f"{DOC}/changelog.gz": gzip.compress(text({"9.9": "CVE-2000-1111"})), **packed(text())}
    new = pool.put("3.0.15-1~deb12u1", files)
    assert "9.9" not in pool.versions(package("openssl", "3.0.14-1~deb12u1"), new)


def test_changelog_that_is_not_compressed(pool: Pool) -> None:
    new = pool.put("3.0.15-1~deb12u1", {f"{DOC}/changelog.Debian": text()})
    assert len(pool.versions(package("openssl", "3.0.11-1~deb12u2"), new)) == 4


def test_rebuild_for_an_architecture(pool: Pool) -> None:
    rebuild = gzip.compress(text({"3.0.15-1~deb12u1+b2": "Rebuild against zlib for CVE-2023-45853"}))
    files = {f"{DOC}/changelog.Debian.amd64.gz": rebuild, **packed(text())}
    new = pool.put("3.0.15-1~deb12u1+b2", files, source="openssl (3.0.15-1~deb12u1)")
    assert pool.versions(package("openssl", "3.0.15-1~deb12u1"), new) == ["3.0.15-1~deb12u1+b2"]
    older = pool.put("3.0.15-1~deb12u1+b1", {}, source="openssl (3.0.15-1~deb12u1)")
    assert pool.versions(older, new) == ["3.0.15-1~deb12u1+b2"]
    assert pool.versions(package("openssl", "3.0.14-1~deb12u2"), new)[1:] == ["3.0.15-1~deb12u1", "3.0.15-1"]


def test_package_with_another_version_than_its_source(pool: Pool) -> None:
    """As libdevmapper1.02.1 2:1.02.185-2 is made of lvm2 2.03.16-2."""
    doc = "usr/share/doc/libdevmapper"
    data = text({"2.03.16-3": "CVE-2024-1000", "2.03.16-2": "CVE-2023-1000"})
    common = {"name": "libdevmapper"}
    old = pool.put("2:1.02.185-2", {}, source="lvm2 (2.03.16-2)", **common)
    files = {f"{doc}/changelog.Debian.gz": gzip.compress(data)}
    new = pool.put("2:1.02.185-3", files, source="lvm2 (2.03.16-3)", **common)
    assert pool.versions(old, new) == ["2.03.16-3"]


@pytest.mark.parametrize(
    "files",
    [
        {"usr/share/doc/libssl3": "openssl"},
        {"usr/share/doc/libssl3": "/usr/share/doc/openssl"},
        {
            "usr/share/doc/libssl3/copyright": b"(c)",
            "usr/share/man/x": b"x",
            "usr/share/doc/libssl3/changelog.Debian.gz": "../openssl/changelog.Debian.gz",
        },
    ],
    ids=["folder", "absolute", "file"],
)
def test_documents_of_another_package_of_the_source(pool: Pool, files: dict[str, bytes | str]) -> None:
    old = pool.put("3.0.14-1~deb12u1", files, name="libssl3", source="openssl")
    new = pool.put("3.0.15-1~deb12u1", files, name="libssl3", source="openssl")
    other = pool.put("3.0.15-1~deb12u1", packed(text()))
    assert len(pool.versions(old, new, other)) == 3
    assert pool.versions(old, new) == []
    assert pool.versions(old, new, other.model_copy(update={"source": "another"})) == []


def test_two_folders_that_are_links_to_each_other(pool: Pool) -> None:
    old = package("openssl", "3.0.14-1")
    new = pool.put("3.0.15-1", {DOC: "libssl3"})
    other = pool.put("3.0.15-1", {"usr/share/doc/libssl3": "openssl"}, name="libssl3", source="openssl")
    assert pool.versions(old, new, other) == []


@pytest.mark.parametrize(
    "files",
    [
        {"usr/bin/openssl": b"x"},
        packed(b"no changelog\n"),
        packed(b""),
        {f"{DOC}/changelog.Debian.gz": gzip.compress(text())[:60]},
        {f"{DOC}/changelog.Debian.gz": b"\x1f\x8bbroken"},
        {f"{DOC}/changelog.Debian.gz": gzip.compress(b"openssl (not a version) x; urgency=low\n")},
    ],
    ids=["none", "prose", "empty", "cut", "broken", "no version"],
)
def test_deb_without_a_usable_changelog(pool: Pool, files: dict[str, bytes | str]) -> None:
    assert pool.versions(package("openssl", "3.0.14-1"), pool.put("3.0.15-1~deb12u1", files)) == []


def test_deb_that_is_missing_or_cannot_be_read(pool: Pool) -> None:
    old = package("openssl", "1")
    assert pool.versions(old, package("openssl", "2", sha256="1" * 64)) == []
    for data in (b"no deb", a_deb()[:300], a_deb(".gz", files=packed(text()))[:-40]):
        pool.store.put_blob(io.BytesIO(data))
        assert pool.versions(old, package("openssl", "2", sha256=hashlib.sha256(data).hexdigest())) == []


@pytest.mark.parametrize("ending", ["", ".gz", ".xz", ".zst"])
def test_damaged_debs_never_cost_more_than_their_entries(ending: str) -> None:
    """A build asks for the entries before it writes its record."""
    whole, random = a_deb(ending, files=packed(text())), Random(26)
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(random.randint(1, 5)):
            place = random.randrange(len(data))
            data[place : place + random.choice((0, 1, 1, 1000))] = random.randbytes(random.choice((0, 1, 1, 5)))
            data = data or bytearray(b"!")
        changes(Damaged(bytes(data)), package("openssl", "1"), package("openssl", "9", sha256="1" * 64))


class Damaged:
    """A store whose every blob is this one."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    @contextlib.contextmanager
    def open_blob(self, digest: str) -> Iterator[BinaryIO]:
        yield io.BytesIO(self.data)


def test_cve_numbers_as_people_write_them() -> None:
    line = "(CVE-2024-1111,CVE-2024-2222), [cve-2024-3333] CVE 2024-4444 CVE-2024-55555: CVE-2024-XXXX XCVE-2024-7777"
    (entry,) = changelog.parse(io.BytesIO(text({"1": line})))
    assert entry.cves == ("CVE-2024-1111", "CVE-2024-2222", "CVE-2024-3333", "CVE-2024-4444", "CVE-2024-55555")


def test_huge_changelog_takes_little_memory(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changelog, "MAX_SIZE", 16 << 20)
    line = b"  * CVE-2024-1234 " + b"x" * (1 << 20) + b"\n"
    data = text({"2": "-"}).replace(b"  * -\n", line * 32)
    new = pool.put("2", packed(data), ending=".gz")
    tracemalloc.start()
    found = changes(pool.store, package("openssl", "1"), new)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert cves(found) == ("CVE-2024-1234",)
    assert peak < 8 << 20
