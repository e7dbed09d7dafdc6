"""A private apt with its own folders, sources and configuration. It gets only credentials of the machine's apt."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from rootfs.apt.credentials import load_credentials
from rootfs.apt.keyring import armored_keys
from rootfs.apt.sources import Site, Source
from rootfs.process.errors import ProgramFailed
from rootfs.process.run import Log, Outcome, proxies, run
from rootfs.system import atomic_file
from rootfs.system.digests import canonical_digest
from rootfs.system.disk import disk_full, program_disk_full, reports_disk_full

TIMEOUT = 1800.0  # seconds that apt may take
ENCODED = frozenset('\\|{}[]<>"^~_=!@#$%&*')  # that apt encodes in names of index files (URItoFileName)
FOLDERS = ("lists/partial", "archives/partial", "etc/apt.conf.d", "etc/preferences.d", "etc/sources.list.d")

# We check the dates and the suites of Release files ourselves, with clearer errors. A new installation takes every
# phased update, as with debootstrap. The locks are ours: several roots are used at once.
CONFIGURATION = """\
Dir "{root}/";
Dir::State "{root}/";
Dir::State::lists "{lists}/";
Dir::State::status "{root}/status";
Dir::Cache "{root}/";
Dir::Cache::archives "archives/";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "";
Dir::Etc "{root}/etc/";
Dir::Log "{root}/";
#clear APT::Architectures;
APT::Architecture "{architecture}";
APT::Architectures {{ {architectures} }};
APT::Sandbox::User "{user}";
APT::Update::Error-Mode "any";
APT::Get::List-Cleanup "false";
APT::Get::Always-Include-Phased-Updates "true";
APT::Install-Suggests "false";
Acquire::AllowReleaseInfoChange "true";
Acquire::Check-Date "false";
Acquire::Check-Valid-Until "false";
Acquire::ForceHash "SHA256";
Acquire::Languages "none";
Acquire::PDiffs "false";
Acquire::Retries "0";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
Acquire::https::CaInfo "{authorities}";
pkgCacheGen::ForceEssential ",";
Debug::NoLocking "true";
"""


class AptRoot:
    """apt for one set of sources, in `folder`. It can share the folder of indexes (`lists`) with others.

    `architectures` are the native one and then the foreign ones. With a site, it gets the site's credentials for
    archives; else none.
    """

    def __init__(
        self,
        folder: Path,
        sources: str,
        architectures: tuple[str, ...],
        lists: Path | None = None,
        *,
        site: Site | None = None,
    ) -> None:
        self._site, site = site, site or Site()
        self.folder, self.lists, self.architectures = folder, lists or folder / "lists", architectures
        with disk_full(folder):
            for name in (*FOLDERS, self.lists / "partial"):
                (folder / name).mkdir(parents=True, exist_ok=True)
        configuration = CONFIGURATION.format(
            root=folder,
            lists=self.lists,
            architecture=self.architecture,
            architectures=" ".join(f'"{each}";' for each in architectures),
            user=_fetch_user(self.lists, authorities := site.authorities.file()),
            authorities=authorities,
        )
        texts = {"status": "", "etc/sources.list.d/archives.sources": sources, "apt.conf": configuration}
        for file, text in texts.items():
            if not (path := folder / file).is_file() or path.read_text() != text:
                atomic_file.write_file(path, text.encode())

    @property
    def architecture(self) -> str:
        """The native architecture."""
        return self.architectures[0]

    def run(self, *argv: str, check: bool = True, log: Log | None = None, timeout: float = TIMEOUT) -> Outcome:
        """Run a program of apt on this root.

        Raises InputError (credentials), ProgramTimedOut, DiskFull (apt itself reports a failure of the archive) and,
        unless `check` is False, ProgramFailed.
        """
        own = {"APT_CONFIG": str(self.folder / "apt.conf"), "DEBIAN_FRONTEND": "noninteractive"}
        environment = {**proxies(), **own}
        with program_disk_full(self.folder), self._credentials() as options:
            result = run([argv[0], *options, *argv[1:]], env=environment, check=check, log=log, timeout=timeout)
            if result.status and reports_disk_full(result.stderr):
                raise ProgramFailed(argv[0], result.status, result.stderr)
            return result

    @contextlib.contextmanager
    def _credentials(self) -> Iterator[tuple[str, ...]]:
        """The options that give apt the credentials, in a file that is removed after the block: no cache has them."""
        entries = load_credentials(self._site.auth).entries if self._site else ()
        if not entries:
            yield ()
            return
        with tempfile.NamedTemporaryFile("w", prefix="baseforge-") as file:
            file.writelines(entry.line for entry in entries)
            file.flush()
            yield ("-o", f"Dir::Etc::netrc={file.name}")

    def preferences(self, text: str) -> tuple[str, ...]:
        """The options that make apt use these preferences (apt_preferences(5))."""
        if not text:
            return ()
        file = self.folder / f"preferences-{canonical_digest(text)[7:23]}"
        atomic_file.write_file(file, text.encode())
        return ("-o", f"Dir::Etc::preferences={file}")


def _fetch_user(lists: Path, authorities: Path) -> str:
    """The user that apt fetches as: its own, if we are root and that user can reach the indexes and the authorities."""
    folders = {lists, *lists.parents, *authorities.parents}
    reachable = all(folder.stat().st_mode & 0o001 for folder in folders if folder.exists())
    return "_apt" if os.geteuid() == 0 and reachable else "root"


def sources_list(sources: Iterable[Source]) -> str:
    """sources.list(5) in deb822 form, with the keys themselves: the path of a keyring cannot have every character."""
    return "\n".join(_stanza(source) for source in sources)


def _stanza(source: Source) -> str:
    key = "\n".join(f" {line or '.'}" for line in armored_keys(source.keyring).splitlines())
    components = f"Components: {' '.join(source.components)}\n" if source.components else ""
    limit = f"Architectures: {' '.join(source.architectures)}\n" if source.architectures else ""
    return f"Types: deb\nURIs: {source.mirror}\nSuites: {source.suite}\n{components}{limit}Signed-By:\n{key}\n"


def index_file_name(address: str) -> str:
    """The start of the names of apt's index files for an address."""
    parts = urlsplit(address)
    plain = parts.netloc.rpartition("@")[2] + parts.path
    return "".join(f"%{ord(letter):02x}" if letter in ENCODED else letter for letter in plain).replace("/", "_")
