"""The kubernetes driver: the kube configuration, and the options that a run adds."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from flows.builders import kubernetes
from flows.builders.kubernetes import reach, with_driver_options
from rootfs.errors import ServiceUnreachable
from rootfs.recipe.builder import BuilderPlan

PLAN = BuilderPlan(lifecycle="ephemeral", driver="kubernetes", timeout=100)


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(kubernetes, "REACH", 0.3)


def configure(folder: Path, server: str, **more: str) -> None:
    described = {
        "current-context": "a",
        "contexts": [{"name": "b", "context": {"cluster": "d"}}, {"name": "a", "context": {"cluster": "c"}}],
        "clusters": [{"name": "d", "cluster": {}}, {"name": "c", "cluster": {"server": server, **more}}],
    }
    (folder / ".kube").mkdir()
    (folder / ".kube/config").write_text(json.dumps(described))


@pytest.mark.parametrize("text", ["", "[", "a: b", "current-context: a\ncontexts: []\nclusters: []", "\udcff", "- 1"])
def test_a_configuration_without_a_cluster_is_refused(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").write_bytes(text.encode(errors="surrogateescape"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    with pytest.raises(ServiceUnreachable, match="current-context"):
        reach(PLAN)


@pytest.mark.parametrize("path", ["/nowhere", "relative", "/etc/hostname:/etc/hosts", ""])
def test_a_missing_configuration_is_reported(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("relative").write_text("buildx would look for it in another folder")
    monkeypatch.setenv("KUBECONFIG", path)
    with pytest.raises(ServiceUnreachable, match="one absolute path"):
        reach(PLAN)


def test_in_a_pod_no_configuration_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    reach(PLAN)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_closed_port_is_reported(scheme: str, tmp_path: Path) -> None:
    configure(tmp_path, f"{scheme}://127.0.0.1:1")
    with pytest.raises(ServiceUnreachable, match=f"{scheme}://127.0.0.1:1: .*refused"):
        reach(PLAN)


def test_a_server_that_sends_no_certificate_is_reported(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        configure(tmp_path, f"https://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(ServiceUnreachable, match="timed out"):
            reach(PLAN)


def test_a_cluster_behind_a_proxy_is_left_to_buildx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(tmp_path, "https://127.0.0.1:1", **{"proxy-url": "http://127.0.0.1:2"})
    reach(PLAN)
    (tmp_path / ".kube/config").unlink()
    (tmp_path / ".kube").rmdir()
    configure(tmp_path, "https://127.0.0.1:1")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:2")
    reach(PLAN)


def test_the_run_becomes_a_label_and_the_timeout_an_option() -> None:
    assert with_driver_options(PLAN, "1").options == {"labels": "baseforge.run=1", "timeout": "100s"}
    said = PLAN.model_copy(update={"options": {"labels": "a=b", "timeout": "9s"}})
    assert with_driver_options(said, "1").options == {"labels": "a=b,baseforge.run=1", "timeout": "9s"}
