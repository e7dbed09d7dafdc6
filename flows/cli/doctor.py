"""What this machine has and lacks for building, with a hint for each problem."""

from __future__ import annotations

import asyncio
import errno
import getpass
import os
import platform
import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from flows.builders.buildx_cli import buildx
from flows.builders.engine import connect
from flows.builders.errors import BRING_BUILDX
from flows.builders.select import select_builder
from flows.cli.json_output import Finding
from flows.config.paths import data_folder
from flows.config.settings import Settings
from flows.night.freshness import read_states, stale_alarms, support_alarms
from flows.night.notify import COUNTED, last_problems, unusable_receivers
from flows.orchestration import local_server
from flows.runtime.context import store_of
from flows.store.folder import FolderStore
from flows.store.open import open_store
from rootfs.apt import credentials
from rootfs.apt.sources import Site, known_suites
from rootfs.apt.support import data_date
from rootfs.bootstrap.bootstrapper import is_root
from rootfs.errors import BaseforgeError
from rootfs.mask import masked
from rootfs.process import host
from rootfs.process.cgroup import control_group
from rootfs.process.host import native_architecture, package_versions
from rootfs.process.run import run
from rootfs.process.sandbox import Limits, for_commands, for_trees
from rootfs.system.platforms import PLATFORMS, platform_name
from rootfs.system.private import user_name

SCRIPTS = Path("/usr/share/debootstrap/scripts")
STATUS = Path("/proc/self/status")
MEMORY = Path("/proc/meminfo")
SUBUIDS = Path("/etc/subuid")

CAP_SYS_ADMIN = 21  # capabilities(7): may mount
YEAR = 366  # days that the data about the end of support may be old
DISK = 2 << 30  # bytes: a tree, its layer and its tar, with some to spare
MEMORY_NEEDED = 512 << 20  # bytes: apt's and the compressor's, two builds at once

SETUP = "sudo ./baseforge setup"

# Debian packages: what each is for, and whether every build needs it.
PACKAGES = {
    "apt": ("every image of packages", True),
    "mmdebstrap": ("every image of packages", True),
    "bubblewrap": ("running a recipe's commands and scripts in a sandbox", True),
    "gpgv": ("checking the archives' signatures", True),
    "distro-info-data": ("the names of the suites", True),
    "debootstrap": ("recipes with `engine: debootstrap`", False),
    "skopeo": ("pushing to a registry", False),
    "gcc": ("recipes that compile C, as hello does", False),
    "libc6-dev": ("recipes that compile C, as hello does", False),
}


def report(settings: Settings) -> list[Finding]:
    """Look at everything that builds need with these settings. Never raises."""
    return [
        _python(),
        Finding("Prefect", version("prefect"), True, True, ""),
        _server(),
        _engine(),
        _buildx(),
        _builder(settings),
        *(_package(name, use, needed) for name, (use, needed) in PACKAGES.items()),
        *_distributions(settings.site),
        _credentials(settings.site),
        _scripts(),
        _rights(),
        _emulation(),
        _namespaces(),
        _sandbox(settings.limits),
        _data(),
        _store(settings),
        _notifications(settings),
        *_images(settings),
        _support_data(),
        _disk(settings.work),
        _memory(),
    ]


def _python() -> Finding:
    return Finding("Python", f"{platform.python_version()} ({platform.machine()})", True, True, "")


def _server() -> Finding:
    """The Prefect server that nights depend on: whether it runs, and whether its services do their work."""
    try:
        local = None if "PREFECT_API_URL" in os.environ else local_server.running()
        if local:
            os.environ |= local.environment()  # before Prefect is imported
    except BaseforgeError as problem:
        return Finding("Prefect server", _sentence(problem), False, True, problem.hint)
    if not local and "PREFECT_API_URL" not in os.environ:
        return Finding("Prefect server", "not running; what needs it starts it", True, False, "")
    local_server.import_prefect()
    from flows.orchestration import health

    with local_server.settings_of(address := os.environ["PREFECT_API_URL"]):
        state = asyncio.run(health.look())
    facts = [masked(address), state.problem or f"{state.scheduled} runs scheduled"]
    if state.late:
        facts.append(f"{state.late} runs late: `baseforge serve` begins what is due")
    if local and (errors := local_server.log_errors()):
        facts.append(f"{errors} errors in {local_server.log_file()}, which ends with: {local_server.log_end(1)[0]}")
    hint = "No night happens like this: `baseforge stop`, and `baseforge serve` starts it anew."
    return Finding("Prefect server", ", ".join(facts), not state.problem, bool(state.problem), hint)


def _engine() -> Finding:
    try:
        with connect() as engine:
            images = "containerd's image store" if engine.containerd else "classic image store"
            return Finding("Docker engine", f"{engine.version} at {engine.endpoint}, {images}", True, True, "")
    except BaseforgeError as problem:
        hint = f"{SETUP} starts this machine's; DOCKER_HOST or `docker context use` names another."
        if os.strerror(errno.EACCES) in problem.message:
            hint = f"sudo usermod --append --groups docker {_user()} && newgrp docker"
        return Finding("Docker engine", _sentence(problem), False, True, hint)


def _buildx() -> Finding:
    try:
        words = buildx("version").split()
    except BaseforgeError as problem:
        return Finding("buildx", problem.message, False, False, BRING_BUILDX)
    return Finding("buildx", words[1] if len(words) > 1 else "there", True, False, "")


def _builder(settings: Settings) -> Finding:
    """The builder that is used if neither the command line nor the recipe names one."""
    try:
        chosen = select_builder("", None, settings)
    except BaseforgeError as problem:
        hint = problem.hint or "`baseforge builder list` shows all builders and what is wrong with them."
        return Finding("builder", _sentence(problem), False, True, hint)
    kind = f"{chosen.driver}, {chosen.plan.lifecycle}"
    return Finding("builder", f"{chosen.title} ({kind}): {chosen.why}", True, True, "")


def _sentence(problem: BaseforgeError) -> str:
    return f"{problem.where}: {problem.message}" if problem.where else problem.message


def _package(name: str, use: str, needed: bool) -> Finding:
    try:
        return Finding(name, package_versions((name,))[name], True, needed, "")
    except BaseforgeError:
        return Finding(name, "not installed", False, needed, f"For {use}: {SETUP}")


def _distributions(site: Site) -> Iterator[Finding]:
    """A distribution's keyring, and which of its suites are known by name."""
    for name in ("debian", "ubuntu"):
        known = [suite for suite in known_suites(name) if suite not in ("sid", "experimental")]
        found = f"{len(known)} known, the newest {known[-1]}" if known else "none known"
        yield Finding(f"{name} suites", found, bool(known), False, f"Their names are in distro-info-data: {SETUP}")
        try:
            yield Finding(f"{name} keyring", str(site.keyring(name)), True, False, "")
        except BaseforgeError as problem:
            yield Finding(f"{name} keyring", problem.message, False, False, f"For {name}'s suites: {SETUP}")


def _credentials(site: Site) -> Finding:
    """The number of machines that there are credentials for, as archives may require them."""
    try:
        known = {entry.host for entry in site.transfers().credentials.entries}
    except BaseforgeError as problem:
        return Finding("credentials", _sentence(problem), False, True, problem.hint)
    closed = "".join(f"; {file} is not for us" for file in credentials.unreadable_files())
    return Finding("credentials", f"for {len(known)} hosts of archives{closed}", True, False, "")


def _scripts() -> Finding:
    """Whether debootstrap knows the suites of the shelf: Debian 12's own does not know noble."""
    lacking = [suite for suite in ("noble", "trixie") if not (SCRIPTS / suite).exists()]
    found = f"without {', '.join(lacking)}" if lacking else "noble, trixie and older"
    hint = f"`engine: mmdebstrap` needs no script; on Debian {SETUP} brings a newer debootstrap."
    return Finding("debootstrap scripts", found, not lacking, False, hint)


def _rights() -> Finding:
    """Root must be able to mount; an ordinary user gets that in a user namespace."""
    if not is_root():
        hint = "Only `engine: debootstrap` needs root: run with sudo for it."
        return Finding("root", f"no, {_user()} (uid {os.geteuid()})", False, False, hint)
    capabilities = re.search(r"^CapEff:\s*([0-9a-f]+)$", STATUS.read_text(), re.MULTILINE)
    if capabilities and int(capabilities[1], 16) >> CAP_SYS_ADMIN & 1:
        return Finding("root", "yes, with CAP_SYS_ADMIN", True, True, "")
    hint = "Builds mount: give this container CAP_SYS_ADMIN, or run as an ordinary user with user namespaces."
    return Finding("root", "yes, but without CAP_SYS_ADMIN", False, True, hint)


def _namespaces() -> Finding:
    """Try the namespaces that contain a build. An ordinary user also needs subordinate ids (subuid(5))."""
    try:
        run(["true"], contained="with owners" if _has_subuids() else True, timeout=10)
    except BaseforgeError as problem:
        hint = "Run with sudo, or allow them (sysctl user.max_user_namespaces and kernel.*unprivileged_userns*)."
        return Finding("namespaces", " ".join((problem.output or problem.message).split()), False, True, hint)
    if is_root() or _has_subuids():
        return Finding("namespaces", "mounts and processes of a build are its own", True, True, "")
    ids = f"sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {_user()}"
    return Finding("namespaces", "no subordinate ids, or no newuidmap", False, True, f"{SETUP} && {ids}")


def _sandbox(limits: Limits) -> Finding:
    """Try to run a command in the sandbox of recipes' commands and scripts, and report how its limits hold."""
    owners = is_root() or _has_subuids()
    try:
        with TemporaryDirectory(prefix="baseforge-") as folder:
            view = for_trees(Path(folder), limits) if owners else for_commands(Path(folder), limits)
            run(["true"], contained=view, timeout=10)
    except BaseforgeError as problem:
        hint = f"{SETUP} installs bubblewrap, which needs the namespaces above and a /proc that nothing covers."
        return Finding("sandbox", " ".join((problem.output or problem.message).split()), False, True, hint)
    with control_group(limits.memory, limits.processes) as limited:
        how = "together, by a control group" if limited else "each: no control group can be made here"
    found = f"{_size(limits.memory)} of memory and {limits.processes} processes {how}; {limits.seconds:g} s"
    hint = "Limits hold for each process alone: build as root, or in a delegated control group, to limit all together."
    return Finding("sandbox", found, limited is not None, False, hint)


def _emulation() -> Finding:
    """Which other machines' programs run here, as recipes with `platforms` of packages need it."""
    own = native_architecture()
    found = [platform_name(each) for each in PLATFORMS if each != own and host.can_run(each)]
    hint = f"For recipes with `platforms` whose scripts or smoke checks have to run: {SETUP} --emulation"
    return Finding("other platforms", ", ".join(found) or "none run here", "linux/arm64" in found, False, hint)


def _user() -> str:
    """Our name, or the number of one without a name, as in many a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.geteuid())


def _has_subuids() -> bool:
    owners = {line.split(":")[0] for line in SUBUIDS.read_text().splitlines()} if SUBUIDS.exists() else set()
    return bool(owners & {_user(), str(os.geteuid())}) and shutil.which("newuidmap") is not None


def _data() -> Finding:
    """Whether the data folder is this user's, as builds require."""
    folder = data_folder()
    try:
        owner = folder.stat().st_uid
    except OSError:  # a build makes it
        owner = os.geteuid()
    if owner == os.geteuid():
        return Finding("data folder", str(folder), True, True, "")
    hint = "With sudo: sudo -H. Or name another: BASEFORGE_HOME."
    return Finding("data folder", f"{folder} belongs to {user_name(owner)}", False, True, hint)


def _store(settings: Settings) -> Finding:
    """Whether builds accept the folder of the store. A store in S3 is not asked."""
    try:
        store = open_store(
            settings.store,
            endpoint=settings.s3_endpoint or None,
            region=settings.s3_region or None,
            authorities=settings.authorities,
        )
        if isinstance(store, FolderStore):
            store.list_folders("images")
    except BaseforgeError as problem:
        return Finding("store", _sentence(problem), False, True, problem.hint)
    return Finding("store", settings.store, True, True, "")


def _notifications(settings: Settings) -> Finding:
    """Whether messages about nights can be sent, and whether the last one was. A store in S3 is not asked."""
    try:
        if not (receivers := settings.receivers):
            return Finding("notifications", "nobody is told of nights: no `notify`", True, False, "")
        problems = unusable_receivers(settings)
        if not problems and "://" not in settings.store:
            problems = last_problems(store_of(settings))
    except BaseforgeError as problem:
        return Finding("notifications", _sentence(problem), False, True, problem.hint)
    found = "; ".join(problems) or f"{len(receivers)} receivers"
    return Finding("notifications", found, not problems, bool(problems), COUNTED)


def _images(settings: Settings) -> Iterator[Finding]:
    """Whether the images in the store are fresh and their distributions supported. A store in S3 is asked, too."""
    try:
        states = read_states(store_of(settings), settings.fresh_within)
    except BaseforgeError as problem:
        yield Finding("freshness", _sentence(problem), False, False, problem.hint)
        return
    stale, support = stale_alarms(states), support_alarms(states)
    hint = "`baseforge list --stale` shows them. Does `baseforge serve` or a timer run the nights? `baseforge nightly`"
    count = sum(state.freshness is not None for state in states)
    found = "; ".join(stale) or f"{count} images, none stale"
    yield Finding("freshness", found, not stale, False, f"{hint} runs one now.")
    hint = "Build on a newer release, or acknowledge it in the recipe: `support: lts`, `elts` or `esm`."
    yield Finding("end of support", "; ".join(support) or "no image is near it", not support, False, hint)


def _support_data() -> Finding:
    """Whether the data about the end of support are new enough."""
    known = data_date()
    age = (datetime.now(UTC).date() - known).days
    hint = "apt-get install --only-upgrade distro-info-data, or a newer Baseforge: dates of support may have changed."
    return Finding("support dates", f"of {known}, {age} days old", age <= YEAR, False, hint)


def _disk(work: Path) -> Finding:
    if not work.is_dir():
        hint = "Make it, or name another: `work` in baseforge.toml (BASEFORGE_WORK)."
        return Finding("work folder", f"there is no folder {work}", False, True, hint)
    free = shutil.disk_usage(work).free
    hint = "Free some, or set `work` in baseforge.toml (BASEFORGE_WORK) to a folder with more."
    return Finding("work folder", f"{_size(free)} free in {work}", free >= DISK, False, hint)


def _memory() -> Finding:
    line = re.search(r"^MemAvailable:\s*(\d+) kB$", MEMORY.read_text(), re.MULTILINE)
    free = int(line[1]) << 10 if line else 0
    return Finding(
        "memory", f"{_size(free)} available", free >= MEMORY_NEEDED, False, "Builds may be killed: free some."
    )


def _size(number: int) -> str:
    return f"{number / (1 << 30):.1f} GiB"
