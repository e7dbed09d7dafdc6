"""The commands for many machines: set up a shared Prefect server, and run a worker of its work pool."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.builders.engine import connect
from flows.cli.arguments import Recipes
from flows.config.paths import SERVED, server_folder
from flows.config.settings import Settings, load
from flows.config.site_folders import VARIABLE
from flows.orchestration import local_server
from rootfs.errors import InputError
from rootfs.process.run import replace_process

# So often a run tells the server that it is alive, the least that Prefect takes. One that is silent for three times as
# long counts as lost.
HEARTBEAT = timedelta(seconds=30)


def deploy(
    kind: Annotated[
        Literal["process", "docker", "kubernetes"], typer.Option(help="what the workers of the pool run builds in")
    ] = "process",
    image: Annotated[str, typer.Option(metavar="REFERENCE", help="the image that builds run in")] = "",
    recipes: Recipes = None,
) -> None:
    """Set up a shared Prefect server: the setting `work_pool`, the deployments on it, and their schedules."""
    settings = _shared(load(recipes))
    if (kind == "process") == bool(image):
        raise InputError(
            "builds of docker and kubernetes workers run in an image, those of process workers on the machine itself",
            hint="Say --image REFERENCE with --kind docker or --kind kubernetes, and only there.",
        )
    with local_server.connected(settings.server):
        from flows.scheduled.work_pool import deploy as make

        for name in make(settings, kind, image, HEARTBEAT):
            typer.echo(name)


def worker(
    limit: Annotated[int, typer.Option(min=1, help="how many builds this machine runs at once")] = 1,
    name: Annotated[str, typer.Option(metavar="NAME", help="the worker's name in Prefect's pages")] = "",
    recipes: Recipes = None,
) -> None:
    """Run a worker of the setting `work_pool`: it builds images here that a night elsewhere has planned."""
    settings = _shared(load(recipes))
    connect().close()  # a machine without an engine takes no runs that it can only fail
    if recipes:
        os.environ[VARIABLE] = os.pathsep.join(map(str, recipes))
    local_server.connect(settings.server, quiet=False)
    os.environ[SERVED] = str(Path.cwd())
    os.environ["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] = f"{HEARTBEAT.total_seconds():.0f}"
    os.chdir(server_folder())  # Prefect takes settings from its working folder: never from one of somebody else
    words = ["worker", "start", "--pool", settings.work_pool, "--type", "process", "--limit", str(limit)]
    words += ["--name", name] if name else []
    replace_process([sys.executable, "-P", "-m", "prefect", *words], os.environ)


def _shared(settings: Settings) -> Settings:
    """Check that there are a shared server and a work pool. Raises InputError."""
    if "PREFECT_API_URL" not in os.environ:
        raise InputError(
            "a work pool needs a Prefect server that all machines reach",
            hint="Set PREFECT_API_URL, and PREFECT_API_AUTH_STRING. On one machine `baseforge serve` is enough.",
        )
    if not settings.work_pool:
        raise InputError(
            "the setting `work_pool` names no work pool",
            hint='Name one in baseforge.toml, for example work_pool = "baseforge" (BASEFORGE_WORK_POOL).',
        )
    return settings
