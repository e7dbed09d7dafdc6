"""Errors of the container engine, of buildx and of builders."""

from __future__ import annotations

from collections.abc import Iterable

from rootfs.errors import BuildError, InputError, MachineError, ServiceUnreachable, nearest

BRING_BUILDX = (
    "`sudo ./baseforge setup --buildx` in a clone brings it; or put it into ~/.docker/cli-plugins as docker-buildx."
)


def context_unusable(name: str, reason: str) -> InputError:
    """The docker context in force is not there, or not one for an engine."""
    return InputError(
        f"the docker context {name!r} cannot be used: {reason}",
        hint="`docker context ls` lists them, `docker context use NAME` selects one; DOCKER_CONTEXT comes first.",
    )


def engine_unreachable(endpoint: str, reason: str) -> MachineError:
    """No container engine answers."""
    return MachineError(
        f"the container engine does not answer: {reason}",
        where=endpoint,
        hint="Start it, or choose another by `docker context use` or DOCKER_HOST; `./baseforge doctor` says more.",
    )


def engine_lost(endpoint: str, doing: str, reason: str) -> MachineError:
    """The container engine answered before, and stopped doing so in the middle of something."""
    return MachineError(
        f"the container engine broke off while {doing}: {reason}",
        where=endpoint,
        hint="See the engine's own log for why, start it again, then build again.",
    )


class EngineRefused(BuildError):
    """The container engine refused a request."""

    def __init__(self, endpoint: str, doing: str, reason: str) -> None:
        self.transient = "no space left on device" in reason
        super().__init__(
            f"the container engine refused {doing}: {reason}",
            where=endpoint,
            hint="Its disk is full: `docker system df` shows what takes the space, `docker info` which folder it is in."
            if self.transient
            else "See the engine's own log; `./baseforge doctor` says which engine this is.",
        )


def image_changed(builder: str, expected: str, found: str) -> BuildError:
    """The image that came back from a builder is not the one that was sent."""
    return BuildError(
        f"the builder {builder!r} changed the image: {expected} went in, {found} came back",
        hint="The image was discarded. Use another builder, and find out what this one does to images.",
    )


def dockerfile_unfit(image: str, message: str, hint: str) -> InputError:
    """A Dockerfile asks for what our images cannot hold, or for what the chosen builder cannot do."""
    return InputError(f"{image}: {message}", hint=hint)


def secret_missing(image: str, setting: str, name: str, reason: str) -> MachineError:
    """A recipe names a secret, or an SSH key, that the site does not have."""
    return MachineError(
        f"{image} needs {name!r} of the setting `{setting}`: {reason}",
        hint=f"Say in baseforge.toml where it is: [{setting}], {name} = PATH; never in a recipe.",
    )


class BuildxMissing(MachineError):
    """The docker command has no buildx."""

    def __init__(self) -> None:
        super().__init__(
            "the docker command has no buildx, which Dockerfiles and all builders but an engine's own need",
            hint=BRING_BUILDX,
        )


class BuildxTooOld(MachineError):
    """buildx lacks an option."""

    def __init__(self, command: str, option: str) -> None:
        super().__init__(
            f"this buildx does not know {option} yet",
            where=f"docker buildx {command}",
            hint="Put a newer one into ~/.docker/cli-plugins, or install it from where the docker command is from.",
        )


class BuildxFailed(BuildError):
    """A buildx command failed, or took too long."""

    def __init__(self, command: str, reason: str) -> None:
        super().__init__(reason.strip() or "it failed without a message", where=f"docker buildx {command}")


def builders_not_writable(folder: object, reason: str) -> MachineError:
    """The folder of buildx's builders cannot be written to."""
    return MachineError(
        f"buildx cannot keep builders here: {reason}",
        where=str(folder),
        hint="Make it writable for this user, or name another folder: BUILDX_CONFIG.",
    )


def unknown_builder(name: str, known: Iterable[str]) -> InputError:
    """There is no builder of this name."""
    known = sorted(known)
    hint = nearest(name, known) or f"There are {', '.join(known)}."
    return InputError(f"there is no builder {name!r}", hint=f"{hint} `baseforge builder list` shows them all.")


class BuilderFailed(BuildError):
    """A builder, or buildx for it, did not do what it was asked for."""

    transient = True

    def __init__(self, name: str, driver: str, doing: str, reason: str) -> None:
        super().__init__(
            f"{doing} failed: {reason}",
            where=f"builder {name} ({driver})",
            hint="The build's log has all that buildx and the builder printed.",
        )


def no_cluster(where: str, reason: str) -> ServiceUnreachable:
    """There is no Kubernetes cluster for a builder: none is named, or it does not answer."""
    return ServiceUnreachable(
        f"there is no Kubernetes cluster to be reached: {reason}",
        where=where,
        hint="Name it in ~/.kube/config or by KUBECONFIG, and check the network, as with `kubectl cluster-info`.",
    )


def cannot_create(name: str, driver: str, reason: str) -> InputError:
    """buildx does not make a builder as it is described: an unknown option, a wrong value."""
    return InputError(
        f"it cannot be created: {reason}",
        where=f"builder {name} ({driver})",
        hint="Correct its description: `driver`, `options`, `endpoint`, `config`, `flags`, `platforms`.",
    )


class OtherContext(InputError):
    """A builder is the engine of another docker context than the current one."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the builder {name!r} is the engine of another docker context",
            hint=f"Select that first: `docker context use {name}`, or DOCKER_CONTEXT={name}.",
        )


def invalid_builder(message: str, hint: str = "") -> InputError:
    """What the command line says of a builder cannot be; nothing was created or changed."""
    return InputError(message, hint=hint or "`baseforge builder create --help` says what can be given.")


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
