"""Smoke checks: expected status and output."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.builders.engine import Engine
from flows.smoke import container
from flows.smoke.container import KEPT, ContainerResult, _Kept
from flows.smoke.run import SmokeResult, smoke_test
from rootfs.errors import BuildError
from rootfs.recipe.sections import SmokeCheck


def ran(
    status: int | None = 0, stdout: str = "", stderr: str = "", broken: str = "", *, killed: bool = False
) -> ContainerResult:
    return ContainerResult(status, stdout, stderr, 0.5, broken, killed)


def judged(
    monkeypatch: pytest.MonkeyPatch,
    engine: Engine,
    *pairs: tuple[SmokeCheck, ContainerResult],
    log: list[str] | None = None,
) -> SmokeResult:
    """The verdict on checks that went as said."""
    endings = iter([ending for _, ending in pairs])
    monkeypatch.setattr("flows.smoke.run.run_container", lambda *_, **__: next(endings))
    checks = [check for check, _ in pairs]
    return smoke_test("sha256:0", checks, engine, run_label="x", log=log.append if log is not None else None)


@pytest.fixture
def engine() -> Engine:
    return None  # type: ignore[return-value] # nothing is run


CHECK = {"run": ("prog", "an arg")}


@pytest.mark.parametrize(
    ("check", "ending", "problems"),
    [
        ({}, ran(), []),
        ({}, ran(1), ["exit status 1, expected 0"]),
        ({"status": 3}, ran(3), []),
        ({"status": 3}, ran(0), ["exit status 0, expected 3"]),
        ({}, ran(137, killed=True), ["exit status 137, expected 0 (out of memory)"]),
        ({"stdout": "no+ble"}, ran(stdout="x\nnooble\n"), []),
        ({"stdout": "^noble"}, ran(stdout="x\nnoble\n"), ["standard output does not match '^noble'"]),
        ({"stdout": "(?m)^noble$"}, ran(stdout="x\nnoble\n"), []),
        ({"stdout": "^$"}, ran(stdout=""), []),
        ({"stdout": "^$"}, ran(stdout="something\n"), ["standard output does not match '^$'"]),
        ({"stderr": "oops"}, ran(stdout="oops"), ["standard error does not match 'oops'"]),
        ({"stderr": "oops"}, ran(stderr="oops"), []),
        (
            {"status": 1, "stdout": "a", "stderr": "b"},
            ran(),
            [
                "exit status 0, expected 1",
                "standard output does not match 'a'",
                "standard error does not match 'b'",
            ],
        ),
        ({"stdout": "x"}, ran(None, broken="it did not end within 60 s"), ["it did not end within 60 s"]),
    ],
)
def test_a_check_compares_status_and_output(
    check: dict[str, object],
    ending: ContainerResult,
    problems: list[str],
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    verdict = judged(monkeypatch, engine, (SmokeCheck.model_validate({**CHECK, **check}), ending))
    assert list(verdict.results[0].problems) == problems
    assert (verdict.passed, verdict.failed) == ((0, 1) if problems else (1, 0))


def test_a_failure_shows_only_the_output_of_the_failed_check(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    good, bad = SmokeCheck(run=("fine",)), SmokeCheck(run=("prog", "an arg"))
    log: list[str] = []
    verdict = judged(
        monkeypatch, engine, (good, ran(stdout="all right")), (bad, ran(2, "partly\n", "cannot open x\n")), log=log
    )
    with pytest.raises(BuildError, match="smoke checks failed; nothing was published") as caught:
        verdict.require()
    assert caught.value.message.startswith("1 of 2 smoke checks failed")
    assert caught.value.output.splitlines() == [
        "$ prog 'an arg'",
        "partly",
        "cannot open x",
        "=> exit status 2, expected 0",
    ]
    assert caught.value.hint == ""
    assert log[:3] == ["$ fine", "all right", "=> ok after 0.5 s"]
    assert log[3:] == caught.value.output.splitlines()
    assert pickle.loads(pickle.dumps(verdict)) == verdict


def test_a_check_that_wanted_to_write_is_told_where_it_can(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "cannot create /tmp/x: Read-only file system\n"
    with pytest.raises(BuildError) as caught:
        judged(monkeypatch, engine, (SmokeCheck(run=("prog",)), ran(1, stderr=said))).require()
    assert "TMPDIR=/dev/shm" in caught.value.hint


def test_an_image_without_checks_passes(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    verdict = judged(monkeypatch, engine)
    verdict.require()
    assert (verdict.passed, verdict.failed) == (0, 0)


@given(st.lists(st.binary(max_size=3000), max_size=60))
def test_a_long_output_keeps_its_beginning_and_its_end(pieces: list[bytes]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(container, "KEPT", 1000)
        kept = _Kept()
        for piece in pieces:
            kept.add(piece)
    whole = b"".join(pieces)
    if len(whole) <= 1000:
        assert kept.text() == whole.decode(errors="replace")
    else:
        assert bytes(kept.head) == whole[:500]
        assert bytes(kept.tail) == whole[-500:]
        assert f"[{len(whole) - 1000} bytes left out]" in kept.text()


def test_gigabytes_are_not_kept() -> None:
    kept = _Kept()
    for _ in range(1000):
        kept.add(bytes(32 << 10))
    assert len(kept.head) + len(kept.tail) == KEPT


def test_emulated_checks_have_more_time(monkeypatch: pytest.MonkeyPatch, engine: Engine) -> None:
    seen: list[tuple[str, float]] = []

    def run_container(_: Engine, container: container.Container, *, timeout: float) -> ContainerResult:
        seen.append((container.platform, timeout))
        return ran()

    monkeypatch.setattr("flows.smoke.run.run_container", run_container)
    for platform in ("", "linux/s390x"):
        smoke_test("sha256:0", [SmokeCheck(run=("a",), timeout=7)], engine, run_label="x", emulated=platform)
    assert seen == [("", 7), ("linux/s390x", 70)]
