"""Package archives: mirrors, keyrings, and checks of Release files."""

import contextlib
import gzip
import os
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from rootfs.apt import sources
from rootfs.apt.errors import ArchiveUnreachable, InvalidRelease
from rootfs.apt.release import check_release, fetch_releases, parse_signers
from rootfs.apt.sources import Site, Source, distribution_of
from rootfs.apt.transfer import ANONYMOUS
from rootfs.errors import BuildError, InputError, MachineError
from tests.support.debian import signer
from tests.support.mirror import says

PUBLIC = "http://archive.example"
EXPIRED = "Valid-Until: Sat, 22 Nov 2025 10:00:00 UTC"


MIRRORED = {
    f"{PUBLIC}/debian": "http://m/deb",
    f"{PUBLIC}/debian/sub": "http://m/deb/sub",
    f"{PUBLIC}/debian-security": "http://m/sec",
    f"{PUBLIC}/debian-vendor": "http://m/all/debian-vendor",
    f"{PUBLIC}.evil/debian": f"{PUBLIC}.evil/debian",
    f"{PUBLIC}:8080/debian": f"{PUBLIC}:8080/debian",
    f"{PUBLIC}:80/debian": "http://m/deb",
    "https://archive.example/debian": "https://archive.example/debian",
    "HTTP://Archive.Example/debian": "http://m/deb",
    "http://other/x": "http://other/x",
}


@pytest.mark.parametrize("address", MIRRORED)
def test_a_mirror_is_for_whole_folders_of_an_address_and_the_nearest_counts(address):
    site = Site(
        {f"{PUBLIC}/debian": "http://m/deb", PUBLIC: "http://m/all", f"{PUBLIC}/debian-security/": "http://m/sec/"}
    )
    assert site.mirror(address) == MIRRORED[address]


def test_apt_on_this_machine_uses_the_mirror():
    source = Source(f"{PUBLIC}/d", "http://mirror/d", "trixie", ("main", "contrib"), Path("/k.gpg"))
    assert source.line == "deb [signed-by=/k.gpg] http://mirror/d trixie main contrib"


def test_a_keyring_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MachineError, match="debian at"):
        Site(keyrings={"debian": tmp_path / "none.gpg"}).keyring("debian")


@pytest.fixture
def known(tmp_path, monkeypatch):
    (tmp_path / "debian.csv").write_text("version,codename,series\n13,Trixie,trixie\n")
    (tmp_path / "ubuntu.csv").write_text("version,codename,series\n24.04 LTS,Noble Numbat,noble\n")
    monkeypatch.setattr(sources, "DISTRO_INFO", tmp_path)
    sources._suite_table.cache_clear()
    yield
    sources._suite_table.cache_clear()


@pytest.mark.usefixtures("known")
def test_suites_belong_to_distributions():
    assert (distribution_of("noble"), distribution_of("trixie")) == ("ubuntu", "debian")


@pytest.mark.usefixtures("known")
def test_an_unknown_suite_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="'nobel'") as caught:
        distribution_of("nobel")
    assert "'noble'" in caught.value.hint


MEANT = {"stable": "trixie", "oldstable": "bookworm", "testing": "forky", "unstable": "sid", "13": "trixie"}


@pytest.mark.parametrize("alias", [*MEANT, "lts", "24.04"])
def test_an_alias_is_refused_with_the_code_name_that_it_means_today(tmp_path, monkeypatch, alias):
    head = "version,codename,series,created,release,eol\n"
    (tmp_path / "debian.csv").write_text(
        f"{head}12,Bookworm,bookworm,2021-08-14,2023-06-10\n13,Trixie,trixie,2023-06-10,2025-08-09\n"
        "14,Forky,forky,2025-08-09\n,Sid,sid,1993-08-16\n"
    )
    (tmp_path / "ubuntu.csv").write_text(
        f"{head}24.04 LTS,Noble,noble,2023-10-12,2024-04-25\n25.10,Q,questing,,2025-10-09"
    )
    monkeypatch.setattr(sources, "DISTRO_INFO", tmp_path)
    sources._suite_table.cache_clear()
    with pytest.raises(InputError, match="is no code name") as caught:
        distribution_of(alias)
    sources._suite_table.cache_clear()
    assert f"'{MEANT.get(alias, 'noble')}'" in caught.value.hint


RELEASE = """\
Origin: Test
Codename: trixie
Suite: stable
Date: Sat, 15 Nov 2025 10:00:00 UTC
{more}
"""


@pytest.fixture
def source(key):
    return Source(PUBLIC, PUBLIC, "trixie", ("main",), key.keyring)


def signed(key, text=RELEASE, more=""):
    return key.sign(text.format(more=more))


def test_a_signed_release_is_read(key, source):
    state = check_release(signed(key), source, "where")
    release = state.release
    assert (release.suite, release.date, len(release.signer)) == ("trixie", 1763200800, 40)
    assert (state.field("Origin"), state.field("Label")) == ("Test", "")


def test_the_suite_may_be_asked_for_by_its_alias(key, source):
    assert check_release(signed(key), replace(source, suite="stable"), "where").release.suite == "stable"


REFUSED = {
    "another suite": (
        RELEASE.replace("trixie", "bookworm").replace("stable", "oldstable"),
        "of bookworm or oldstable, not of trixie",
    ),
    "expired": (RELEASE.replace("{more}", EXPIRED), "expired on Sat, 22 Nov 2025 10:00:00 UTC; this machine's clock"),
    "yet to come": (RELEASE.replace("2025", "2099").replace("Sat, 15", "Sun, 15"), "15 Nov 2099 .* is yet to come"),
    "without a date": (RELEASE.replace("Date:", "Datum:"), "no readable date"),
    "with a broken date": (RELEASE.replace("Sat, 15 Nov", "yesterday"), "no readable date"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_release_that_is_signed_but_not_usable_is_refused(name, key, source):
    text, reason = REFUSED[name]
    with pytest.raises(InvalidRelease, match=reason):
        check_release(signed(key, text), source, "where")


def test_a_snapshot_may_have_expired(key, source):
    state = check_release(signed(key, more=EXPIRED), replace(source, snapshot=True), "where")
    assert state.release.valid_until == 1763805600


@pytest.mark.parametrize(
    "spoil", [lambda data: data.replace(b"Origin: Test", b"Origin: Evil"), lambda _: RELEASE.encode()]
)
def test_a_release_that_was_changed_or_not_signed_is_refused(spoil, key, source):
    with pytest.raises(BuildError, match="the signature is not one of"):
        check_release(spoil(signed(key)), source, "where")


def test_a_release_signed_with_an_unknown_key_is_refused_with_the_key(stranger, source):
    with pytest.raises(BuildError, match=r"signed by [0-9A-F]{40}\)"):
        check_release(signed(stranger), source, "where")


def test_the_keyring_of_old_suites_is_named_for_a_suite_without_support(stranger, source):
    with pytest.raises(BuildError) as caught:
        check_release(signed(stranger), replace(source, ended="http://old.example"), "where")
    assert "removed-keys.gpg" in caught.value.hint


def test_an_expired_key_is_refused(tmp_path):
    with signer(tmp_path / "key") as old:
        then = ("--faked-system-time", "20250101T000000!")
        old.gpg(*then, "--passphrase", "", "--quick-gen-key", "x", "ed25519", "sign", "1d")
        old.keyring.write_bytes(old.gpg("--export", "x"))
        data = old.sign(RELEASE.format(more=""), *then, "--local-user", "x")
    with pytest.raises(BuildError, match="which has expired"):
        check_release(data, Source(PUBLIC, PUBLIC, "trixie", ("main",), old.keyring), "where")


def test_a_signature_that_has_expired_is_refused(key, source):
    """With the signer's address in it gpgv names the address before it says anything of the signature."""
    data = key.sign(RELEASE.format(more=""), "--sender", "test@example", "--default-sig-expire", "seconds=1")
    time.sleep(2.1)
    with pytest.raises(BuildError, match=r"signed by [0-9A-F]{16} in a signature that has expired\)"):
        check_release(data, source, "where")


def test_an_unusable_signature_does_not_count_beside_a_good_one():
    good = "[GNUPG:] NEWSIG a@b\n[GNUPG:] GOODSIG A a\n[GNUPG:] VALIDSIG AA\n"
    for word in ("EXPSIG", "EXPKEYSIG", "REVKEYSIG"):
        bad = f"[GNUPG:] NEWSIG c@d\n[GNUPG:] {word} C c\n[GNUPG:] VALIDSIG CC\n"
        assert parse_signers(bad)[0] == []
        assert parse_signers(good + bad)[0] == parse_signers(bad + good)[0] == ["AA"]


BOMB = gzip.compress(bytes(64 << 20))  # 64 KiB


def without_end(handler, data):
    """More than a Release file can have, without a length; as much of it as the client takes."""
    handler.head(200, None)
    with contextlib.suppress(ConnectionError):
        for _ in range(40):
            handler.wfile.write(bytes(1 << 20))
    handler.close_connection = True


def test_a_release_file_does_not_use_up_memory_before_its_signature_is_checked(mirror, source):
    asked = replace(source, mirror=mirror.address)
    path = "/dists/trixie/InRelease"
    mirror.answers[path] = [says(200, BOMB, Content_Encoding="gzip"), without_end]
    for text in (BOMB * 4, BOMB[:60_000]):
        mirror.answers[path].append(says(302, text, Content_Encoding="gzip", Location="/other"))
    mirror.files["/other"] = b"text"
    tracemalloc.start()
    [found] = fetch_releases((asked,), {}, ANONYMOUS)
    assert len(found.content) == len(BOMB)
    assert mirror.asked[0][1]["Accept-Encoding"] == "identity"
    with pytest.raises(InvalidRelease, match="larger than 16 MiB"):
        fetch_releases((asked,), {}, ANONYMOUS)
    with pytest.raises(ArchiveUnreachable, match="its redirect has more than 64 KiB of text"):
        fetch_releases((asked,), {}, ANONYMOUS)
    assert fetch_releases((asked,), {}, ANONYMOUS)[0].content == b"text"
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 48 << 20


def test_text_outside_the_signature_is_not_read(key, source):
    state = check_release(b"Codename: evil\nLabel: Evil\n\n" + signed(key), source, "where")
    assert (state.release.suite, state.field("Label")) == ("trixie", "")


def test_an_index_is_found_by_its_whole_path(key, source):
    text = f"MD5Sum:\n {'a' * 32} 1 main/Packages\nSHA256:\n {'b' * 64} 12 main/Packages\n {'c' * 64} 3 x/main/Packages"
    state = check_release(signed(key, more=text), source, "where")
    assert state.index("main/Packages") == ("b" * 64, 12)
    assert state.index("Packages") is None


def test_snapshots_are_found_by_an_archives_whole_address():
    site = Site(snapshots={f"{PUBLIC.replace('archive', 'Archive')}/d/": "http://snap/d/"})
    assert site.snapshot(f"{PUBLIC}/d", "20250101T000000Z") == "http://snap/d/20250101T000000Z"
    with pytest.raises(InputError, match=f"{PUBLIC}/d-security"):
        site.snapshot(f"{PUBLIC}/d-security", "20250101T000000Z")


def test_addresses_are_remembered_until_their_source_changes(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "ADDRESS_FILES", (tmp_path,))
    site = Site(keyrings={"debian": Path(__file__)})
    before = sources.suite_sources("trixie", (), ("main",), "amd64", site, tmp_path / "cache")
    [cached] = (tmp_path / "cache").iterdir()
    cached.write_text('{"format": 1, "sources": [["http://remembered", "trixie"]]}')
    os.utime(tmp_path, (5, 5))
    assert sources.suite_sources("trixie", (), ("main",), "amd64", site, tmp_path / "cache") == before
    cached.rename(max((tmp_path / "cache").iterdir(), key=lambda path: path.name != cached.name))
    [source] = sources.suite_sources("trixie", (), ("main",), "amd64", site, tmp_path / "cache")
    assert source.address == "http://remembered"
