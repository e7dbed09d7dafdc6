"""mmdebstrap and debootstrap install exactly the lock's packages, for any user, from local packages only."""

from __future__ import annotations

import hashlib
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.store.open import open_store
from rootfs.apt.resolve import Apt
from rootfs.apt.sources import Site as Archives
from rootfs.errors import BuildError, MachineError
from rootfs.lock.lock import Lock, Package
from rootfs.packages import pool
from rootfs.process.host import native_architecture
from rootfs.system.errors import DiskFull
from rootfs.tree.filters import Rules, filtered
from tests.engine.rootfs.trees import Site, as_nobody, recipe_of
from tests.support.debian import Deb, made


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """A site in memory that every user can read, with the newest lock of a small tree and one package more."""
    folder = Path(tempfile.mkdtemp(prefix="baseforge-trees-", dir="/dev/shm"))
    folder.chmod(0o755)
    for name in ("debs", "files"):
        (folder / name).mkdir()
    recipe, store = recipe_of(include=["netbase"]), open_store(str(folder / "store"))
    lock = Apt(folder / "apt", Archives(), log=print).lock(recipe, folder / "files", native_architecture())
    pool.fill_pool(lock.packages, store, str, offline=False, log=print, folder=folder / "partial")
    assert pool.write_debs(lock.packages, store, folder / "debs") == {}
    try:
        yield Site(folder, lock)
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def work(site: Site) -> Iterator[Path]:
    """A place for a work folder; nothing mounted or running may be left there."""
    place = Path(tempfile.mkdtemp(dir=site.folder))
    place.chmod(0o755)
    yield place / "work"
    assert str(place) not in Path("/proc/self/mountinfo").read_text()
    assert not (place / "work/tree").exists()
    shutil.rmtree(place)


def queried(tree: Path) -> set[tuple[str, ...]]:
    """What dpkg itself says is installed."""
    words = ["dpkg-query", f"--admindir={tree}/var/lib/dpkg", "-W", "-f=${Package} ${Version} ${Architecture}\n"]
    shown = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return {tuple(line.split()) for line in shown.splitlines()}


def locked(lock: Lock) -> set[tuple[str, ...]]:
    return {(package.name, package.version, package.architecture) for package in lock.packages}


@pytest.mark.parametrize("engine", ["mmdebstrap", "debootstrap"])
def test_the_installed_packages_are_those_of_the_lock(site, work, engine):
    with site.tree(work, engine=engine) as members:
        assert queried(work / "tree") == locked(site.lock)
        marks = (work / "tree/var/lib/apt/extended_states").read_text()
        auto = {package.name for package in site.lock.packages if package.auto}
        assert {line.split()[1] for line in marks.splitlines() if line.startswith("Package")} == auto
        paths = {member.path for member in members}  # last, as a tree that has been read goes
        assert {"usr/bin/apt", "etc/apt/apt.conf.d/docker-clean", "usr/sbin/policy-rc.d"} <= paths


@pytest.mark.parametrize("engine", ["mmdebstrap", "debootstrap"])
def test_packages_of_a_foreign_architecture_are_installed_beside_the_others(site, work, engine):
    foreign = "armhf" if native_architecture() == "arm64" else "i386"
    fields = {"Multi-Arch": "same"}
    debs = [
        Deb("tool", architecture=each, fields=fields, files={f"usr/lib/{each}/tool": each})
        for each in (native_architecture(), foreign)
    ]
    packages = [_added(site, deb) for deb in debs]
    lock = site.lock.model_copy(update={"packages": (*site.lock.packages, *packages)})
    include = ["netbase", "tool", f"tool:{foreign}"]
    with site.tree(work, engine=engine, lock=lock, include=include) as members:
        assert queried(work / "tree") == locked(lock)
        assert (work / "tree/var/lib/dpkg/arch").read_text().split() == [native_architecture(), foreign]
        assert {f"usr/lib/{deb.architecture}/tool" for deb in debs} <= {member.path for member in members}


def _added(site: Site, deb: Deb) -> Package:
    """A package that is made for the test, among the debs of the site."""
    content = made(deb)
    package = Package(
        name=deb.name,
        version=deb.version,
        architecture=deb.architecture,
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        source=deb.name,
        archive="http://example.org",
        suite="trixie",
        path=deb.path,
    )
    (site.debs / package.file_name).write_bytes(content)
    return package


def test_cached_trees_give_the_same_image_and_damaged_ones_are_made_again(site, work):
    fresh = site.digest(work, kept=False, variant="minbase")
    shutil.rmtree(site.kept, ignore_errors=True)

    def used(name: str) -> list[str]:
        site.log.clear()
        assert site.digest(work.with_name(name)) == fresh
        return [line.split()[3] for line in site.log if " is cached as " in line]

    def damage(kind: str) -> None:
        [path] = site.kept.glob(f"{kind}-*.tar")
        with path.open("r+b") as file:
            file.seek(5_000_000)
            file.write(b"damage")

    assert used("first") == []
    assert used("second") == ["base"]
    damage("base")
    assert used("third") == ["essential"]
    damage("base")
    damage("essential")
    assert used("fourth") == []
    assert len(list(site.kept.glob("*.tar"))) == 2


# What the package ca-certificates has, as far as it counts here.
UPDATE = "#!/bin/sh\nmkdir -p /etc/ssl/certs && cat /usr/local/share/ca-certificates/*.crt >/etc/ssl/certs/bundle\n"
EVERYTHING = {
    "slim": ["docs"],
    "paths": {"exclude": ["/usr/share/zoneinfo/A*"], "include": ["/usr/share/zoneinfo/Africa*"]},
    "groups": [{"name": "app", "gid": 1000}],
    "users": [{"name": "app", "uid": 1000, "groups": ["audio"], "home": "/srv/app", "shell": "/bin/sh"}],
    "files": [
        {"path": "/srv/app/tool", "from": "tool", "owner": "1000:1000", "mode": "4750"},
        {"path": "/lib/below-a-link", "content": "x"},
        {"path": "/usr/local/share/ca-certificates/own.crt", "content": "ours\n"},
        {"path": "/usr/sbin/update-ca-certificates", "content": UPDATE, "mode": "0755"},
        {"path": "/etc/motd", "link": "issue"},
    ],
    "customise": ["look"],
    "locale": "C.UTF-8",
    "timezone": "Europe/Berlin",
}
# Speaks of what it sees, and leaves a file of another owner.
LOOK = """#!/bin/sh
set -eu
echo "interfaces $(tail -n +3 /proc/net/dev | wc -l), host $(hostname), epoch $SOURCE_DATE_EPOCH, tz $TZ"
env | grep -i proxy && exit 1
echo x > /etc/made
chown 33:34 /etc/made
"""


@pytest.fixture
def files(site):
    for name, text in {"tool": "#!/bin/sh\n", "look": LOOK, "fail": "#!/bin/sh\necho oh no\nexit 7\n"}.items():
        (site.files / name).write_text(text)
    (site.files / "purge").write_text("#!/bin/sh\ndpkg --purge mount\n")


def test_an_ordinary_user_makes_the_same(site, work, files, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:1")
    theirs = as_nobody(site, work.with_name("theirs"), **EVERYTHING)
    assert theirs["digest"] == site.digest(work, **EVERYTHING)
    assert "tree" not in theirs["left"]


def test_debootstrap_needs_root(site, work, monkeypatch):
    monkeypatch.setattr("rootfs.bootstrap.debootstrap.is_root", lambda: False)
    with pytest.raises(MachineError, match="the engine"), site.tree(work, engine="debootstrap", kept=False):
        pass


def test_every_key_of_a_recipe_has_its_effect(site, work, files):
    with site.tree(work, **EVERYTHING) as members:
        tree, rules = work / "tree", Rules.of(recipe_of(**EVERYTHING).filters)
        assert f"interfaces 1, host localhost, epoch {site.lock.epoch}, tz UTC" in site.log
        tool = (tree / "srv/app/tool").stat()
        assert (stat.S_IMODE(tool.st_mode), tool.st_uid, tool.st_gid) == (0o4750, 1000, 1000)
        assert (tree / "usr/lib/below-a-link").read_text() == "x"
        assert (tree / "etc/ssl/certs/bundle").read_text() == "ours\n"
        assert (tree / "srv/app").stat().st_uid == 1000
        assert (tree / "etc/made").stat().st_uid == 33
        assert "app:x:1000:1000::/srv/app:/bin/sh\n" in (tree / "etc/passwd").read_text()
        assert "\naudio:x:29:app\n" in (tree / "etc/group").read_text()
        assert (tree / "etc/default/locale").read_text() == "LANG=C.UTF-8\n"
        assert (tree / "etc/localtime").resolve().name == "Berlin"
        assert [path.name for path in (tree / "usr/share/doc/netbase").iterdir()] == ["copyright"]
        assert not Rules.named(["volatile"]).keeps("run/baseforge", is_folder=True)
        stay = {member.path for member in filtered(members, rules) if member.is_file}
        assert not any(path.startswith("usr/share/zoneinfo/A") and "/Africa/" not in path for path in stay)
        assert "usr/share/zoneinfo/Africa/Cairo" in stay
        assert [path for path in stay if path.startswith("usr/share/doc/apt/")] == ["usr/share/doc/apt/copyright"]


def test_a_failing_script_is_named_with_its_output(site, work, files):
    with (
        pytest.raises(BuildError, match="fail ended with exit status 7") as caught,
        site.tree(work, customise=["fail"]),
    ):
        pass
    assert "oh no" in str(caught.value)


def test_a_script_cannot_change_what_is_installed(site, work, files):
    with pytest.raises(BuildError, match="missing: mount"), site.tree(work, customise=["purge"]):
        pass


def deb_of(site: Site, place: Path, name: str, script: str, depends: str = "dpkg") -> Package:
    """A package of our own, whose post-installation script this is."""
    (place / "DEBIAN").mkdir(parents=True)
    control = f"Package: {name}\nVersion: 1:2\nArchitecture: all\nMaintainer: x\nDescription: x\nDepends: {depends}\n"
    (place / "DEBIAN/control").write_text(control)
    (place / "DEBIAN/postinst").write_text(script)
    (place / "DEBIAN/postinst").chmod(0o755)
    digest = hashlib.sha256(name.encode()).hexdigest()  # not its own, but of no other
    made = Package(
        name=name, version="1:2", architecture="all", sha256=digest, size=1, source="x", archive="", suite="", path=""
    )
    subprocess.run(["dpkg-deb", "--build", place, site.debs / made.file_name], check=True, capture_output=True)
    return made


def test_a_failing_package_is_named_with_its_output(site, work):
    bad = deb_of(site, work.with_name("bad"), "bad", "#!/bin/sh\necho it is broken\nexit 4\n")
    lock = site.lock.model_copy(update={"packages": (*site.lock.packages, bad)})
    with pytest.raises(BuildError, match="package bad") as caught, site.tree(work, lock=lock):
        pass
    assert "it is broken" in str(caught.value)


def test_a_package_whose_dependencies_the_lock_lacks_is_refused(site, work):
    lonely = deb_of(site, work.with_name("lonely"), "lonely", "#!/bin/sh\n", depends="not-there")
    lock = site.lock.model_copy(update={"packages": (*site.lock.packages, lonely)})
    with pytest.raises(BuildError, match="not-there"), site.tree(work, lock=lock):
        pass


def test_packages_start_no_daemons(site, work):
    daemon = deb_of(
        site, work.with_name("daemon"), "daemon", "#!/bin/sh\n/usr/sbin/policy-rc.d x start; echo policy $?\n"
    )
    lock = site.lock.model_copy(update={"packages": (*site.lock.packages, daemon)})
    with site.tree(work, lock=lock):
        assert "policy 101" in site.log


def test_an_image_without_package_manager_has_no_apt_and_dpkg(site, work):
    with site.tree(work, package_manager="remove"):
        tree = work / "tree"
        for path in ("usr/bin/apt", "usr/bin/dpkg", "etc/apt", "etc/dpkg", "var/lib/apt", "usr/sbin/policy-rc.d"):
            assert not (tree / path).exists(), path
        left = queried(tree)
        assert left < locked(site.lock)
        assert {name for name, *_ in locked(site.lock) - left} >= {"apt", "dpkg"}
        assert {path.suffix for path in (tree / "var/lib/dpkg/info").iterdir()} == {".md5sums"}


@pytest.mark.parametrize("kept", [False, True], ids=["in stage one", "in stage two"])
def test_a_full_disk_is_named(site, work, kept):
    disk = work.with_name("disk")
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", disk], check=True)
    try:
        with pytest.raises(DiskFull, match="no space is left"), site.tree(disk / "work", kept=kept):
            pass
        assert not (disk / "work/tree").exists()
    finally:
        subprocess.run(["umount", disk], check=True)


def test_essential_alone_has_no_apt_and_no_settings_of_it(site, work):
    essential = tuple(package for package in site.lock.packages if package.essential)
    lock = site.lock.model_copy(update={"packages": essential})
    with site.tree(work, lock=lock, variant="essential"):
        assert queried(work / "tree") == locked(lock)
        assert not (work / "tree/etc/apt/sources.list.d/debian.sources").exists()
        assert not (work / "tree/usr/sbin/policy-rc.d").exists()
