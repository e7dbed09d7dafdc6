"""The findings of `baseforge doctor`, on machines that lack something."""

import contextlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.builders.errors import BuildxMissing, engine_unreachable, unknown_builder
from flows.builders.select import SelectedBuilder
from flows.cli import doctor
from flows.config.settings import Settings
from flows.orchestration.errors import server_hangs
from flows.publish import checks
from flows.store.folder import FolderStore
from rootfs.process.errors import ProgramFailed, ProgramMissing
from rootfs.process.host import tools_missing
from rootfs.recipe.builder import existing_builder


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A machine that has everything, whatever this one has."""

    def unreachable():
        raise engine_unreachable("unix:///nowhere/docker.sock", os.strerror(2))

    monkeypatch.setattr(doctor, "connect", unreachable)
    monkeypatch.setattr(doctor.local_server, "running", lambda: None)
    monkeypatch.setattr(doctor, "package_versions", lambda names: dict.fromkeys(names, "1.0"))
    monkeypatch.setattr(doctor, "known_suites", lambda _: ("old", "new", "sid", "experimental"))
    monkeypatch.setattr(doctor, "run", lambda *_, **__: None)
    monkeypatch.setattr(doctor, "is_root", lambda: True)
    monkeypatch.setattr(doctor.host, "can_run", lambda architecture: architecture in ("arm64", "riscv64"))
    monkeypatch.setattr(doctor, "buildx", lambda _: "github.com/docker/buildx v0.38.2 0a1b")
    monkeypatch.setattr(
        doctor,
        "select_builder",
        lambda *_: SelectedBuilder(existing_builder("big"), "kubernetes", "the setting `builder`"),
    )


def find(name, **settings):
    return next(finding for finding in doctor.report(Settings(**{"store": "", **settings})) if finding.name == name)


def test_every_finding_that_is_not_fine_says_what_to_do(monkeypatch):
    monkeypatch.setattr(doctor, "package_versions", lambda names: (_ for _ in ()).throw(tools_missing(list(names))))
    monkeypatch.setattr(doctor, "known_suites", lambda _: ())
    monkeypatch.setattr(doctor, "is_root", lambda: False)
    findings = doctor.report(Settings(store="", keyrings={"debian": Path("/no"), "ubuntu": Path("/no")}))
    assert [finding.name for finding in findings if not finding.ok and not finding.hint] == []
    assert len({finding.name for finding in findings}) == len(findings)
    lacking = {finding.name for finding in findings if not finding.ok}
    assert {*doctor.PACKAGES, "debian suites", "ubuntu keyring", "Docker engine", "root"} <= lacking


def test_a_hanging_server_is_reported(monkeypatch):
    def hung():
        raise server_hangs(4711, "http://127.0.0.1:1/api", Path("/log"), 5)

    monkeypatch.setattr(doctor.local_server, "running", hung)
    finding = find("Prefect server")
    assert (finding.ok, finding.needed) == (False, True)
    assert "4711" in finding.found + finding.hint


def test_an_engine_that_does_not_answer_is_needed_and_named():
    finding = find("Docker engine")
    assert (finding.ok, finding.needed) == (False, True)
    assert "unix:///nowhere/docker.sock" in finding.found
    assert "baseforge setup" in finding.hint


def test_the_builder_and_why():
    assert find("buildx").found == "v0.38.2"
    assert find("builder").found == "big (kubernetes, existing): the setting `builder`"


def test_a_missing_buildx_is_fine_but_a_missing_builder_is_not(monkeypatch):
    def missing(*_):
        raise BuildxMissing

    def unknown(*_):
        raise unknown_builder("bog", ["big"])

    monkeypatch.setattr(doctor, "buildx", missing)
    monkeypatch.setattr(doctor, "select_builder", unknown)
    buildx, builder = find("buildx"), find("builder")
    assert (buildx.ok, buildx.needed, builder.ok, builder.needed) == (False, False, False, True)
    assert "big" in builder.hint


def test_an_engine_that_refuses_us_asks_for_the_group(monkeypatch):
    def refused():
        raise engine_unreachable("unix:///var/run/docker.sock", os.strerror(13))

    monkeypatch.setattr(doctor, "connect", refused)
    assert "usermod" in find("Docker engine").hint


@pytest.mark.parametrize(
    ("package", "needed"), [("mmdebstrap", True), ("gpgv", True), ("debootstrap", False), ("skopeo", False)]
)
def test_a_missing_package(monkeypatch, package, needed):
    def versions(names):
        if package in names:
            raise tools_missing(list(names))
        return dict.fromkeys(names, "1.0")

    monkeypatch.setattr(doctor, "package_versions", versions)
    finding = find(package)
    assert (finding.ok, finding.needed) == (False, needed)
    assert find("apt").ok


def test_a_machine_without_dpkg(monkeypatch):
    def versions(_):
        raise ProgramMissing("dpkg-query")

    monkeypatch.setattr(doctor, "package_versions", versions)
    assert not find("apt").ok


def test_suites_are_counted_without_those_that_are_not_released():
    assert find("debian suites").found == "2 known, the newest new"


def test_a_keyring_that_the_site_names(tmp_path):
    keyring = tmp_path / "keyring.gpg"
    keyring.touch()
    assert find("debian keyring", keyrings={"debian": keyring}).found == str(keyring)


def test_other_platforms_are_listed_if_their_programs_run(monkeypatch):
    finding = find("other platforms")
    assert (finding.found, finding.ok, finding.needed) == ("linux/arm64, linux/riscv64", True, False)
    monkeypatch.setattr(doctor.host, "can_run", lambda _: False)
    finding = find("other platforms")
    assert (finding.found, finding.ok, finding.needed) == ("none run here", False, False)
    assert "setup --emulation" in finding.hint


@pytest.mark.parametrize(
    ("capabilities", "ok"),
    [("000001ffffffffff", True), ("0000000000200000", True), ("00000000a80425fb", False), ("0000000000000000", False)],
)
def test_root_needs_the_right_to_mount(monkeypatch, tmp_path, capabilities, ok):
    """The third set is what an engine gives a container by default."""
    status = tmp_path / "status"
    status.write_text(f"Name:\tx\nCapInh:\t0000000000000000\nCapEff:\t{capabilities}\nCapBnd:\t{capabilities}\n")
    monkeypatch.setattr(doctor, "STATUS", status)
    finding = find("root")
    assert (finding.ok, finding.needed) == (ok, True)


@pytest.mark.parametrize(
    ("lines", "ok"),
    [("me:100000:65536\n", True), ("4711:100000:65536\n", True), ("you:100000:65536\n", False), (None, False)],
)
def test_an_ordinary_user_needs_subordinate_ids(monkeypatch, tmp_path, lines, ok):
    subuids = tmp_path / "subuid"
    if lines is not None:
        subuids.write_text(lines)
    monkeypatch.setattr(doctor, "SUBUIDS", subuids)
    monkeypatch.setattr(doctor, "is_root", lambda: False)
    monkeypatch.setattr(doctor.getpass, "getuser", lambda: "me")
    monkeypatch.setattr(doctor.os, "geteuid", lambda: 4711)
    monkeypatch.setattr(doctor.shutil, "which", lambda _: "/usr/bin/newuidmap")
    finding = find("namespaces")
    assert (finding.ok, finding.needed) == (ok, True)
    assert find("root").needed is False


def test_namespaces_that_are_forbidden(monkeypatch):
    def refused(*_, **__):
        raise ProgramFailed("unshare", 1, "unshare: unshare failed: Operation not permitted")

    monkeypatch.setattr(doctor, "run", refused)
    finding = find("namespaces")
    assert not finding.ok
    assert "Operation not permitted" in finding.found
    assert "\n" not in finding.found


def test_a_data_folder_of_another_user(tmp_path, monkeypatch):
    monkeypatch.setenv("BASEFORGE_HOME", str(tmp_path))
    assert (find("data folder").found, find("data folder").ok) == (str(tmp_path), True)
    monkeypatch.setattr(doctor.os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    assert (find("data folder").ok, find("data folder").needed) == (False, True)
    assert "belongs to" in find("data folder").found
    monkeypatch.setenv("BASEFORGE_HOME", str(tmp_path / "none"))
    assert find("data folder").ok


def test_the_sandbox_is_tried_and_its_limits_are_shown(monkeypatch):
    finding = find("sandbox", sandbox_memory=3 << 30, sandbox_processes=99)
    assert finding.found.startswith("3.0 GiB of memory and 99 processes ")

    @contextlib.contextmanager
    def none(*_):
        yield None

    monkeypatch.setattr(doctor, "control_group", none)
    finding = find("sandbox")
    assert "each: no control group" in finding.found
    assert (finding.ok, finding.needed) == (False, False)


def test_a_sandbox_that_cannot_be_made(monkeypatch):
    def refused(*_, **__):
        raise ProgramFailed("true", 1, "bwrap: Can't mount proc on /newroot/proc: Operation not permitted")

    monkeypatch.setattr(doctor, "run", refused)
    finding = find("sandbox")
    assert (finding.ok, finding.needed) == (False, True)
    assert "Can't mount proc" in finding.found


def test_a_work_folder_that_is_not_there(tmp_path):
    found = find("work folder", work=tmp_path / "a")
    assert (found.ok, found.needed) == (False, True)
    assert found.found == f"there is no folder {tmp_path}/a"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_a_store_of_another_user(tmp_path):
    os.chown(tmp_path, 65534, 65534)
    found = find("store", store=str(tmp_path))
    assert (found.ok, found.needed) == (False, True)
    assert "belongs to nobody" in found.found


@pytest.mark.parametrize(("free", "ok"), [(doctor.DISK, True), (doctor.DISK - 1, False)])
def test_a_full_disk(monkeypatch, free, ok):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: doctor.shutil._ntuple_diskusage(free * 2, free, free))
    assert find("work folder").ok is ok


@pytest.mark.parametrize(("kilobytes", "ok"), [(doctor.MEMORY_NEEDED // 1024, True), (1024, False)])
def test_little_memory(monkeypatch, tmp_path, kilobytes, ok):
    memory = tmp_path / "meminfo"
    memory.write_text(f"MemTotal:       99999999 kB\nMemAvailable:   {kilobytes} kB\n")
    monkeypatch.setattr(doctor, "MEMORY", memory)
    assert find("memory").ok is ok


def test_a_password_file_that_others_can_read_is_refused(tmp_path):
    file = tmp_path / "auth.conf"
    file.write_text("machine a.example login joe password s3cret\n")
    found = {}
    for mode in (0o600, 0o644):
        file.chmod(mode)
        [found[mode]] = [each for each in doctor.report(Settings(store="", auth=file)) if each.name == "credentials"]
    assert (found[0o600].ok, found[0o644].ok, found[0o644].needed) == (True, False, True)
    assert f"chmod 600 '{file}'" in found[0o644].hint
    assert "s3cret" not in f"{found}"


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
def test_receivers_of_messages_that_cannot_be_told(tmp_path):
    told = tmp_path / "nights/told.json"
    told.parent.mkdir()
    told.write_text('{"problems": ["receiver 1 (json): no route"], "at": "2026-12-01T02:00:00Z"}')
    good = "json://h/s3cret"
    assert find("notifications", store=str(tmp_path)).ok
    last = find("notifications", store=str(tmp_path), notify=[good])
    unknown = find("notifications", notify=[good, "nothing://s3cret"])
    assert [(each.ok, each.needed, each.found) for each in (last, unknown)] == [
        (False, True, "2026-12-01T02:00:00Z: receiver 1 (json): no route"),
        (False, True, "receiver 2 (nothing): Apprise does not understand this address"),
    ]


def test_stale_images_and_the_end_of_support_are_found(tmp_path):
    store = FolderStore(tmp_path / "store")
    assert find("freshness", store=str(store.folder)).found == "0 images, none stale"
    old = f"{datetime.now(UTC) - timedelta(days=3):%Y-%m-%dT%H:%M:%SZ}"
    checks.note(store, {"web": checks.Check(checked=old, within=86400, suite="buster")})
    stale, support = (find(name, store=str(store.folder)) for name in ("freshness", "end of support"))
    assert (stale.ok, stale.found) == (False, "web: stale: last checked 3 d ago; the limit is 1 d")
    assert "list --stale" in stale.hint
    assert (support.ok, support.found.endswith(": web")) == (False, True)
    assert "ended on 2022-09-10" in support.found


def test_data_about_support_that_are_older_than_a_year_are_found(monkeypatch):
    today = datetime.now(UTC).date()
    for days, ok in ((300, True), (400, False)):
        monkeypatch.setattr(doctor, "data_date", lambda days=days: today - timedelta(days=days))
        finding = find("support dates")
        assert (finding.ok, f"{days} days old" in finding.found) == (ok, True)
        assert "distro-info-data" in finding.hint
