"""A real Kubernetes cluster of one node, in its own namespaces: etcd, the control plane, containerd and the kubelet.

Images come in from files; pods have no network but each other's.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from flows.image.export import export
from rootfs.recipe.sections import ImageSettings
from tests.support.samples import image_of
from tests.support.services.buildkit import IMAGE
from tests.support.services.dockerd import RUNTIME, lacks_capability
from tests.support.services.relay import relay
from tests.support.services.tools import tool
from tests.support.services.world import GATEWAY, World, world

PORT = 6443
GONE = 30.0  # seconds in which a cluster has ended the pods of a deployment that was removed
NETWORK = "10.98.0.0/24"  # around GATEWAY
PAUSE = "docker.io/local/pause:1"
WAIT_FOR_EVER = "int pause(void);\nint main(void) { for (;;) pause(); }\n"
KINDS = "deployments,statefulsets,replicasets,pods,configmaps"

POLICY = Path(__file__).with_name("kubernetes.yaml")


@dataclass(frozen=True)
class Cluster:
    """A running cluster: `kubeconfig` says where it listens and who may do everything in it."""

    world: World
    kubeconfig: Path

    def kubectl(self, *words: str | Path, check: bool = True) -> str:
        """What kubectl prints; standard error too, where it may fail."""
        argv = [tool("kubectl"), f"--kubeconfig={self.kubeconfig}", "--request-timeout=10s", *words]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout if done.returncode == 0 else ""

    def get(self, kind: str, namespace: str = "default") -> list[dict[str, Any]]:
        """All of a kind that the namespace has, as the API describes them."""
        listed = json.loads(self.kubectl("get", kind, f"--namespace={namespace}", "--output=json"))["items"]
        return list(listed)

    def leftovers(self, namespace: str = "default", *, wait: float = 0) -> list[str]:
        """Names of all that a builder may leave there, `KIND/NAME`; with `wait`, of what is still there after so many
        seconds: the cluster ends the pods of a deployment that is gone in its own time.
        """
        until = time.monotonic() + wait
        while (found := self._names(namespace)) and time.monotonic() < until:
            time.sleep(0.2)
        return found

    def _names(self, namespace: str) -> list[str]:
        return self.kubectl("get", KINDS, f"--namespace={namespace}", "--output=name").splitlines()

    def load(self, archive: Path) -> None:
        """Give the node an image: an archive of Docker's or OCI's."""
        ctr = ["ctr", f"--address={self.world.folder}/containerd.sock", "--namespace=k8s.io", "images", "import"]
        done = subprocess.run([*ctr, str(archive)], capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr

    def send(self, component: str, number: signal.Signals) -> None:
        """Send one of its programs a signal: `kube-apiserver`, `kubelet`, `containerd`, …"""
        process = self.world.started[component].pid
        os.kill(int(Path(f"/proc/{process}/task/{process}/children").read_text()), number)
        if number == signal.SIGCONT:  # nsenter stops with what it has started, but does not go on with it
            os.kill(process, number)


@pytest.fixture(scope="session")
def cluster(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster that has the image that builders are made of; `address` is an engine's that has it too."""
    archive = tmp_path_factory.mktemp("cluster") / "buildkit.tar"
    save = ["docker", "--host", address, "save", "--output", archive, IMAGE]
    subprocess.run(save, check=True, capture_output=True, timeout=120)
    with kubernetes() as running:
        running.load(archive)
        yield running


@contextlib.contextmanager
def kubernetes() -> Iterator[Cluster]:
    """A cluster with a node that is ready; at the end it and all it kept are gone."""
    with world("kubernetes-") as place, relay(place.first, PORT) as port:
        folder = place.folder
        token = secrets.token_hex(16)
        (folder / "tokens.csv").write_text(f'{token},admin,admin,"system:masters"\n')
        _kubeconfig(folder / "inside.json", PORT, token)
        cluster = Cluster(place, _kubeconfig(folder / "kubeconfig", port, token))
        _start_containerd(place)
        _start_control_plane(place)
        place.wait("kube-apiserver", lambda: cluster.kubectl("get", "--raw=/readyz", check=False) == "ok")
        _start_node(place)
        cluster.kubectl("apply", f"--filename={POLICY}")
        place.wait("containerd", (folder / "containerd.sock").exists)
        cluster.load(_pause(folder))
        place.wait("kubelet", lambda: _ready(cluster))
        place.wait("kube-apiserver", lambda: _policy_holds(cluster))
        yield cluster


def _kubeconfig(path: Path, port: int, token: str) -> Path:
    # A self-signed certificate with its authority behind it.
    server = {"server": f"https://127.0.0.1:{port}", "certificate-authority": str(path.parent / "cert/apiserver.crt")}
    context = {"cluster": "tests", "user": "admin", "namespace": "default"}
    described = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tests", "cluster": server}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "tests", "context": context}],
        "current-context": "tests",
    }
    path.write_text(json.dumps(described))
    return path


def _start_containerd(world: World) -> None:
    folder = world.folder
    runtime = RUNTIME if lacks_capability() else "runc"
    (folder / "containerd.toml").write_text(f"""
version = 2
root = "{folder}/containerd"
state = "/run/containerd"
[grpc]
address = "{folder}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
restrict_oom_score_adj = true
disable_apparmor = true
cni = {{bin_dir = "/usr/lib/cni", conf_dir = "{folder}/network"}}
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
options = {{BinaryName = "{runtime}"}}
""")
    addresses = {"type": "host-local", "ranges": [[{"subnet": NETWORK}]]}
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "ipam": addresses}
    network = {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge]}
    (folder / "network").mkdir()
    (folder / "network/pods.conflist").write_text(json.dumps(network))
    world.start("containerd", "containerd", f"--config={folder}/containerd.toml")


def _start_control_plane(world: World) -> None:
    folder = world.folder
    subprocess.run(["openssl", "genrsa", "-out", folder / "sa.key", "2048"], check=True, capture_output=True)
    world.start("etcd", "etcd", "--data-dir=/run/etcd")
    world.start(
        "kube-apiserver",
        "kube-apiserver",
        *("--etcd-servers=http://127.0.0.1:2379", f"--secure-port={PORT}", f"--cert-dir={folder}/cert"),
        *("--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"),
        *(f"--token-auth-file={folder}/tokens.csv", "--authorization-mode=RBAC", "--allow-privileged=true"),
        *("--service-account-issuer=https://kubernetes.default", "--service-cluster-ip-range=10.97.0.0/24"),
        *(f"--service-account-key-file={folder}/sa.key", f"--service-account-signing-key-file={folder}/sa.key"),
        *("--disable-admission-plugins=ServiceAccount", "--kubelet-preferred-address-types=InternalIP"),
        "--feature-gates=MutatingAdmissionPolicy=true",
        "--runtime-config=admissionregistration.k8s.io/v1alpha1=true",
    )


def _start_node(world: World) -> None:
    folder = world.folder
    config = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{folder.name}",
        "containerRuntimeEndpoint": f"unix://{folder}/containerd.sock",
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "enforceNodeAllocatable": [],
        "evictionHard": {"memory.available": "10Mi"},
        "imageGCHighThresholdPercent": 100,
        "resolvConf": "",
        "volumePluginDir": "/run/volumes",
    }
    (folder / "kubelet.json").write_text(json.dumps(config))
    access = f"--kubeconfig={folder}/inside.json"
    plain = [access, "--leader-elect=false", "--secure-port=0"]
    world.start("kube-scheduler", "kube-scheduler", *plain)
    # Without that one each namespace has nothing but what somebody put there.
    controllers = "--controllers=*,-root-ca-certificate-publisher-controller"
    world.start("kube-controller-manager", "kube-controller-manager", *plain, controllers)
    world.start(
        "kubelet",
        "kubelet",
        *(f"--config={folder}/kubelet.json", access, "--root-dir=/run/kubelet", f"--cert-dir={folder}/cert"),
        *("--hostname-override=localhost", f"--node-ip={GATEWAY}"),
    )


def _pause(folder: Path) -> Path:
    """The image that holds a pod's namespaces."""
    (folder / "pause.c").write_text(WAIT_FOR_EVER)
    subprocess.run(["gcc", "-static", "-Os", "-s", "-o", "pause", "pause.c"], cwd=folder, check=True)
    image = image_of({"pause": (folder / "pause").read_bytes()}, folder / "made", ImageSettings(entrypoint=("/pause",)))
    archive = folder / "pause.oci.tar"
    export(image, image.manifest_digest, archive, reference=PAUSE)
    return archive


def _ready(cluster: Cluster) -> bool:
    ready = '--output=jsonpath={.items[*].status.conditions[?(@.type=="Ready")].status}'
    return cluster.kubectl("get", "nodes", ready) == "True"


def _policy_holds(cluster: Cluster) -> bool:
    """The API takes notice of a new policy a moment later."""
    policy = "--output=jsonpath={.spec.containers[0].imagePullPolicy}"
    return cluster.kubectl("run", "probe", "--image=nothing", "--dry-run=server", policy) == "IfNotPresent"
