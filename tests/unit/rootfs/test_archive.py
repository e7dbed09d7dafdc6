"""Archives: mirrors, keyrings, and what a Release file must be before anything is built from it."""

import subprocess
from pathlib import Path

import pytest

from rootfs import archive
from rootfs.archive import Site, Source, check_release, distribution_of, suites
from rootfs.errors import InvalidRelease, KeyringMissing, UnknownSuite, UnsignedRelease

PUBLIC = "http://archive.example"


def test_the_longest_start_of_an_address_names_the_mirror():
    site = Site({PUBLIC: "http://m/all", f"{PUBLIC}/debian-security": "http://m/sec/"})
    assert site.mirror(f"{PUBLIC}/debian") == "http://m/all/debian"
    assert site.mirror(f"{PUBLIC}/debian-security") == "http://m/sec"
    assert site.mirror("http://other/x") == "http://other/x"


def test_the_image_names_the_archive_and_the_engine_the_mirror():
    source = Source(f"{PUBLIC}/d", "http://mirror/d", "trixie", ("main", "contrib"), Path("/k.gpg"))
    assert source.public == f"deb {PUBLIC}/d trixie main contrib"
    assert source.line == "deb [signed-by=/k.gpg] http://mirror/d trixie main contrib"


def test_a_keyring_that_is_not_there_is_named(tmp_path):
    with pytest.raises(KeyringMissing, match="debian at"):
        Site(keyrings={"debian": tmp_path / "none.gpg"}).keyring("debian")


@pytest.fixture
def known(tmp_path, monkeypatch):
    (tmp_path / "debian.csv").write_text("version,codename,series\n13,Trixie,trixie\n")
    (tmp_path / "ubuntu.csv").write_text("version,codename,series\n24.04 LTS,Noble Numbat,noble\n")
    monkeypatch.setattr(archive, "SUITES", tmp_path)
    suites.cache_clear()
    yield
    suites.cache_clear()


@pytest.mark.usefixtures("known")
def test_suites_belong_to_distributions():
    assert (distribution_of("noble"), distribution_of("trixie")) == ("ubuntu", "debian")


@pytest.mark.usefixtures("known")
def test_an_unknown_suite_is_refused_with_the_nearest():
    with pytest.raises(UnknownSuite, match="'nobel'") as caught:
        distribution_of("nobel")
    assert "'noble'" in caught.value.mend


RELEASE = """\
Origin: Test
Codename: trixie
Suite: stable
Date: Sat, 15 Nov 2025 10:00:00 UTC
{more}
"""


class Signer:
    """A key made for the test, and its keyring."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.keyring = folder, folder / "ring.gpg"
        self._gpg("--quick-gen-key", "--passphrase", "", "test@example", "ed25519", "sign", "never")
        self.keyring.write_bytes(self._gpg("--export"))

    def _gpg(self, *words: str, data: bytes = b"") -> bytes:
        argv = ["gpg", "--homedir", str(self.folder), "--batch", "--quiet", *words]
        return subprocess.run(argv, input=data, check=True, capture_output=True).stdout

    def sign(self, text: str) -> bytes:
        return self._gpg("--clearsign", data=text.encode())

    def source(self, suite: str = "trixie") -> Source:
        return Source(PUBLIC, PUBLIC, suite, ("main",), self.keyring)


@pytest.fixture(scope="module")
def signer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpg")
    folder.chmod(0o700)
    yield Signer(folder)
    subprocess.run(["gpgconf", "--homedir", str(folder), "--kill", "all"], check=False)


def test_a_signed_release_is_read(signer):
    release = check_release(signer.sign(RELEASE.format(more="")), signer.source(), "where")
    assert (release.suite, release.date, len(release.signer)) == ("trixie", 1763200800, 40)


def test_the_suite_may_be_asked_for_by_its_alias(signer):
    assert check_release(signer.sign(RELEASE.format(more="")), signer.source("stable"), "where").suite == "stable"


REFUSED = {
    "another suite": (
        RELEASE.replace("trixie", "bookworm").replace("stable", "oldstable"),
        "of bookworm, not of trixie",
    ),
    "expired": (RELEASE.replace("{more}", "Valid-Until: Sat, 22 Nov 2025 10:00:00 UTC"), "expired on Sat, 22 Nov 2025"),
    "without a date": (RELEASE.replace("Date:", "Datum:"), "no readable date"),
    "with a broken date": (RELEASE.replace("Sat, 15 Nov", "yesterday"), "no readable date"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_release_that_is_signed_but_not_usable_is_refused(name, signer):
    text, reason = REFUSED[name]
    with pytest.raises(InvalidRelease, match=reason):
        check_release(signer.sign(text.format(more="")), signer.source(), "where")


@pytest.mark.parametrize(
    "spoil", [lambda data: data.replace(b"Origin: Test", b"Origin: Evil"), lambda _: RELEASE.encode()]
)
def test_a_release_that_was_changed_or_not_signed_is_refused(spoil, signer):
    with pytest.raises(UnsignedRelease):
        check_release(spoil(signer.sign(RELEASE.format(more=""))), signer.source(), "where")


def test_a_release_signed_by_a_stranger_is_refused_with_the_key(signer, tmp_path):
    tmp_path.chmod(0o700)
    stranger = Signer(tmp_path)
    with pytest.raises(UnsignedRelease, match=r"signed by [0-9A-F]{16}"):
        check_release(stranger.sign(RELEASE.format(more="")), signer.source(), "where")
    subprocess.run(["gpgconf", "--homedir", str(tmp_path), "--kill", "all"], check=False)


def test_what_stands_outside_the_signature_is_not_read(signer):
    signed = b"Codename: evil\n\n" + signer.sign(RELEASE.format(more=""))
    assert check_release(signed, signer.source(), "where").suite == "trixie"
