"""Calls of buildx: time limit, reason of failures, and environment."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.builders.buildx_cli import available, buildx, driver_options
from flows.builders.errors import BuildxFailed, BuildxMissing, BuildxTooOld
from rootfs.process import run as door
from tests.unit.flows.builders.conftest import Stub


def test_output_is_returned_and_with_a_log_standard_error_too(docker: Stub) -> None:
    docker("echo out; echo err >&2")
    log: list[str] = []
    assert buildx("ls") == "out\n"
    assert buildx("ls", log=log.append).splitlines() == log == ["out", "err"]


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        ("#1 ERROR: x\nERROR: it snows\nERROR: it rains", "it rains"),
        ("something\nelse", "something\nelse"),
        ("", "it failed without a message"),
    ],
)
def test_buildx_s_own_reason_is_reported(printed: str, said: str, docker: Stub) -> None:
    docker(f'[ "$2" = version ] || {{ printf "{printed}" >&2; exit 1; }}')
    with pytest.raises(BuildxFailed) as caught:
        buildx("create", "--name", "x")
    assert str(caught.value) == f"docker buildx create: {said}"


def test_a_docker_command_without_buildx(docker: Stub) -> None:
    docker("echo \"docker: 'buildx' is not a docker command.\" >&2; exit 1")
    assert not available()
    with pytest.raises(BuildxMissing, match="no buildx") as caught:
        buildx("ls")
    assert caught.value.status == 3


def test_no_docker_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "setpriv").symlink_to("/usr/bin/setpriv")
    monkeypatch.setattr(door, "SYSTEM_PATH", str(tmp_path))
    assert not available()
    with pytest.raises(BuildxMissing):
        buildx("ls")


def test_a_hanging_buildx_is_stopped(docker: Stub) -> None:
    docker("sleep 60")
    with pytest.raises(BuildxFailed, match=r"build: it took more than 0\.2 s"):
        buildx("build", wait=0.2)


def test_buildx_sees_only_the_variables_that_select_the_engine(
    docker: Stub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docker(f"env >{tmp_path}/env")
    monkeypatch.setenv("DOCKER_CONTEXT", "elsewhere")
    monkeypatch.setenv("KUBECONFIG", "/the/cluster")
    monkeypatch.setenv("BUILDX_BUILDER", "another")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    buildx("ls", wait=10)
    seen = (tmp_path / "env").read_text().splitlines()
    assert {"DOCKER_CONTEXT=elsewhere", "KUBECONFIG=/the/cluster"} <= set(seen)
    assert not [line for line in seen if line.startswith(("BUILDX_BUILDER=", "SOURCE_DATE_EPOCH="))]


@given(st.dictionaries(st.sampled_from(["image", "env.A", "cacert"]), st.text("a=,\"' /\\", min_size=1)))
def test_options_are_lines_of_csv(options: dict[str, str]) -> None:
    words = driver_options(options)
    assert words[::2] == ["--driver-opt"] * len(options)
    read = [next(csv.reader([word])) for word in words[1::2]]
    assert read == [[f"{key}={value}"] for key, value in options.items()]


def test_a_buildx_that_lacks_an_option(docker: Stub) -> None:
    docker('[ "$2" = version ] || { echo "unknown flag: --timeout" >&2; exit 125; }')
    with pytest.raises(BuildxTooOld, match="does not know --timeout yet") as caught:
        buildx("ls", "--timeout", "1ns")
    assert caught.value.status == 3
