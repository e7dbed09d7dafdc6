"""The `kubernetes` driver: BuildKit as a deployment in the cluster that the current kube configuration names.

buildx speaks to the cluster itself. `kubectl`, where there is one, is asked what buildx does not say or has forgotten.
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
SPARE = 10.0  # buildx is given the same time: its own two minutes are not what was asked for
REACH = 5.0  # seconds in which a cluster accepts a connection, and as long again until it has shown who it is


def reach(plan: BuilderPlan) -> None:  # noqa: ARG001 - as for the other drivers
    """See that a cluster is named and answers: buildx asks one that does not four times, for 10 seconds each.

    Certificates and rights are left to buildx, which says at once what is wrong with them. Raises ServiceUnreachable.
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


def prepared(plan: BuilderPlan, run_id: str) -> BuilderPlan:
    """With its time as buildx's own, and the run's id as a label of deployment and pods (since buildx 0.12)."""
    labels = ",".join(filter(None, (plan.options.get("labels"), run_id and f"{LABEL}={run_id}")))
    options = {"timeout": f"{plan.timeout:g}s", **plan.options, **({"labels": labels} if labels else {})}
    return plan.model_copy(update={"options": options})


def remove_leftovers(prefix: str, *, late: bool = False) -> None:  # noqa: ARG001 - an API server finishes or drops a request
    """Remove the deployments of runs' builders whose names begin so: `buildx rm --force` forgets a builder even where
    the cluster does not answer it.
    """
    with contextlib.suppress(BaseforgeError):
        _cluster()
        for item in _get("deployments,statefulsets", "--all-namespaces", f"--selector={LABEL}"):
            if item["metadata"]["name"].startswith(prefix.replace("_", "-")):
                kind, space = item["kind"].lower(), item["metadata"]["namespace"]
                names = [f"{kind}/{item['metadata']['name']}", *_configurations(item)]
                _kubectl("delete", *names, f"--namespace={space}", "--ignore-not-found", "--wait=false")


def explain(name: str, plan: BuilderPlan) -> str:
    """Why a builder's pods are not ready, in the cluster's words: an image that cannot be pulled, a policy, no room.

    Empty where the cluster does not say, or there is no kubectl to ask it.
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


def _sentence(said: dict[str, Any]) -> str:
    return ": ".join(filter(None, (said.get("reason"), said.get("message"))))


def _configurations(item: dict[str, Any]) -> Iterator[str]:
    for volume in item["spec"]["template"]["spec"].get("volumes", []):
        if "configMap" in volume:
            yield f"configmap/{volume['configMap']['name']}"


def _cluster() -> dict[str, Any]:
    """The cluster of the current context; nothing where we run in a pod, whose cluster buildx finds.

    KUBECONFIG as buildx takes it: one file, not a list, and by its whole path, for it is kept and read from elsewhere.
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
