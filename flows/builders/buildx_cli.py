"""The one way to call buildx: each call has an end, prints to a log and leaves no process behind.

It is called itself, through rootfs/process/run.py: the libraries for it know neither a time limit nor a log.
"""

from __future__ import annotations

import csv
import io
import os
import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from flows.builders.errors import BuildxFailed, BuildxMissing, BuildxTooOld
from rootfs.process.errors import ProgramFailed, ProgramMissing, ProgramTimedOut
from rootfs.process.run import Log, proxies, run
from rootfs.recipe.builder import BuilderPlan

QUICK = 60.0  # seconds for what only reads and writes buildx's own files, or removes what an engine has

UNKNOWN = re.compile(r"^unknown flag: (\S+)$", re.MULTILINE)  # how buildx refuses an option it does not have

# What says which engine or cluster buildx speaks to, and where it keeps its builders. BUILDX_BUILDER is not among them:
# which builder is meant is said with every call.
CHOICES = (
    *("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY", "DOCKER_API_VERSION"),
    *("BUILDX_CONFIG", "KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "SSH_AUTH_SOCK"),
)


def plain(platform: str) -> list[str]:
    """Words for `buildx build` that make an image for a platform with nothing beside it, and log it by lines."""
    return ["--provenance=false", "--sbom=false", "--progress=plain", f"--platform={platform}"]


def buildx(
    *words: str,
    wait: float = QUICK,
    log: Log | None = None,
    cwd: Path | None = None,
    more: Mapping[str, str] | None = None,
) -> str:
    """Call `docker buildx` and return what it printed; with a `log`, its standard error too, line by line.

    `more` are further variables of its environment. Raises BuildxMissing where the docker command has no buildx,
    BuildxTooOld where that lacks an option, and BuildxFailed with buildx's own reason, also when it has not ended after
    `wait` seconds.
    """
    try:
        done = run(["docker", "buildx", *words], env={**_environment(), **(more or {})}, cwd=cwd, timeout=wait, log=log)
    except ProgramMissing as error:
        raise BuildxMissing from error
    except ProgramFailed as error:
        if not available():
            raise BuildxMissing from error
        if unknown := UNKNOWN.search(error.output):
            raise BuildxTooOld(words[0], unknown[1]) from error
        raise BuildxFailed(words[0], _reason(error.output)) from error
    except ProgramTimedOut as error:
        raise BuildxFailed(words[0], f"it took more than {wait:g} s") from error
    return done.stderr if log else done.stdout


def available() -> bool:
    """Whether the docker command is there and has buildx."""
    try:
        return run(["docker", "buildx", "version"], env=_environment(), check=False, timeout=QUICK).status == 0
    except ProgramMissing:
        return False


def described(plan: BuilderPlan) -> list[str]:
    """Words for `buildx create` that say all of a builder but its name."""
    words = ["--driver", plan.driver, *driver_options(plan.options)]
    words += ["--buildkitd-flags", shlex.join(plan.flags)] if plan.flags else []
    words += ["--buildkitd-config", plan.config] if plan.config else []
    words += ["--platform", ",".join(plan.platforms)] if plan.platforms else []
    return words + (["--", plan.endpoint] if plan.endpoint else [])


def driver_options(options: Mapping[str, str]) -> list[str]:
    """Words for `buildx create`, which reads each option as a line of CSV."""
    return [word for key, value in options.items() for word in ("--driver-opt", quoted(f"{key}={value}"))]


def quoted(*fields: str) -> str:
    """The fields as one line of CSV, which is how buildx takes options of several parts."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields)
    return line.getvalue()


def _reason(output: str) -> str:
    """What buildx gives as its reason: its last `ERROR:` line, else all that it printed."""
    reasons = [line.removeprefix("ERROR: ") for line in output.splitlines() if line.startswith("ERROR: ")]
    return reasons[-1] if reasons else output


def _environment() -> dict[str, str]:
    return {**proxies(), **{name: os.environ[name] for name in CHOICES if name in os.environ}}
