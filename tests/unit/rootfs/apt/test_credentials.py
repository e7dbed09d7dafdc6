"""Credentials for archives: their files, the addresses that get them, and who may read the files."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import httpx
import pytest

from rootfs.apt.credentials import load_credentials
from rootfs.apt.transfer import Transfers
from rootfs.errors import InputError
from tests.support.mirror import Mirror, says, serving

FILE = """\
# the team's archives
machine secure.example login joe password s3cret
machine http://plain.example:8080/a/b
  login ann
  password "p#w
machine first.example/x login one password 1 account none
machine first.example login two password 2
machine 127.0.0.1:bad login none password none
"""

FITS = {
    "https://secure.example/debian/x": ("joe", "s3cret"),
    "https://secure.example:8443/": ("joe", "s3cret"),
    "http://secure.example/debian/x": None,
    "https://insecure.example/": None,
    "https://secure.example.evil.example/": None,
    "http://plain.example:8080/a/b": ("ann", '"p#w'),
    "http://plain.example:8080/a/b/c": ("ann", '"p#w'),
    "http://plain.example:8080/a/bc": None,
    "http://plain.example:8080/a": None,
    "http://plain.example/a/b": None,
    "https://plain.example:8080/a/b": None,
    "https://first.example/x/y": ("one", "1"),
    "https://first.example/xy": ("two", "2"),
    "https://first.example/%78/y": ("one", "1"),
    "http://plain.example:8080/a/b/%2e%2e/c": None,
    "http://plain.example:8080/a/b/.%2E/c": None,
    "http://plain.example:8080/a%2Fb/c": None,
    "http://plain.example:8080/a/b%2Fc": None,
    "http://plain.example:8080/a/b/..%2F..%2Fc": None,
}


@pytest.fixture
def machine(tmp_path: Path) -> tuple[Path, Path]:
    """auth.conf and auth.conf.d of a machine, both empty."""
    (tmp_path / "auth.conf.d").mkdir()
    return tmp_path / "auth.conf", tmp_path / "auth.conf.d"


def written(file: Path, text: str) -> Path:
    file.write_text(text)
    file.chmod(0o600)
    return file


@pytest.mark.parametrize("address", FITS)
def test_an_address_gets_the_password_of_its_machine_and_path(tmp_path, machine, address):
    found = load_credentials(written(tmp_path / "own", FILE), machine).find(httpx.URL(address))
    assert (found and (found.login, found.password)) == FITS[address]


def test_the_machines_own_files_count_and_the_settings_file_comes_first(tmp_path, machine):
    written(machine[0], "machine a.example login conf password 1\nmachine b.example login conf password 1\n")
    written(machine[1] / "b.conf", "machine a.example login part password 2 machine c.example login part password 2")
    written(machine[1] / "b.conf.bak", "machine d.example login old password 3")
    own = written(tmp_path / "own", "machine c.example login own password 4")

    def who(file: Path | None, host: str) -> str:
        found = load_credentials(file, machine).find(httpx.URL(f"https://{host}.example/"))
        return found.login if found else ""

    assert [who(None, host) for host in "abcd"] == ["conf", "conf", "part", ""]
    assert [who(own, host) for host in "abcd"] == ["part", "", "own", ""]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_file_that_others_may_read_is_refused(tmp_path, machine, mode):
    file = written(tmp_path / "own", FILE)
    file.chmod(mode)
    with pytest.raises(InputError, match="others than its owner") as caught:
        load_credentials(file, machine)
    assert str(file) in caught.value.where
    assert f"chmod 600 '{file}'" in caught.value.hint


def test_a_file_that_is_not_there_or_no_file_is_refused(tmp_path, machine):
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(InputError, match="`auth`, the file with names and passwords, cannot be used:") as caught:
            load_credentials(path, machine)
        assert "chmod" not in caught.value.hint


def test_a_file_without_a_name_is_refused(tmp_path, machine):
    with pytest.raises(InputError, match="no line of it is `machine HOST"):
        load_credentials(written(tmp_path / "own", "machine\n"), machine)
    assert load_credentials(written(tmp_path / "empty", "\n"), machine).entries == ()


def test_no_password_is_shown(tmp_path, machine):
    assert "s3cret" not in repr(load_credentials(written(tmp_path / "own", FILE), machine))


def test_a_redirect_to_another_place_gets_nothing_of_the_first(mirror: Mirror, tmp_path, machine):
    with serving() as other:
        other.files["/there"] = b"it"
        mirror.answers["/a/here"] = [says(302, Location=f"{other.address}/there")]
        mirror.answers["/a/near"] = [says(302, Location="/b/there")]
        mirror.files["/b/there"] = b"it"
        own = written(tmp_path / "own", f"machine {mirror.address}/a login joe password s3cret")
        transfers = Transfers(load_credentials(own, machine))

        async def ask() -> None:
            async with transfers.client() as client:
                for path in ("/a/here", "/a/near"):
                    assert (await client.get(mirror.address + path)).content == b"it"

        asyncio.run(ask())
        sent = [(path, headers.get("Authorization")) for path, headers in (*mirror.asked, *other.asked)]
    known = f"Basic {base64.b64encode(b'joe:s3cret').decode()}"
    assert sent == [("/a/here", known), ("/a/near", known), ("/b/there", None), ("/there", None)]
