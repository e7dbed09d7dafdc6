"""Tiny real debs, and a real archive of them: suites with pockets, signed by a key of its own, served over http.

A test says what is in it (`Archive.publish`), and what is wrong with it: other dates, another key, or damage on the way
(`Served.damage`).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from rootfs.apt.sources import Site, suite_sources
from tests.support.services.tls import Identity

SUITE = "trixie"
POCKETS = ("updates", "security")
HOUR = timedelta(hours=1)

Damage = Callable[[str, bytes], "bytes | None"]  # what becomes of the file at a path; None: it is not there


@dataclass(frozen=True)
class Deb:
    """A package to be made: `fields` are further ones of its control file, `files` and `scripts` have their content.

    `programs` are files of bytes that can be run; `links` and `hard` are links by path, and where they point.
    """

    name: str
    version: str = "1"
    architecture: str = "all"
    essential: bool = False
    priority: str = "optional"
    depends: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    scripts: Mapping[str, str] = field(default_factory=dict)
    programs: Mapping[str, bytes] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    hard: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """Where it is in its archive."""
        return f"pool/{self.name}_{self.version.rpartition(':')[2]}_{self.architecture}.deb"

    @property
    def control(self) -> str:
        given = {
            "Package": self.name,
            "Version": self.version,
            "Architecture": self.architecture,
            "Essential": "yes" if self.essential else "",
            "Priority": self.priority,
            "Depends": self.depends,
            "Maintainer": "Nobody <nobody@example.org>",
            "Description": f"{self.name}, made for a test",
            **self.fields,
        }
        return "".join(f"{name}: {value}\n" for name, value in given.items() if value)

    def build(self, work: Path, target: Path) -> Path:
        """Make the deb at `target`, with an empty folder to work in."""
        tree = work / f"{self.name}-{self.version}"
        (tree / "DEBIAN").mkdir(parents=True)
        (tree / "DEBIAN/control").write_text(self.control)
        for name, text in self.scripts.items():
            (tree / "DEBIAN" / name).write_text(text)
            (tree / "DEBIAN" / name).chmod(0o755)
        for name in (*self.files, *self.programs, *self.links, *self.hard):
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
        for name, text in self.files.items():
            (tree / name).write_text(text)
        for name, data in self.programs.items():
            (tree / name).write_bytes(data)
            (tree / name).chmod(0o755)
        for name, place in self.links.items():
            (tree / name).symlink_to(place)
        for name, place in self.hard.items():
            (tree / name).hardlink_to(tree / place)
        argv = ["dpkg-deb", "--root-owner-group", "--nocheck", "-Znone", "--build", tree, target]
        subprocess.run(argv, check=True, capture_output=True, env={"PATH": "/usr/bin:/bin", "SOURCE_DATE_EPOCH": "1"})
        return target


_made: dict[str, bytes] = {}


def made(deb: Deb) -> bytes:
    """A deb's content; the same is made once."""
    said = repr(deb)
    if said not in _made:
        with tempfile.TemporaryDirectory() as folder:
            _made[said] = deb.build(Path(folder), Path(folder) / "it.deb").read_bytes()
    return _made[said]


class Signer:
    """A key made for the test, and its keyring; `armoured` is the same as text. gpg works in `home`."""

    def __init__(self, folder: Path, home: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.home, self.keyring, self.armoured = home, folder / "ring.gpg", folder / "ring.asc"
        self.gpg("--quick-gen-key", "--passphrase", "", "test@example", "ed25519", "sign", "never")
        self.keyring.write_bytes(self.gpg("--export"))
        self.armoured.write_bytes(self.gpg("--export", "--armor"))

    def gpg(self, *words: str, data: bytes = b"") -> bytes:
        argv = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", *words]
        return subprocess.run(argv, input=data, check=True, capture_output=True).stdout

    def sign(self, text: str, *options: str) -> bytes:
        return self.gpg(*options, "--clearsign", data=text.encode())


@contextlib.contextmanager
def signer(folder: Path) -> Iterator[Signer]:
    """A key, its keyring in a folder, without an agent left behind. The sockets of gpg need a short path."""
    with tempfile.TemporaryDirectory(prefix="gpg-") as home:
        try:
            yield Signer(folder, Path(home))
        finally:
            subprocess.run(["gpgconf", "--homedir", home, "--kill", "all"], check=False)


@dataclass
class Archive:
    """An archive in a folder; what is published there is signed by `signer`."""

    folder: Path
    signer: Signer
    architecture: str = "amd64"
    sums: str = "sha256"  # what the indexes have of each deb
    foreign: tuple[str, ...] = ()  # further architectures: their debs are in indexes of their own

    def publish(
        self,
        *debs: Deb,
        suite: str = SUITE,
        component: str = "main",
        date: datetime | None = None,
        until: datetime | None = None,
        signer: Signer | None = None,
        **fields: str,
    ) -> None:
        """Put these packages, and no others, into a component of a suite. An hour old and valid for a day, if no more
        is said; `fields` replace those of the Release file.
        """
        for architecture in (self.architecture, *self.foreign):
            index = self.folder / "dists" / suite / component / f"binary-{architecture}/Packages"
            index.parent.mkdir(parents=True, exist_ok=True)
            others = {self.architecture, *self.foreign} - {architecture}
            index.write_text("\n".join(self._stanza(deb) for deb in debs if deb.architecture not in others))
        (self.folder / "dists" / suite / "InRelease").write_bytes(
            (signer or self.signer).sign(self._release(suite, date, until, fields))
        )

    def publish_at(self, path: str, *debs: Deb, head: str = "Origin: Test\n", detached: bool = False) -> None:
        """Put these packages into an archive without dists/, below its address; `head` begins its Release file."""
        base = self.folder / path
        base.mkdir(parents=True, exist_ok=True)
        (base / "Packages").write_text("\n".join(map(self._stanza, debs)).replace("Filename: ", "Filename: ./"))
        self.sign_at(path, f"{head}Date: {_written(datetime.now(UTC) - HOUR)}\n", detached=detached)

    def sign_at(self, path: str, head: str, *, detached: bool) -> None:
        """Sign the indexes in a folder anew, with a Release file that begins so."""
        base = self.folder / path
        release = head + "SHA256:\n" + "".join(_entry(each, base) for each in sorted(base.rglob("Packages")))
        if detached:
            (base / "Release").write_text(release)
            (base / "Release.gpg").write_bytes(self.signer.gpg("--armor", "--detach-sign", data=release.encode()))
        else:
            (base / "InRelease").write_bytes(self.signer.sign(release))

    def _stanza(self, deb: Deb) -> str:
        content = made(deb)
        (self.folder / deb.path).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / deb.path).write_bytes(content)
        digest = hashlib.new(self.sums, content).hexdigest()
        return f"{deb.control}Filename: {deb.path}\nSize: {len(content)}\n{self.sums.upper()}: {digest}\n"

    def _release(self, suite: str, date: datetime | None, until: datetime | None, fields: Mapping[str, str]) -> str:
        base, now = self.folder / "dists" / suite, datetime.now(UTC)
        indexes, contents = sorted(base.glob("*/*/Packages")), sorted(base.glob("*/Contents-*"))
        given = {
            "Origin": "Test",
            "Label": "Test",
            "Suite": suite,
            "Codename": suite,
            "Date": _written(date or now - HOUR),
            "Valid-Until": _written(until or now + 24 * HOUR),
            "Architectures": " ".join((self.architecture, *self.foreign)),
            "Components": " ".join(sorted({path.parts[-3] for path in indexes})),
            **{name.replace("_", "-"): value for name, value in fields.items()},
        }
        head = "".join(f"{name}: {value}\n" for name, value in given.items() if value)
        return head + "SHA256:\n" + "".join(_entry(path, base) for path in [*indexes, *contents])


def _written(date: datetime) -> str:
    return format_datetime(date).replace("+0000", "UTC")


def _entry(path: Path, base: Path) -> str:
    content = path.read_bytes()
    return f" {hashlib.sha256(content).hexdigest()} {len(content)} {path.relative_to(base)}\n"


@dataclass
class Served:
    """An archive's server: where it is, what it was asked for (`asked`: path and status), and what it does wrong.

    `modified` is when it says that its files were changed; empty where it does not. `wanted` is the NAME:PASSWORD that
    it wants for paths that end in `guarded`, `pause` how many seconds it waits before each byte of a file.
    """

    address: str = ""
    modified: str = ""
    asked: list[tuple[str, int]] = field(default_factory=list)
    damage: Damage = lambda path, body: body
    wanted: str = ""
    guarded: str = ""
    pause: Callable[[str], float] = lambda path: 0.0

    def site(self, keyring: Path, suite: str = SUITE, **more: Mapping[str, str]) -> Site:
        """What makes this the archive of a suite, and of its pockets."""
        return Site(dict.fromkeys(own_addresses(suite), self.address), {"debian": keyring}, **more)

    def times(self, ending: str, wanted: int = 200) -> int:
        """How often files were sent, or another status was, whose path ends so."""
        return sum(path.endswith(ending) and status == wanted for path, status in self.asked)

    def lets_in(self, path: str, authorization: str | None) -> bool:
        """Whether a request comes from somebody who may ask."""
        known = f"Basic {base64.b64encode(self.wanted.encode()).decode()}"
        return not self.wanted or not path.endswith(self.guarded) or authorization == known

    def written(self, path: str, data: bytes) -> Iterator[bytes]:
        """The pieces that are sent of a file, each after its pause."""
        if not (pause := self.pause(path)):
            yield data
            return
        for byte in data:
            time.sleep(pause)
            yield bytes([byte])


def own_addresses(suite: str = SUITE) -> list[str]:
    """Where a suite and its pockets are in truth."""
    path = Path(__file__)  # any file will do: nothing is checked with it
    site = Site(keyrings={"debian": path, "ubuntu": path})
    return sorted({source.address for source in suite_sources(suite, POCKETS, ("main",), "amd64", site)})


@contextlib.contextmanager
def served(folder: Path, tls: Identity | None = None) -> Iterator[Served]:
    """Serve a folder over http or https on a free loopback port; a file shortened by damage breaks off.

    Knows entity tags.
    """
    state = Served()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            file = folder / self.path.lstrip("/").replace("%2b", "+").replace("%7e", "~")
            content = file.read_bytes() if file.is_file() else None
            body = None if content is None else state.damage(self.path, content)
            tag = f'"{hashlib.sha256(body or b"").hexdigest()}"'
            status = 404 if body is None else 304 if self.headers.get("If-None-Match") == tag else 200
            status = status if state.lets_in(self.path, self.headers.get("Authorization")) else 401
            state.asked.append((self.path, status))
            self.send_response(status)
            sent = body if status == 200 and body is not None else b""
            length = len(content) if sent and content is not None and len(sent) < len(content) else len(sent)
            self.send_header("Content-Length", str(length))
            self.send_header("ETag", tag)
            if state.modified:
                self.send_header("Last-Modified", state.modified)
            self.end_headers()
            for piece in state.written(self.path, sent):
                self.wfile.write(piece)
            self.close_connection = len(sent) < length

        def log_message(self, *_: object) -> None:
            """Not on the test's terminal."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that hangs up is what some tests are about."""

    with Server(("127.0.0.1", 0), Handler) as server:
        if tls:
            server.socket = tls.context().wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        state.address = f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
