"""Downloads from mirrors that break off, stall, redirect, or send wrong bytes."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rootfs.apt.errors import AccessDenied, ArchiveMoved, ArchiveUnreachable
from rootfs.apt.transfer import Transfers
from rootfs.errors import BaseforgeError
from rootfs.lock.lock import Package
from rootfs.packages import download as module
from rootfs.packages.download import PARALLEL, DebSource, download_debs
from rootfs.packages.errors import DebGone, DebMismatch
from tests.support.mirror import CHANGED, Answer, Handler, Mirror, cut, drips, good, hangs, package, says
from tests.support.mirror import without_ranges as whole
from tests.support.waiting import until

DATA = bytes(range(256)) * 400
OTHER = bytes(len(DATA))


QUICK = Transfers(timeout=0.3)


class Kept(dict[str, bytes]):
    """What was handed on, by sha256; how often."""

    def __call__(self, deb: Package, file: BinaryIO) -> None:
        assert deb.sha256 not in self
        self[deb.sha256] = file.read()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSES", (0.01, 0.02))


@pytest.fixture
def archive(mirror: Mirror, tmp_path: Path) -> DebSource:
    return DebSource(mirror.mirror, tmp_path / "cache" / "partial", [].append, QUICK)


def get(archive: DebSource, *debs: Package) -> dict[Package, BaseforgeError]:
    """Download them; what came must be what was meant, and have left nothing in the folder."""
    kept = Kept()
    failed = download_debs(debs, archive, kept)
    assert set(kept) == {deb.sha256 for deb in debs if deb not in failed}
    assert all(package(deb.name, kept[deb.sha256]).sha256 == deb.sha256 for deb in debs if deb not in failed)
    assert left(archive) == {}
    return failed


def left(archive: DebSource) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in archive.folder.iterdir()}


def begun(archive: DebSource, deb: Package, data: bytes, modified: int) -> None:
    """Have the beginning of a deb, of an earlier run."""
    archive.folder.mkdir(parents=True)
    path = archive.folder / f"{deb.sha256}.partial"
    path.write_bytes(data)
    os.utime(path, (modified, modified))


def ranges(mirror: Mirror) -> list[str]:
    return [headers.get("Range", "") for _, headers in mirror.asked]


# What ends well


@pytest.mark.parametrize(
    ("answers", "asked"),
    [
        pytest.param([], [""], id="good"),
        pytest.param([whole], [""], id="no-date"),
        pytest.param([says(200, DATA, None)], [""], id="no-length"),
        pytest.param([cut(1000)], ["", "bytes=1000-"], id="breaks-off"),
        pytest.param([cut(0)], ["", ""], id="breaks-off-at-once"),
        pytest.param([cut(1000, dated=False)], ["", "bytes=1000-"], id="breaks-off-no-date"),
        pytest.param([cut(1000), cut(50)], ["", "bytes=1000-", "bytes=50-"], id="breaks-off-and-begins-anew"),
        pytest.param([cut(1000), whole], ["", "bytes=1000-"], id="no-ranges"),
        pytest.param([says(200, DATA[:9], None)], ["", "bytes=9-"], id="no-length-and-breaks-off"),
        pytest.param([says(503), says(429)], ["", "", ""], id="busy"),
        pytest.param([says(200, OTHER)], ["", ""], id="other-bytes-once"),
        pytest.param([says(200, OTHER[:99])], ["", ""], id="other-length-once"),
        pytest.param([says(200, DATA + b"x", None)], ["", ""], id="too-much-once"),
        pytest.param([cut(1000), says(416)], ["", "bytes=1000-", ""], id="no-such-range"),
        pytest.param(
            [cut(1000), says(206, DATA[999:], Content_Range=f"bytes 999-{len(DATA) - 1}/{len(DATA)}")],
            ["", "bytes=1000-", ""],
            id="another-range",
        ),
        pytest.param([cut(1000), says(206, DATA[1000:])], ["", "bytes=1000-", ""], id="no-word-of-the-range"),
        pytest.param([says(302, Location="/elsewhere")], ["", ""], id="redirect"),
        pytest.param([cut(1000), says(307, Location="/elsewhere")], ["", *["bytes=1000-"] * 2], id="redirected-range"),
    ],
)
def test_a_deb_is_downloaded_after_errors(
    mirror: Mirror, archive: DebSource, answers: list[Answer], asked: list[str]
) -> None:
    deb = mirror.offer("libc6", DATA, *answers)
    mirror.files["/elsewhere"] = DATA
    assert get(archive, deb) == {}
    assert ranges(mirror) == asked


def test_a_stalled_download_goes_on(mirror: Mirror, archive: DebSource) -> None:
    end = threading.Event()
    deb = mirror.offer("libc6", DATA, hangs(end))
    assert get(archive, deb) == {}
    end.set()
    assert ranges(mirror) == ["", f"bytes={len(DATA) // 2}-"]


def test_a_wrong_copy_is_fetched_again_without_caches(mirror: Mirror, archive: DebSource) -> None:
    assert get(archive, mirror.offer("libc6", DATA, says(200, OTHER))) == {}
    assert [headers.get("Cache-Control") for _, headers in mirror.asked] == [None, "no-cache"]


def test_names_are_encoded(mirror: Mirror, archive: DebSource) -> None:
    debs = [mirror.offer("libstdc++6", DATA, version=version) for version in ("1~rc1+b2", "1+b~2", "2:1")]
    assert [get(archive, deb) for deb in debs] == [{}] * 3
    assert archive.address(debs[0]) == f"{mirror.address}/pool/libstdc%2B%2B6_1~rc1%2Bb2_amd64.deb"


def test_a_proxy_is_taken_from_the_environment(mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", mirror.address)
    deb = mirror.offer("libc6", DATA)
    mirror.files[f"http://far.invalid/{deb.path}"] = mirror.files.pop(f"/{deb.path}")
    assert get(DebSource(lambda _: "http://far.invalid/", tmp_path / "partial", [].append), deb) == {}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.integers(0, len(DATA) + 5), right=st.booleans(), modified=st.sampled_from([0, CHANGED, CHANGED + 1]))
@example(size=len(DATA), right=True, modified=CHANGED)
@example(size=len(DATA), right=False, modified=CHANGED)
@example(size=len(DATA) + 1, right=True, modified=CHANGED)
@example(size=len(DATA) - 1, right=True, modified=CHANGED)
def test_a_later_run_continues_a_download(
    mirror: Mirror, tmp_path_factory: pytest.TempPathFactory, size: int, right: bool, modified: int
) -> None:
    archive = DebSource(mirror.mirror, tmp_path_factory.mktemp("later") / "partial", [].append)
    deb = mirror.offer("libc6", DATA)
    begun(archive, deb, ((DATA if right else OTHER) + b"more of it")[:size], modified)
    mirror.asked.clear()
    assert get(archive, deb) == {}
    first = mirror.asked[0][1].get("Range", "") if mirror.asked else None
    expected = f"bytes={size}-" if 0 < size < len(DATA) else ""
    assert first == (None if size == len(DATA) and right else expected)
    assert len(mirror.asked) <= 2


def test_a_later_run_does_not_add_to_a_file_that_changed(mirror: Mirror, archive: DebSource) -> None:
    deb = mirror.offer("libc6", DATA)
    begun(archive, deb, DATA[:500], CHANGED - 5)
    assert get(archive, deb) == {}
    assert len(mirror.asked) == 1
    assert mirror.asked[0][1]["If-Range"].endswith("GMT")


def test_a_killed_run_leaves_the_partial_download(mirror: Mirror, archive: DebSource) -> None:
    end = threading.Event()
    deb = mirror.offer("libc6", DATA, hangs(end))
    argv = [sys.executable, "-c", KILLED, mirror.address, str(archive.folder), deb.model_dump_json()]
    with subprocess.Popen(argv) as process:
        until(lambda: archive.folder.is_dir() and [*left(archive).values()] == [DATA[: len(DATA) // 2]])
        process.kill()
    end.set()
    assert get(archive, deb) == {}
    assert ranges(mirror) == ["", f"bytes={len(DATA) // 2}-"]
    assert mirror.asked[1][1]["If-Range"]


@pytest.mark.parametrize("watched", ["", "import flows.runtime.signals; flows.runtime.signals.handle_interrupts()\n"])
def test_an_interrupt_ends_it_at_once(mirror: Mirror, archive: DebSource, watched: str) -> None:
    """By Python's own handler, and by that of the command line."""
    end = threading.Event()
    deb = mirror.offer("libc6", DATA, hangs(end))
    argv = [sys.executable, "-c", watched + KILLED, mirror.address, str(archive.folder), deb.model_dump_json()]
    with subprocess.Popen(argv, stderr=subprocess.PIPE) as process:
        until(lambda: archive.folder.is_dir() and [*left(archive).values()] == [DATA[: len(DATA) // 2]])
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=5)[1]
    end.set()
    assert time.monotonic() - began < 4  # not the 30 s that a transfer may stall
    assert said.splitlines()[-1] == b"KeyboardInterrupt"
    assert b"never" not in said
    assert left(archive) == {f"{deb.sha256}.partial": DATA[: len(DATA) // 2]}


KILLED = """\
import sys
from pathlib import Path
from rootfs.packages.download import DebSource, download_debs
from rootfs.lock.lock import Package
from rootfs.apt.transfer import Transfers
address, folder, deb = sys.argv[1:]
download_debs([Package.model_validate_json(deb)], DebSource(lambda _: address, Path(folder), print), print)
"""


# Many


def test_many_downloads_share_few_connections(mirror: Mirror, archive: DebSource) -> None:
    meeting = threading.Barrier(PARALLEL)

    def together(handler: Handler, data: bytes | None) -> None:
        meeting.wait(5)
        good(handler, data)

    debs = [mirror.offer(f"p{number}", b"%d" % number * 5000, together) for number in range(3 * PARALLEL)]
    assert get(archive, *debs) == {}
    assert len(mirror.asked) == 3 * PARALLEL
    assert len(mirror.connections) == PARALLEL


def test_a_missing_deb_does_not_stop_the_other_downloads(mirror: Mirror, archive: DebSource) -> None:
    gone, other = package("gone", b"gone"), mirror.offer("other", DATA, *[says(200, OTHER)] * 2)
    there = [mirror.offer(f"p{number}", b"%d" % number) for number in range(20)]
    failed = get(archive, gone, other, *there)
    assert {deb: type(problem) for deb, problem in failed.items()} == {gone: DebGone, other: DebMismatch}


def test_two_runs_share_a_folder(mirror: Mirror, archive: DebSource) -> None:
    """The other run has the partial file in hand: ours leaves it alone."""
    deb = mirror.offer("libc6", DATA)
    begun(archive, deb, b"of another run", 0)
    with (archive.folder / f"{deb.sha256}.partial").open("r+b") as others:
        fcntl.flock(others, fcntl.LOCK_EX)
        kept = Kept()
        assert download_debs([deb], archive, kept) == {}
        assert others.read() == b"of another run"
    assert kept == {deb.sha256: DATA}
    assert ranges(mirror) == [""]


# What does not


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        pytest.param([says(200, OTHER)] * 2, f"{package('x', OTHER).sha256} ({len(DATA)} bytes)", id="other-bytes"),
        pytest.param([says(200, b"<html>please log in")] * 2, "19 bytes came", id="a-portal"),
        pytest.param([says(200, DATA + b"x", None)] * 2, f"more than {len(DATA)} bytes", id="too-much"),
        pytest.param([says(200, DATA, len(DATA) + 7)] * 2, f"{len(DATA) + 7} bytes came", id="says-too-much"),
        pytest.param([cut(9), says(206, b"x"), says(200, OTHER)], package("x", OTHER).sha256, id="first-a-part"),
    ],
)
def test_a_file_with_another_digest_is_refused(
    mirror: Mirror, archive: DebSource, answers: list[Answer], found: str
) -> None:
    deb = mirror.offer("libc6", DATA, *answers, version="2.41-1")
    problem = get(archive, deb)[deb]
    assert type(problem) is DebMismatch
    assert len(mirror.asked) == len(answers)
    for word in ("libc6 2.41-1", deb.sha256, f"({len(DATA)} bytes)", found, archive.address(deb), "signed index"):
        assert word in str(problem)
    assert problem.status == 1


@pytest.mark.parametrize("status", [404, 410])
def test_a_deb_that_is_gone_means_that_the_archive_moved_on(mirror: Mirror, archive: DebSource, status: int) -> None:
    deb = mirror.offer("libc6", DATA, says(status))
    problem = get(archive, deb)[deb]
    assert isinstance(problem, DebGone)
    assert isinstance(problem, ArchiveMoved)
    assert "libc6 1.0-1" in str(problem)
    assert problem.where == archive.address(deb)
    assert len(mirror.asked) == 1


@pytest.mark.parametrize(
    ("answers", "asked", "reason"),
    [
        pytest.param([cut(9), cut(9), cut(9)], 3, "received 9 bytes", id="breaks-off-thrice"),
        pytest.param([says(200, DATA[:9], None)] * 3, 3, f"broke off after 9 of {len(DATA)} bytes", id="ends-thrice"),
        pytest.param([says(500)] * 3, 3, "500", id="fails"),
        pytest.param([says(416)], 1, "416", id="a-range-nobody-asked-for"),
        pytest.param([says(204, length=None)], 1, "204", id="nothing"),
        pytest.param([says(302, Location="/a")], 21, "redirects", id="in-circles"),
        pytest.param([says(302, Location="ftp://x/y")], 1, "ftp", id="to-another-protocol"),
        pytest.param([says(302, Location="http://127.0.0.1:1")] * 3, 3, "connection", id="to-nowhere"),
    ],
)
def test_an_archive_that_does_not_answer(
    mirror: Mirror, archive: DebSource, answers: list[Answer], asked: int, reason: str
) -> None:
    mirror.answers["/a"] = [says(302, Location="/a")] * 30
    deb = mirror.offer("libc6", DATA, *answers)
    with pytest.raises(ArchiveUnreachable, match=reason) as caught:
        download_debs([deb], archive, Kept())
    assert caught.value.where == archive.address(deb)
    assert len(mirror.asked) == asked


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "http://no-such-host.invalid", "ftp://x", "http://[", "x"])
def test_an_unreachable_address_is_reported(tmp_path: Path, address: str) -> None:
    with pytest.raises(ArchiveUnreachable):
        download_debs([package("libc6", DATA)], DebSource(lambda _: address, tmp_path, [].append), Kept())


def test_an_archive_that_always_stalls(mirror: Mirror, archive: DebSource) -> None:
    end = threading.Event()
    deb = mirror.offer("libc6", DATA, *[hangs(end)] * 3)
    with pytest.raises(ArchiveUnreachable, match="ReadTimeout"):
        download_debs([deb], archive, Kept())
    end.set()
    assert left(archive) == {f"{deb.sha256}.partial": DATA[: len(DATA) // 2]}


@pytest.mark.parametrize("head", [False, True])
def test_an_archive_that_sends_very_slowly_is_given_up(mirror: Mirror, archive: DebSource, *, head: bool) -> None:
    """Each byte comes in time, and all of them never would: 102,400 bytes in 85 minutes."""
    deb = mirror.offer("libc6", DATA, *[drips(0.05, head=head)] * 3)
    slow = replace(archive, transfers=Transfers(timeout=5, rate=1000, window=0.4))
    began = time.monotonic()
    with pytest.raises(
        ArchiveUnreachable, match=r"it sent \d bytes in 0.4 s, and 1000 a second are the least"
    ) as caught:
        download_debs([deb], slow, Kept())
    assert time.monotonic() - began < 5
    assert caught.value.where == archive.address(deb)
    assert "name a mirror" in caught.value.hint


def test_an_archive_that_is_slow_but_not_too_slow_is_waited_for(mirror: Mirror, archive: DebSource) -> None:
    deb = mirror.offer("libc6", DATA[:20], drips(0.05))
    patient = replace(archive, transfers=Transfers(rate=10, window=0.3))
    assert get(patient, deb) == {}


@pytest.mark.parametrize(
    ("status", "said", "hint"),
    [
        (401, "wants a name and a password", "/etc/apt/auth.conf.d"),
        (403, "access is denied", "/etc/apt/auth.conf.d"),
        (407, "the proxy wants a name", "http_proxy="),
    ],
)
def test_a_denied_access_is_reported_at_once(
    mirror: Mirror, archive: DebSource, status: int, said: str, hint: str
) -> None:
    deb = mirror.offer("libc6", DATA, *[says(status)] * 3)
    with pytest.raises(AccessDenied, match=said) as caught:
        download_debs([deb], archive, Kept())
    assert caught.value.where == archive.address(deb)
    assert hint in caught.value.hint
    assert len(mirror.asked) == 1


@pytest.mark.parametrize(
    ("status", "said"), [(401, "the proxy wants a name"), (407, "the proxy wants a name"), (403, "the proxy refuses")]
)
def test_a_proxy_that_refuses_to_connect_is_asked_once(
    mirror: Mirror, archive: DebSource, monkeypatch: pytest.MonkeyPatch, status: int, said: str
) -> None:
    for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", mirror.address)
    mirror.answers["archive.example:443"] = [says(status)] * 9
    behind = replace(archive, mirror=lambda _: "https://archive.example")
    with pytest.raises(AccessDenied, match=said) as caught:
        download_debs([mirror.offer("libc6", DATA)], behind, Kept())
    assert "***" not in caught.value.hint
    assert len(mirror.asked) == 1


def test_an_archive_that_stops_ends_all_downloads(mirror: Mirror, archive: DebSource) -> None:
    """Those that came before are kept, and none is waited for that would not come either."""
    end = threading.Event()
    first = mirror.offer("first", b"first")
    debs = [mirror.offer(f"p{number}", DATA, says(403)) for number in range(20)]
    slow = mirror.offer("slow", DATA, hangs(end))
    kept = Kept()
    assert download_debs([first], archive, kept) == {}
    with pytest.raises(AccessDenied):
        download_debs([slow, *debs], archive, kept)
    end.set()
    assert list(kept) == [first.sha256]
    assert len(mirror.asked) <= 1 + PARALLEL


def test_errors_of_the_store_are_passed_on(mirror: Mirror, archive: DebSource) -> None:
    def refuse(_deb: Package, _file: BinaryIO) -> None:
        raise ZeroDivisionError

    deb = mirror.offer("libc6", DATA)
    with pytest.raises(ZeroDivisionError):
        download_debs([deb], archive, refuse)
    mirror.asked.clear()
    assert get(archive, deb) == {}
    assert mirror.asked == []
