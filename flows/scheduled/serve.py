"""`baseforge serve`: the nightly schedule, and flows that a person can start from Prefect's pages or command line."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

from prefect.exceptions import TerminationSignal
from prefect.runner import Runner

from flows.config.paths import SERVED, data_folder, make_data_folder, server_folder
from flows.config.settings import Settings
from flows.night.metrics_server import serving_metrics
from flows.night.notify import check_receivers
from flows.orchestration import health, listener, local_server
from flows.orchestration.errors import not_a_prefect_server, server_ended, services_failing
from flows.runtime.context import store_of
from flows.runtime.progress import Progress
from flows.scheduled.deployments import deployments
from flows.scheduled.freshness import freshness
from rootfs.errors import MachineError
from rootfs.mask import masked
from rootfs.recipe.recipe import image_names
from rootfs.system import locks, private


def run(settings: Settings, address: str) -> None:
    """Serve until interrupted; one flow run at a time, as a build uses the whole machine, and the alarm beside it.

    With `metrics_port` it also shows figures. Raises InputError for receivers of messages that cannot be used, and
    MachineError if another process serves from this data folder, as two would take each other's runs; if the server's
    services do not work, as no night would ever happen; and if the local server ends, as another program may listen
    where it was.
    """
    check_receivers(settings)
    make_data_folder()
    private.make_private_folder(server_folder())
    with locks.try_locked(server_folder() / "serve.lock") as alone:
        if not alone:
            raise MachineError(
                "`baseforge serve` is running already",
                where=str(data_folder()),
                hint="End that one first, or give this one a data folder of its own: BASEFORGE_HOME.",
            )
        with serving_metrics(settings, store_of(settings)) as figures:
            if figures:
                Progress().say(f"figures: {figures}")
            _run(settings, address)


def _run(settings: Settings, address: str) -> None:
    order = command("prefect", "deployment", "run", "build/build", "--param", f"image={_image(settings)}")
    os.environ[SERVED] = str(Path.cwd())  # where flow runs find settings and recipes
    os.chdir(server_folder())  # flow runs are started here: Prefect takes settings from the working folder
    known = local_server.running()
    local = known if known and known.address == address else None
    with local_server.watched(local) if local else contextlib.nullcontext() as watched:
        try:
            problem = _until_failing(settings, address, order, watched)
        except (KeyboardInterrupt, TerminationSignal):
            return
        except Exception:
            if local is None or local.lives():
                raise
            raise server_ended(address, local_server.log_end()) from None
    if local and not local.lives():
        raise server_ended(address, local_server.log_end())
    if problem:
        raise services_failing(problem, local_server.log_end() if local else (), address)


def _until_failing(settings: Settings, address: str, order: str, watched: local_server.Watched | None) -> str:
    """Serve, and show a person how to use it; `watched` is the local server. Returns what is wrong."""
    show = Progress().say
    runner, alarms = _runner(), _runner()
    try:
        for deployment in deployments(settings):
            (alarms if deployment.name == freshness.name else runner).add_deployment(deployment)
    except (AttributeError, KeyError, TypeError, ValueError) as error:  # of Prefect's client, which trusts answers
        raise not_a_prefect_server(address, "its answer is not one of Prefect's API") from error
    show(f"pages: {masked(address).removesuffix('/api')}")
    if watched:
        show(f"their login: {command('page')}")
        show(f"by hand: {order}")
    else:
        show(f"by hand: PREFECT_API_URL={shlex.quote(masked(address))} {order}")
    found = asyncio.run(health.until_scheduled())
    if found.problem:
        return found.problem
    due = "".join(f", next at {date:%Y-%m-%d %H:%M %Z}" for name, date in found.due if name == "nightly")
    show(f"nightly: {settings.nightly_cron} ({settings.timezone}){due}")
    if settings.watch_cron:
        show(f"watch: {settings.watch_cron} ({settings.timezone})")
    return asyncio.run(_serve(runner, alarms, watched))


def _runner() -> Runner:
    """Prefect's runner with its files in the data folder: by itself it uses one name in /tmp for all users."""
    make_data_folder()
    before, tempfile.tempdir = tempfile.tempdir, str(server_folder())
    try:
        return Runner(pause_on_shutdown=False, limit=1)
    finally:
        tempfile.tempdir = before


async def _serve(runner: Runner, alarms: Runner, watched: local_server.Watched | None) -> str:
    """Run what is due until the server's services fail, or its process or a runner ends; returns what is wrong.

    A night that hangs must not keep back the alarm that no night ends, so `alarms` is a runner of its own. It begins
    first: the runner that begins last handles SIGTERM.
    """
    serving = asyncio.gather(alarms.start(), runner.start())
    watching = asyncio.create_task(health.until_failing(runner.has_slots_available))
    ending = asyncio.create_task(_end_of(watched))
    tasks: set[asyncio.Future[Any]] = {serving, watching, ending}
    ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks - ended:
        task.cancel()
    await asyncio.wait(tasks)
    if serving in ended:
        serving.result()
    return watching.result() if watching in ended else ""


async def _end_of(watched: local_server.Watched | None) -> None:
    """Wait until the process of the local server has ended; without one for ever."""
    ended = asyncio.Event()
    if watched is None:
        await ended.wait()
        return
    loop = asyncio.get_running_loop()
    loop.add_reader(watched.process, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(watched.process)
    if watched.listener:
        listener.refuse(watched.listener)


def command(*words: str) -> str:
    """A `baseforge` command line for the user's shell, which works in any folder."""
    home = ""
    if {"BASEFORGE_HOME", "XDG_DATA_HOME"} & os.environ.keys():
        home = f"BASEFORGE_HOME={shlex.quote(str(data_folder()))} "
    return home + shlex.join([str(Path(sys.executable).with_name("baseforge")), *words])


def _image(settings: Settings) -> str:
    """The name of an image that can be built: the first of the recipes."""
    return next(iter(image_names(*settings.recipes)), "IMAGE")
