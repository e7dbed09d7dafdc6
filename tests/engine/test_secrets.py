"""Passwords of archives and proxies: builds use them, and neither show nor store them."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import secrets
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import zstandard

from tests.support.debian import Archive, Deb, own_addresses, served, signer
from tests.support.debs import tar
from tests.support.factory import Done, Factory
from tests.support.home import own_home
from tests.support.proxy import Proxy, proxying

SUITE = "trixie"
NAME = "canaries"
LOCAL_NAME = "baseforge-secrets"
HOST = "http://archive.invalid"  # which nobody but the proxy knows
CANARY = f"canary-{secrets.token_hex(6)}"
ARCHIVE, PROXY = f"joe:{CANARY}-of-the-archive", f"ann:{CANARY}-of-the-proxy"
WRONG, STRANGER = f"joe:{CANARY}-that-is-wrong", f"ann:{CANARY}-that-is-wrong"
RECIPE = f"""\
kind: scratch
suite: {SUITE}
pockets: []
packages: [told]
repositories: [{{uri: "{HOST}/more", suites: [{SUITE}], keyring: ring.asc}}]
build:
  - [sh, -c, "env | grep -Ev '^(HOME|PWD|OLDPWD|TMPDIR)=' | sort > seen"]
files: [{{path: /seen, from: seen}}]
"""
TARBALL = f"kind: tarball\nsource: {HOST}/rootfs.tar\nsha256: "
MAGIC = b"\x28\xb5\x2f\xfd"


# Every form in which a password may be somewhere: as it is, and as a header has it.
FORMS = [CANARY.encode(), *(base64.b64encode(who.encode())[:-4] for who in (ARCHIVE, PROXY, WRONG, STRANGER))]


def has_canary(data: bytes) -> bool:
    """Whether there is one in some data, or in what is packed in it."""
    if data.startswith(MAGIC):
        with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as reader:
            data = reader.read()
    elif data.startswith(b"\x1f\x8b"):
        data = gzip.decompress(data)
    return any(canary in data for canary in FORMS)


@dataclass
class Watch:
    """Looks at the words of all processes, again and again."""

    found: list[str] = field(default_factory=list)
    looks: int = 0
    _end: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        while not self._end.wait(0.05):
            self.looks += 1
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    words = path.read_bytes()
                except OSError:
                    continue
                if has_canary(words):
                    self.found.append(words.decode(errors="replace"))

    def end(self) -> None:
        self._end.set()


@pytest.fixture
def watch() -> Iterator[Watch]:
    watching = Watch()
    thread = threading.Thread(target=watching.run)
    thread.start()
    yield watching
    watching.end()
    thread.join()


@dataclass
class Shop:
    """A site behind a proxy, with recipes whose archive lets in only who knows its password."""

    site: Factory
    proxy: Proxy
    auth: Path

    def run(self, *words: str, **env: str) -> Done:
        return self.site.run(*words, env=env)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    settings = {**own_home(tmp_path / "home"), "BASEFORGE_LOCAL_NAME": LOCAL_NAME}
    site, auth, rootfs = Factory(tmp_path / "site", settings), tmp_path / "auth.conf", tar({"etc/motd": b"hello"})
    site.folder.mkdir()
    with (
        signer(tmp_path / "key") as key,
        served(tmp_path / "archive") as server,
        proxying(server.address, PROXY) as proxy,
    ):
        Archive(tmp_path / "archive", key).publish(Deb("told", files={"usr/share/told": "x"}), suite=SUITE)
        Archive(tmp_path / "archive/more", key).publish(Deb("other"), suite=SUITE)
        (tmp_path / "archive/rootfs.tar").write_bytes(rootfs)
        server.wanted = ARCHIVE
        site.recipe(NAME, RECIPE, ring_asc=key.armoured.read_text())
        site.recipe("packed", TARBALL + hashlib.sha256(rootfs).hexdigest() + "\n")
        settings |= {
            "BASEFORGE_MIRRORS": json.dumps(dict.fromkeys(own_addresses(SUITE), HOST)),
            "BASEFORGE_KEYRINGS": json.dumps({"debian": str(key.keyring)}),
            "BASEFORGE_AUTH": str(auth),
            "http_proxy": proxy.address,
        }
        shop = Shop(site, proxy, auth)
        write(shop, ARCHIVE)
        yield shop
        shop.run("stop")
    subprocess.run(["docker", "rmi", f"{LOCAL_NAME}/{NAME}", f"{LOCAL_NAME}/packed"], check=False, capture_output=True)


def write(shop: Shop, who: str) -> None:
    name, _, password = who.partition(":")
    shop.auth.write_text(f"machine {HOST} login {name} password {password}\n")
    shop.auth.chmod(0o600)


def test_passwords_appear_nowhere_else(shop: Shop, watch: Watch) -> None:
    done = shop.run("build", NAME, "packed", "--json")
    assert done.status == 0, done.stderr
    assert {address.startswith(f"{HOST}/") and status for address, status in shop.proxy.asked} == {200}
    assert {address.rpartition("/")[2] for address, _ in shop.proxy.asked} >= {"InRelease", "Packages", "rootfs.tar"}
    shown = [done, shop.run("show", NAME, "--json"), shop.run("log", NAME), shop.run("doctor", "--json")]
    shown += [shop.run("doctor"), shop.run("list", "--json"), shop.run("lock", NAME, "--json")]
    # Without the proxy the image is the same, and with it no less.
    again = shop.run("verify", NAME, "--json", http_proxy="", HTTP_PROXY="")
    assert (again.status, again.json["status"]) == (0, "reproduced"), again.stdout
    shown += [again, *failures(shop)]
    for each in shown:
        assert not has_canary(f"{each.stdout}{each.stderr}".encode())
    inspected = [
        subprocess.run(["docker", "image", "inspect", f"{LOCAL_NAME}/{name}"], capture_output=True, check=True)
        for name in (NAME, "packed")
    ]
    assert not any(has_canary(each.stdout) for each in inspected)
    watch.end()
    assert (watch.found, watch.looks > 20) == ([], True)
    searched = [path for path in shop.site.folder.parent.rglob("*") if path != shop.auth]
    assert [str(path) for path in searched if path.is_file() and has_canary(path.read_bytes())] == []
    assert [str(path) for path in searched if has_canary(str(path).encode())] == []
    assert {"prefect.db", "log"} <= {path.name if path.name == "prefect.db" else path.suffix[1:] for path in searched}


def test_a_password_in_the_engines_address_is_in_no_traceback_and_not_in_prefects_database(shop: Shop) -> None:
    shop.site.recipe("tiny", "kind: scratch\nfiles: [{path: /motd, content: hello}]\n")
    engine = {"DOCKER_HOST": f"tcp://joe:'{CANARY}@127.0.0.1:1"}
    refused, debugged = shop.run("build", "tiny", **engine), shop.run("gc", "--debug", **engine)
    assert (refused.status, debugged.status) == (3, 3)
    assert "Traceback" in debugged.stderr
    assert "MachineError: tcp://***@127.0.0.1:1" in debugged.stderr
    for each in (refused, debugged):
        assert not has_canary(f"{each.stdout}{each.stderr}".encode())
    shop.run("stop")
    searched = [path for path in shop.site.folder.parent.rglob("*") if path != shop.auth and path.is_file()]
    assert [str(path) for path in searched if has_canary(path.read_bytes())] == []
    assert "prefect.db" in {path.name for path in searched}


def failures(shop: Shop) -> Iterator[Done]:
    """What is said where the archive and the proxy refuse a password."""
    write(shop, WRONG)
    refused = shop.run("build", NAME, "--force")
    assert refused.status == 1
    assert f"{NAME}: failed: {HOST}/" in refused.stderr
    assert f"/dists/{SUITE}/InRelease: the name and the password for it are refused (401" in refused.stderr
    assert "/etc/apt/auth.conf.d" in refused.stderr
    assert refused.stderr.count("✗ resolve") == 1  # it is not tried again
    write(shop, ARCHIVE)
    stopped = shop.run("build", NAME, "--force", http_proxy=shop.proxy.address.replace(PROXY, STRANGER))
    assert stopped.status == 1
    assert "the proxy wants a name and a password, or refuses those that it has got (407" in stopped.stderr
    yield from (refused, stopped, shop.run("log", NAME))
