"""Archives that lie, break off or are not there: the build ends, and nothing comes of what was fetched."""

from __future__ import annotations

import json

import pytest

from tests.engine.registry import free_port
from tests.faults import archives
from tests.faults.outcome import complains

RECIPE = f"kind: debootstrap\nsuite: {archives.SUITE}\npockets: []\n"


@pytest.fixture
def packages(site):
    site.recipe("packages", RECIPE)
    return site


def forged(path, body):
    return body.replace(b"\nOrigin: ", b"\nOrigin: not ") if path.endswith("/InRelease") else body


def unsigned(path, body):
    return body[:-500] if path.endswith("/InRelease") else body


def altered(path, body):
    return body[:-1] + bytes([body[-1] ^ 1]) if path.endswith(".deb") else body


def test_a_keyring_that_does_not_match(packages, tmp_path):
    other = tmp_path / "other.gpg"
    other.write_bytes(b"")
    done = packages.run("build", "packages", env={"BASEFORGE_KEYRINGS": json.dumps({"debian": str(other)})})
    complains(done, 1, "/dists/trixie/InRelease: the signature is not one of", str(other), "it is signed by")
    assert done.stderr.count("✗ resolve") == 1


def test_a_keyring_that_is_not_there(packages, tmp_path):
    done = packages.run("build", "packages", env={"BASEFORGE_KEYRINGS": json.dumps({"debian": "/nowhere.gpg"})})
    complains(done, 3, "there is no keyring for debian at /nowhere.gpg")


def test_a_release_file_that_somebody_changed(packages):
    with archives.mirror(forged) as mirror:
        done = packages.run("build", "packages", env=mirror.setting)
    complains(done, 1, f"{mirror.address}/dists/trixie/InRelease: the signature is not", "do not trust this mirror")


def test_an_archive_that_cannot_be_reached(packages):
    address = f"http://127.0.0.1:{free_port()}"
    done = packages.run("build", "packages", env=archives.mirrored(address))
    complains(done, 1, f"{address}/dists/trixie/InRelease: the archive does not answer", "[mirrors]")
    assert done.stderr.count("✗ resolve") == 3


def test_an_archive_that_breaks_off_at_once(packages):
    with archives.mirror(unsigned) as mirror:
        done = packages.run("build", "packages", env=mirror.setting)
    complains(done, 1, f"{mirror.address}/dists/trixie/InRelease: the archive does not answer", "[mirrors]")
    assert done.stderr.count("✗ resolve") == 3


@pytest.mark.parametrize("engine", ["mmdebstrap", "debootstrap"])
def test_an_archive_that_breaks_off_half_way(packages, engine):
    with archives.mirror(archives.broken_off) as mirror:
        done = packages.run("build", "packages", "--engine", engine, env=mirror.setting)
    complains(done, 1, f"{mirror.address}", "the archive does not answer as it should", "[mirrors]")
    assert done.stderr.count("✗ tree") == 3
    assert "✓ look-up" in done.stderr
    assert any(path.endswith(".deb") for path in mirror.asked)


def test_packages_that_somebody_changed(packages):
    with archives.mirror(altered) as mirror:
        done = packages.run("build", "packages", env=mirror.setting)
    complains(done, 1, ".deb")
