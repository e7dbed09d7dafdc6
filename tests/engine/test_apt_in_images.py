"""apt in images of the shelf: it finds all components of its distribution, and what people install starts.

Podman runs the images, in the machine's network: the tests' engine has none.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rootfs.process.host import native_architecture
from tests.support.debian import Archive, Deb, served, signer
from tests.support.services.podman import LIMITS, Podman, podman
from tests.support.shelf import Shelf

RINGS = "/usr/share/keyrings"
# What apt finds in the distribution's own image: suites, components, and the keyring that its sources name.
EXPECTED = {
    "noble": (
        ("noble", "noble-updates", "noble-backports", "noble-security"),
        ("main", "universe", "restricted", "multiverse"),
        f"{RINGS}/ubuntu-archive-keyring.gpg",
    ),
    "trixie-slim": (
        ("trixie", "trixie-updates", "trixie-security"),
        ("main",),
        f"{RINGS}/debian-archive-keyring.pgp",
    ),
}
GREETING = Deb("greeting", "1", programs={"usr/bin/greeting": b"#!/bin/sh\necho Hello\n"}, depends="libgreeting")
LIBRARY = Deb("libgreeting", "1")
# The line with which many a Dockerfile names a mirror.
FROM_ARCHIVE = """\
sed -i 's|^URIs: .*|URIs: {address}|' /etc/apt/sources.list.d/{name}.sources
apt-get update -qq
apt-get indextargets --format '$(SUITE)/$(COMPONENT)' 'Created-By: Packages' | sort -u
apt-get install -qq greeting >&2
greeting
apt-get purge -qq --auto-remove greeting >&2
apt-get autoremove -qq
dpkg-query --show >/after
diff /before /after
apt-mark showauto libgreeting libc6
"""


@pytest.fixture(scope="module")
def run_image(shelf: Shelf, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    """A function that runs a shell script in a fresh container of an image, and returns what it printed."""
    assert shelf.first.status == 0, shelf.first.stderr
    archives = {image: tmp_path_factory.mktemp(image) / "image.oci.tar" for image in EXPECTED}
    for image, archive in archives.items():
        assert shelf.site.run("export", image, str(archive)).status == 0
    with podman() as run:
        yield lambda image, script, *options: run(
            *("run", "--rm", "--network=host", *LIMITS, *options, f"oci-archive:{archives[image]}", "sh", "-ec", script)
        )


@pytest.mark.parametrize("image", EXPECTED)
def test_apt_finds_each_component_and_trusts_only_the_keyring_of_its_sources(run_image, image, tmp_path):
    suites, components, keyring = EXPECTED[image]
    with signer(tmp_path / "key") as key, served(tmp_path / "archive") as server:
        archive = Archive(tmp_path / "archive", key, native_architecture())
        for suite in suites:
            for component in components:
                last = (suite, component) == (suites[0], components[-1])
                debs = (GREETING, LIBRARY) if last else (LIBRARY,)  # apt does not fetch empty lists
                archive.publish(*debs, suite=suite, component=component)
        key.keyring.chmod(0o644)
        ring = f"--volume={key.keyring}:{keyring}:ro"
        script = FROM_ARCHIVE.format(address=server.address, name="ubuntu" if image == "noble" else "debian")
        lines = run_image(image, f"dpkg-query --show >/before\n{script}", ring).splitlines()
    assert lines[:-2] == [*sorted(f"{suite}/{component}" for suite in suites for component in components)]
    assert lines[-2:] == ["Hello", "libc6"]


# What people install: packages, a command that starts what they bring, and a text that it prints.
INSTALLED = {
    "nginx": ("nginx curl", "nginx && sleep 1 && curl -s http://127.0.0.1:80/", "nginx"),
    "apache2": ("apache2 curl", "apache2ctl start && sleep 1 && curl -s http://127.0.0.1:80/", "Apache2"),
    "postgresql-client": ("postgresql-client", "psql --version", "PostgreSQL"),
    "openjdk-21-jre-headless": ("openjdk-21-jre-headless", "java -version 2>&1", "21."),
    "python3-pip": ("python3-pip", "pip3 --version", "python 3"),
    "nodejs": ("nodejs", "node -e 'console.log(6*7)'", "42"),
    "git": ("git", "git init /tmp/new", "Initialized"),
    "openssh-server": (
        "openssh-server",
        "ssh-keygen -A && mkdir -p /run/sshd && /usr/sbin/sshd -p 2222; sleep 1; cat /proc/$(cat /run/sshd.pid)/comm",
        "sshd",
    ),
    "redis-server": (
        "redis-server",
        "redis-server --port 0 --unixsocket /tmp/redis --daemonize yes && sleep 1 && redis-cli -s /tmp/redis ping",
        "PONG",
    ),
    "tini": ("tini", "tini -- echo started", "started"),
    "sudo": ("sudo", "sudo -u nobody id -un", "nobody"),
    "locales": (
        "locales",
        "echo 'de_DE.UTF-8 UTF-8' >/etc/locale.gen && locale-gen >/dev/null && LC_ALL=de_DE.UTF-8 locale charmap",
        "UTF-8",
    ),
}


@pytest.fixture(scope="module")
def lists(run_image: Podman, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """apt's lists of the real archives, as a volume for containers of each image."""
    folders = {image: tmp_path_factory.mktemp(image) for image in EXPECTED}
    volumes = {image: f"--volume={folder}:/var/lib/apt/lists" for image, folder in folders.items()}
    for image, volume in volumes.items():
        run_image(image, "apt-get -o Acquire::Retries=3 update -qq", volume)
    return volumes


@pytest.mark.full
@pytest.mark.parametrize("name", INSTALLED)
@pytest.mark.parametrize("image", EXPECTED)
def test_what_people_install_starts(run_image, lists, image, name):
    packages, command, text = INSTALLED[name]
    install = f"apt-get -o Acquire::Retries=3 install -qq --no-install-recommends {packages} >&2"
    said = run_image(image, f"{install}\n{command}", lists[image], "--env=DEBIAN_FRONTEND=noninteractive")
    assert text in said
