"""The `kubernetes` driver: BuildKit as a deployment in the current cluster of the kube configuration.

buildx talks to the cluster itself. `kubectl`, if installed, answers what buildx does not know.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flows.builders.engine import LABEL
from flows.builders.errors import no_cluster
from rootfs.errors import BaseforgeError
from rootfs.process.run import proxies, run
from rootfs.recipe.builder import BuilderPlan

KUBECTL = "kubectl"
SPARE = 10.0  # seconds more than the plan's time, which buildx itself gets, too: its default is two minutes
REACH = 5.0  # seconds for the connection to a cluster, and again for the TLS handshake


def reach(plan: BuilderPlan) -> None:  # noqa: ARG001 - as for the other drivers
    """Check that a cluster is configured and answers: buildx would try four times, for 10 seconds each.

    buildx checks certificates and rights, and reports their errors at once. Raises ServiceUnreachable.
    """
    cluster = _cluster()
    address = urlsplit(str(cluster.get("server", "")))
    host = address.hostname
    if not host or "proxy-url" in cluster or (address.scheme in getproxies() and not proxy_bypass(host)):
        return
    secure = address.scheme == "https"
    try:
        with socket.create_connection((host, address.port or (443 if secure else 80)), timeout=REACH) as plain:
            if secure:
                _any_certificate().wrap_socket(plain, server_hostname=host).close()
    except OSError as error:
        raise no_cluster(str(cluster["server"]), error.strerror or str(error)) from error


def with_driver_options(plan: BuilderPlan, run_id: str) -> BuilderPlan:
    """The plan with buildx's own timeout, and the run's id as a label of deployment and pods (since buildx 0.12)."""
    labels = ",".join(filter(None, (plan.options.get("labels"), run_id and f"{LABEL}={run_id}")))
    options = {"timeout": f"{plan.timeout:g}s", **plan.options, **({"labels": labels} if labels else {})}
    return plan.model_copy(update={"options": options})


def remove_leftovers(prefix: str, *, late: bool = False) -> None:  # noqa: ARG001 - an API server finishes or drops a request
    """Remove the deployments of runs' builders with this prefix: `buildx rm --force` forgets a builder even if the
    cluster does not answer.
    """
    with contextlib.suppress(BaseforgeError):
        _cluster()
        for item in _get("deployments,statefulsets", "--all-namespaces", f"--selector={LABEL}"):
            if item["metadata"]["name"].startswith(prefix.replace("_", "-")):
                kind, space = item["kind"].lower(), item["metadata"]["namespace"]
                names = [f"{kind}/{item['metadata']['name']}", *_configurations(item)]
                _kubectl("delete", *names, f"--namespace={space}", "--ignore-not-found", "--wait=false")


def explain(name: str, plan: BuilderPlan) -> str:
    """The cluster's reason why a builder's pods are not ready: an image that cannot be pulled, a policy, no room.

    Empty if the cluster gives none or kubectl is not installed.
    """
    space = [f"--namespace={plan.options['namespace']}"] if "namespace" in plan.options else []
    try:
        items = _get("deployments,statefulsets,pods", f"--selector=app={name.replace('_', '-')}0", *space)
    except BaseforgeError:
        return ""
    return "; ".join(dict.fromkeys(reason for item in items for reason in _reasons(item.get("status", {}))))


def _reasons(status: dict[str, Any]) -> Iterator[str]:
    for condition in status.get("conditions", []):
        if (condition["type"], condition["status"]) in (("PodScheduled", "False"), ("ReplicaFailure", "True")):
            yield _sentence(condition)
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        for state in (container.get("state", {}), container.get("lastState", {})):
            for moment in ("waiting", "terminated"):
                if moment in state:
                    yield _sentence(state[moment])


def _sentence(condition: dict[str, Any]) -> str:
    return ": ".join(filter(None, (condition.get("reason"), condition.get("message"))))


def _configurations(item: dict[str, Any]) -> Iterator[str]:
    for volume in item["spec"]["template"]["spec"].get("volumes", []):
        if "configMap" in volume:
            yield f"configmap/{volume['configMap']['name']}"


def _cluster() -> dict[str, Any]:
    """The cluster of the current context; empty in a pod, whose cluster buildx finds itself.

    KUBECONFIG must be what buildx accepts: one file, not a list, with an absolute path, as buildx stores the path.
    """
    path = Path(os.environ.get("KUBECONFIG") or Path.home() / ".kube/config")
    if not path.is_file() and "KUBERNETES_SERVICE_HOST" in os.environ:
        return {}
    if not path.is_file() or not path.is_absolute():
        raise no_cluster(str(path), "no kube configuration is there; buildx wants one absolute path")
    try:
        config = YAML(typ="safe").load(path)
        named = {each["name"]: each["context"]["cluster"] for each in config["contexts"]}
        clusters = {each["name"]: each["cluster"] for each in config["clusters"]}
        return dict(clusters[named[config["current-context"]]])
    except (YAMLError, OSError, UnicodeDecodeError, LookupError, TypeError, ValueError) as error:
        raise no_cluster(str(path), "it names no current cluster (`current-context`)") from error


def _any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _get(kinds: str, *words: str) -> list[dict[str, Any]]:
    return list(json.loads(_kubectl("get", kinds, *words, "--output=json"))["items"])


def _kubectl(*words: str) -> str:
    choice = {"KUBECONFIG": path} if (path := os.environ.get("KUBECONFIG")) else {}
    env = {**proxies(), **choice}
    return run([KUBECTL, *words, f"--request-timeout={REACH:g}s"], env=env, timeout=4 * REACH).stdout
