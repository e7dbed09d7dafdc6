"""Errors of the container engine, of buildx and of builders."""

from __future__ import annotations

from collections.abc import Iterable

from rootfs.errors import BuildError, InputError, MachineError, NetworkFailure, nearest


class ContextMissing(InputError):
    """The docker context in force is not there, or not one for an engine."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(
            f"the docker context {name!r} cannot be used: {reason}",
            hint="`docker context ls` lists them, `docker context use NAME` selects one; DOCKER_CONTEXT comes first.",
        )


class EngineUnreachable(MachineError):
    """No container engine answers."""

    def __init__(self, endpoint: str, reason: str) -> None:
        super().__init__(
            f"the container engine does not answer: {reason}",
            where=endpoint,
            hint="Start it, or choose another by `docker context use` or DOCKER_HOST; `./baseforge doctor` says more.",
        )


class EngineForbidden(MachineError):
    """The container engine's socket is not open to this user."""

    def __init__(self, endpoint: str) -> None:
        super().__init__(
            "this user may not use the container engine",
            where=endpoint,
            hint="Run with sudo, or have `sudo usermod --append --groups docker $USER` run, and log in again.",
        )


class EngineLost(MachineError):
    """The container engine answered before, and stopped doing so in the middle of something."""

    def __init__(self, endpoint: str, doing: str, reason: str) -> None:
        super().__init__(
            f"the container engine broke off while {doing}: {reason}",
            where=endpoint,
            hint="See the engine's own log for why, start it again, then build again.",
        )


class EngineRefused(BuildError):
    """The container engine said no."""

    def __init__(self, endpoint: str, doing: str, reason: str) -> None:
        super().__init__(
            f"the container engine refused {doing}: {reason}",
            where=endpoint,
            hint="Its disk is full: `docker system df` shows what takes the space, `docker info` which folder it is in."
            if "no space left on device" in reason
            else "See the engine's own log; `./baseforge doctor` says which engine this is.",
        )


class DigestMismatch(BuildError):
    """What came back from a builder is not what went in."""

    def __init__(self, builder: str, expected: str, found: str) -> None:
        super().__init__(
            f"the builder {builder!r} changed the image: {expected} went in, {found} came back",
            hint="It was not kept. Use another builder, and find out what this one does to images.",
        )


class DockerfileFailed(BuildError):
    """A builder could not do what a Dockerfile says; `output` is BuildKit's own excerpt."""

    def __init__(self, where: str, reason: str, output: str) -> None:
        super().__init__(reason, where=where, output=output, hint="The build's log has all that the builder printed.")


class DockerfileOffline(InputError):
    """A Dockerfile wants something from the network, and its recipe says that it needs none."""

    def __init__(self, where: str, source: str, output: str) -> None:
        super().__init__(
            f"{source} would be fetched, and this build has no network",
            where=where,
            output=output,
            hint="Name a recipe in `contexts`, or keep the file in the recipe's folder; else say `network: default`.",
        )


class DockerfileUnfit(InputError):
    """A Dockerfile says what an image of ours cannot hold, or what the chosen builder cannot do."""

    def __init__(self, image: str, message: str, hint: str) -> None:
        super().__init__(f"{image}: {message}", hint=hint)


class SecretUnknown(MachineError):
    """A recipe names a secret, or an SSH key, that the site does not have."""

    def __init__(self, image: str, setting: str, name: str, reason: str) -> None:
        super().__init__(
            f"{image} needs {name!r} of the setting `{setting}`: {reason}",
            hint=f"Say in baseforge.toml where it is: [{setting}], {name} = PATH; never in a recipe.",
        )


class SecretLeaked(BuildError):
    """A secret is in what a build has made, which is therefore thrown away."""

    def __init__(self, image: str, name: str, place: str) -> None:
        super().__init__(
            f"{image}: the secret {name!r} is in {place}",
            hint="Use it inside the RUN that mounts it, and write nothing of it; then make the secret a new one.",
        )


class BuildxMissing(MachineError):
    """The docker command has no buildx."""

    def __init__(self) -> None:
        super().__init__(
            "the docker command has no buildx, which all drivers but `docker` need",
            hint="Install docker-buildx (or docker-buildx-plugin), or put it into ~/.docker/cli-plugins.",
        )


class BuildxTooOld(MachineError):
    """buildx lacks an option."""

    def __init__(self, command: str, option: str) -> None:
        super().__init__(
            f"this buildx does not know {option} yet",
            where=f"docker buildx {command}",
            hint="Install a newer docker-buildx (docker-buildx-plugin), or put one into ~/.docker/cli-plugins.",
        )


class BuildxFailed(BuildError):
    """A buildx command failed, or took too long."""

    def __init__(self, command: str, reason: str) -> None:
        super().__init__(reason.strip() or "it failed without a word", where=f"docker buildx {command}")


class UnknownBuilder(InputError):
    """There is no builder of this name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        hint = nearest(name, known) or f"There are {', '.join(known)}."
        super().__init__(f"there is no builder {name!r}", hint=f"{hint} `baseforge builder list` shows them all.")


class BuilderFailed(BuildError):
    """A builder, or buildx for it, did not do what it was asked for."""

    def __init__(self, name: str, driver: str, doing: str, reason: str) -> None:
        super().__init__(
            f"{doing} failed: {reason}",
            where=f"builder {name} ({driver})",
            hint="The build's log has all that buildx and the builder printed.",
        )


class BuilderUnreachable(NetworkFailure, MachineError):
    """A remote builder does not answer, or one side does not accept the other's certificate."""

    def __init__(self, endpoint: str, reason: str) -> None:
        super().__init__(
            f"the builder does not answer as it should: {reason}",
            where=endpoint,
            hint="Check the address, that buildkitd runs there, and the certificates: authority, dates, host name.",
        )


class ClusterUnreachable(NetworkFailure, MachineError):
    """There is no Kubernetes cluster for a builder: none is named, or it does not answer."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(
            f"there is no Kubernetes cluster to be reached: {reason}",
            where=where,
            hint="Name it in ~/.kube/config or by KUBECONFIG, and check the network, as with `kubectl cluster-info`.",
        )


class BuilderRefused(InputError):
    """buildx does not make a builder as it is described: an unknown option, a wrong value."""

    def __init__(self, name: str, driver: str, reason: str) -> None:
        super().__init__(
            f"it cannot be created: {reason}",
            where=f"builder {name} ({driver})",
            hint="Correct its description: `driver`, `options`, `endpoint`, `config`, `flags`, `platforms`.",
        )


class BuilderDiffers(InputError):
    """A persistent builder is there, but is not what the site or the recipe says."""

    def __init__(self, name: str) -> None:
        super().__init__(
            "it is there, with another driver, address or other options than are asked for",
            where=f"builder {name}",
            hint=f"After `baseforge builder rm {name}` a build makes it anew; `baseforge builder inspect` shows it.",
        )


class OtherContext(InputError):
    """A builder is the engine of another docker context than the current one."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the builder {name!r} is the engine of another docker context",
            hint=f"Select that first: `docker context use {name}`, or DOCKER_CONTEXT={name}.",
        )


class BuilderTooOld(MachineError):
    """A builder's BuildKit lacks what an import needs."""

    def __init__(self, name: str, driver: str, version: str, oldest: str) -> None:
        super().__init__(
            f"its BuildKit is {version}; {oldest} is the oldest that will do",
            where=f"builder {name} ({driver})",
            hint="Give it a newer image (driver option `image`), or update the daemon.",
        )


class InvalidBuilder(InputError):
    """What the command line says of a builder cannot be; nothing was created or changed."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint=hint or "`baseforge builder create --help` says what can be given.")


class EngineItself(InputError):
    """A builder that comes with a docker context can be neither created nor removed; nothing was done."""

    def __init__(self, name: str, doing: str) -> None:
        super().__init__(
            f"the builder {name!r} is the engine of a docker context itself: it cannot be {doing}",
            hint="Its context brings it along and takes it away: see `docker context ls`.",
        )


class BuilderAsleep(BuildError):
    """Only a builder that runs can be asked for its cache."""

    def __init__(self, name: str, status: str) -> None:
        super().__init__(
            f"it does not run: its status is {status or 'unknown'}",
            where=f"builder {name}",
            hint=f"`baseforge builder inspect --bootstrap {name}` starts it.",
        )


class BuilderNotStarted(BuildError):
    """A builder that was to be started does not come up."""

    def __init__(self, name: str, reason: str, hint: str) -> None:
        super().__init__(f"it does not start: {reason.strip()}", where=f"builder {name}", hint=hint)


class BuilderFailing(BuildError):
    """A builder cannot be removed with all that it has; nothing was removed."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(
            f"it was not removed: what it runs on does not answer ({reason})",
            where=f"builder {name}",
            hint="`--force` forgets it all the same; its container and its cache stay where they are, then.",
        )
