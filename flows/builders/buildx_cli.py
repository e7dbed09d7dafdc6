"""Call buildx: with a time limit, a log, and no process left behind.

This calls the program through rootfs/process/run.py, as the libraries for it have no time limits and no log.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from flows.builders.errors import BuildxFailed, BuildxMissing, BuildxTooOld, builders_not_writable
from rootfs.process.errors import ProgramFailed, ProgramMissing, ProgramTimedOut
from rootfs.process.run import Log, proxies, run
from rootfs.recipe.builder import BuilderPlan
from rootfs.system.locks import locked

QUICK = 60.0  # seconds for calls that only use buildx's own files, or remove something from an engine
LONGEST_NAME = 200  # characters of a builder's name in the name of its lock file

UNKNOWN = re.compile(r"^unknown flag: (\S+)$", re.MULTILINE)  # buildx's message for an option that it does not have

# Variables that say which engine or cluster buildx uses, and where it keeps its builders. BUILDX_BUILDER is not among
# them: every call names its builder.
CHOICES = (
    *("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY", "DOCKER_API_VERSION"),
    *("BUILDX_CONFIG", "KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "SSH_AUTH_SOCK"),
)


def plain(platform: str) -> list[str]:
    """Options of `buildx build` for an image without attestations, and with a plain log."""
    return ["--provenance=false", "--sbom=false", "--progress=plain", f"--platform={platform}"]


def buildx(
    *words: str,
    wait: float = QUICK,
    log: Log | None = None,
    cwd: Path | None = None,
    more: Mapping[str, str] | None = None,
) -> str:
    """Call `docker buildx` and return its output. `log` gets the lines of its standard error.

    `more` has further environment variables. Raises BuildxMissing if the docker command has no buildx, BuildxTooOld if
    buildx lacks an option, and BuildxFailed with buildx's reason, also if it has not ended after `wait` seconds.
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


@contextlib.contextmanager
def builder_locked(name: str, wait: float = QUICK) -> Iterator[None]:
    """Lock a builder of this user for the block, so that nobody else creates, starts or removes it meanwhile.

    Of two calls of buildx that create or start one builder at once, one may fail. Raises LockHeld if the lock is not
    free within `wait` seconds, and MachineError.
    """
    file_name = f"baseforge-{quote(name, safe='')[:LONGEST_NAME]}.lock"  # the name may be any text of a user
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(_folder() / file_name, wait=wait))
        except OSError as error:
            raise builders_not_writable(_folder(), error.strerror or str(error)) from error
        yield


def _folder() -> Path:
    """Where buildx keeps this user's builders (docker/buildx, util/confutil/config.go)."""
    docker = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    return Path(os.environ.get("BUILDX_CONFIG") or docker / "buildx")


def available() -> bool:
    """Whether the docker command exists and has buildx."""
    try:
        return run(["docker", "buildx", "version"], env=_environment(), check=False, timeout=QUICK).status == 0
    except ProgramMissing:
        return False


def described(plan: BuilderPlan) -> list[str]:
    """The options of `buildx create` that describe a builder, except its name."""
    words = ["--driver", plan.driver, *driver_options(plan.options)]
    words += ["--buildkitd-flags", shlex.join(plan.flags)] if plan.flags else []
    words += ["--buildkitd-config", plan.config] if plan.config else []
    words += ["--platform", ",".join(plan.platforms)] if plan.platforms else []
    return words + (["--", plan.endpoint] if plan.endpoint else [])


def driver_options(options: Mapping[str, str]) -> list[str]:
    """The driver's options for `buildx create`, which reads each as a line of CSV."""
    return [word for key, value in options.items() for word in ("--driver-opt", quoted(f"{key}={value}"))]


def quoted(*fields: str) -> str:
    """The fields as one line of CSV: buildx reads options with several parts so."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields)
    return line.getvalue()


def _reason(output: str) -> str:
    """buildx's reason: its last `ERROR:` line, or else its whole output."""
    reasons = [line.removeprefix("ERROR: ") for line in output.splitlines() if line.startswith("ERROR: ")]
    return reasons[-1] if reasons else output


def _environment() -> dict[str, str]:
    return {**proxies(), **{name: os.environ[name] for name in CHOICES if name in os.environ}}
