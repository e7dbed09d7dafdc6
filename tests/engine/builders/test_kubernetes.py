"""Images through BuildKit in a cluster."""

from __future__ import annotations

import contextlib
import re
import signal
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from flows.builders import kubernetes, lifecycle
from flows.builders.errors import BuilderFailed
from flows.builders.image_import import BuildxBuilder
from flows.builders.lifecycle import AcquiredBuilder
from rootfs.errors import InputError, ServiceUnreachable
from rootfs.process import run as door
from rootfs.recipe.builder import BuilderPlan
from tests.engine.builders.through import holds_for_every_driver
from tests.support.services.buildkit import IMAGE
from tests.support.services.kubernetes import GONE, Cluster
from tests.support.services.tools import tool
from tests.support.services.workshop import Workshop

OPTIONS = {
    "image": IMAGE,
    "labels": "team=base,stage=test",
    "annotations": "example.test/owner=base,example.test/why=tests",
    "requests.cpu": "100m",
    "limits.memory": "1Gi",
    "serviceaccount": "builders",
    "nodeselector": "kubernetes.io/os=linux,kubernetes.io/hostname=localhost",
    "tolerations": "key=builders,operator=Equal,value=only,effect=NoSchedule;key=spot,operator=Exists",
    "env.COMMAS": 'a,b "c"',
}


def planned(options: Mapping[str, str] = MappingProxyType({}), timeout: float = 60, config: str = "") -> BuilderPlan:
    described = {"lifecycle": "ephemeral", "driver": "kubernetes", "options": {"image": IMAGE, **options}}
    return BuilderPlan.model_validate({**described, "timeout": timeout, "config": config})


@pytest.fixture
def kubeconfig(cluster: Cluster, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy that a test may change. Nothing of its builders may be left, in the cluster or in buildx's folder."""
    path = tmp_path / "kube, config"
    path.write_text(cluster.kubeconfig.read_text())
    monkeypatch.setenv("KUBECONFIG", str(path))
    monkeypatch.setattr(door, "SYSTEM_PATH", f"{tool('kubectl').parent}:{door.SYSTEM_PATH}")
    yield path
    assert workshop.leftovers() == []
    assert cluster.leftovers(wait=GONE) == []


@contextlib.contextmanager
def made(plan: BuilderPlan, run_id: str) -> Iterator[AcquiredBuilder]:
    """A builder that is created, not started, and removed."""
    taken = lifecycle.acquire(plan, plan.driver, run_id, 1, print)
    try:
        yield taken
    finally:
        lifecycle.remove(taken.name, taken.driver)


def unreachable(path: Path) -> str:
    """Make the kube configuration name a port where nobody listens; returns what it was."""
    text = path.read_text()
    path.write_text(re.sub(r"https://[0-9.]+:\d+", "https://127.0.0.1:1", text))
    return text


def test_an_image_comes_back_unchanged(
    cluster: Cluster,
    kubeconfig: Path,
    workshop: Workshop,
    tmp_path: Path,
    example: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run_id, log = str(uuid.uuid4()), list[str]()
    (tmp_path / "buildkitd.toml").write_text("debug = true\n")
    with made(planned(OPTIONS, config=str(tmp_path / "buildkitd.toml")), run_id) as taken:
        assert lifecycle.start(taken, log.append).startswith("v0.")
        arrived(cluster, run_id)
        builder = BuildxBuilder(workshop.engine, taken.name, taken.driver, log.append)
        holds_for_every_driver(builder, tmp_path, example, monkeypatch, log)
    assert any("booting buildkit" in line for line in log)


def arrived(cluster: Cluster, run_id: str) -> None:
    """The options are in the deployment, and the run's id is a label of all that can be found by it."""
    (deployment,), (pod,) = cluster.get("deployments"), cluster.get("pods")
    labels = {"team": "base", "stage": "test", "baseforge.run": run_id}
    for thing in (deployment, pod):
        assert labels.items() <= thing["metadata"]["labels"].items()
        assert thing["metadata"]["annotations"]["example.test/why"] == "tests"
    said = deployment["spec"]["template"]["spec"]
    (container,) = said["containers"]
    assert container["resources"] == {"requests": {"cpu": "100m"}, "limits": {"memory": "1Gi"}}
    assert container["env"] == [{"name": "COMMAS", "value": 'a,b "c"'}]
    assert said["serviceAccountName"] == "builders"
    assert said["nodeSelector"] == {"kubernetes.io/os": "linux", "kubernetes.io/hostname": "localhost"}
    assert [each["key"] for each in said["tolerations"]] == ["builders", "spot"]
    (config,) = cluster.get("configmaps")
    assert config["data"] == {"buildkitd.toml": "debug = true\n"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"image": "localhost:1/nothing:1"}, r"(ErrImagePull|ImagePullBackOff): .*localhost:1/nothing:1"),
        ({"requests.cpu": "1k"}, "Unschedulable: .*Insufficient cpu"),
        ({"namespace": "nowhere"}, 'namespaces "nowhere" not found'),
        ({"labels": "team=not a label"}, 'Invalid value: "not a label"'),
    ],
)
def test_a_builder_that_cannot_start_says_why(kubeconfig: Path, options: dict[str, str], said: str) -> None:
    started = time.monotonic()
    with made(planned(options, timeout=4), "bad") as taken:
        with pytest.raises(BuilderFailed, match=f"starting failed: .*{said}") as caught:
            lifecycle.start(taken, print)
        assert time.monotonic() - started < 15
        assert len(str(caught.value).splitlines()) <= 3


def test_a_cluster_whose_rules_forbid_it(kubeconfig: Path, cluster: Cluster) -> None:
    """A builder is privileged, which many clusters do not let everybody be."""
    cluster.kubectl("create", "namespace", "strict")
    cluster.kubectl("label", "namespace", "strict", "pod-security.kubernetes.io/enforce=baseline")
    with (
        made(planned({"namespace": "strict"}, timeout=4), "forbidden") as taken,
        pytest.raises(BuilderFailed, match=r"FailedCreate: .*violates PodSecurity.*privileged"),
    ):
        lifecycle.start(taken, print)
    assert cluster.leftovers("strict", wait=GONE) == []


def test_without_kubectl_buildx_s_own_error_is_shown(kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes, "KUBECTL", "kubectl-that-is-not-there")
    with (
        made(planned({"image": "localhost:1/nothing:1", "timeout": "2s"}), "bad") as taken,
        pytest.raises(BuilderFailed, match="starting failed: expected 1 replicas to be ready, got 0"),
    ):
        lifecycle.start(taken, print)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"colour": "red"}, "invalid driver option colour"),
        ({"limits.cpu": "much"}, "quantities must match"),
        ({"loadbalance": "never"}, "invalid loadbalance"),
        ({"timeout": "5"}, "missing unit"),
    ],
)
def test_options_that_buildx_refuses_are_reported(kubeconfig: Path, options: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said), made(planned(options), "refused"):
        pass


def test_a_cluster_that_does_not_answer(kubeconfig: Path, cluster: Cluster) -> None:
    started = time.monotonic()
    cluster.send("kube-apiserver", signal.SIGSTOP)
    try:
        with pytest.raises(ServiceUnreachable, match="timed out") as caught, made(planned(), "stopped"):
            pass
    finally:
        cluster.send("kube-apiserver", signal.SIGCONT)
    assert time.monotonic() - started < 10
    assert caught.value.status == 3
    assert len(str(caught.value).splitlines()) <= 2
    unreachable(kubeconfig)
    with pytest.raises(ServiceUnreachable, match=r"127\.0\.0\.1:1: .*refused"), made(planned(), "refused"):
        pass


def test_a_forgotten_builder_s_deployment_is_found_by_its_name(
    kubeconfig: Path, cluster: Cluster, workshop: Workshop
) -> None:
    """As when the cluster did not answer while the builder was to be removed."""
    run_id = str(uuid.uuid4())
    with made(planned(), run_id) as taken, made(planned(), "another") as another:
        lifecycle.start(taken, print)
        lifecycle.start(another, print)
        config = unreachable(kubeconfig)
        lifecycle.remove(taken.name, taken.driver)
        assert workshop.leftovers() == [another.name]
        kubeconfig.write_text(config)
        assert len(cluster.get("deployments")) == 2
        lifecycle.remove_all([run_id])
        (left,) = cluster.get("deployments")
        assert left["metadata"]["labels"]["baseforge.run"] == "another"


def test_what_a_killed_run_left_is_removed(kubeconfig: Path, cluster: Cluster) -> None:
    run_id = str(uuid.uuid4())
    taken = lifecycle.acquire(planned(), "kubernetes", run_id, 1, print)
    lifecycle.start(taken, print)
    assert len(cluster.get("pods")) == 1
    lifecycle.remove_all([run_id])
    assert cluster.get("deployments") == []
