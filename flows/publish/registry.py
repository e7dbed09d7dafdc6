"""Push images to a registry: by digest, then checked, and only then tagged.

skopeo talks to the registry. It finds the credentials that `skopeo login`, `podman login` and `docker login` keep.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from flows.image.index import Index
from flows.image.oci import Image
from flows.publish.errors import RegistryAbsent, RegistryDenied, RegistryFailed, registry_unreachable
from rootfs.errors import BaseforgeError, BuildError, InputError
from rootfs.network.authorities import NOT_TRUSTED, Authorities, is_untrusted
from rootfs.process.errors import ProgramFailed, ProgramTimedOut
from rootfs.process.run import Log, proxies, run
from rootfs.system.digests import digest_of_bytes

PUSH_TIME = 3600.0  # seconds for a whole image
ASK_TIME = 120.0  # seconds for a manifest

# Variables that say where credentials are (containers-auth.json(5)).
PASSED = ("REGISTRY_AUTH_FILE", "DOCKER_CONFIG", "XDG_RUNTIME_DIR")

# skopeo's messages in lower case, by their meaning; the first match counts.
INVALID = ("invalid reference format", "invalid destination name")
HTTP = ("server gave http response to https client",)
ABSENT = ("manifest unknown", "name unknown", "not known to registry", "does not exist", "not found")
DENIED = (
    "unauthorized",
    "authentication required",
    "invalid username/password",
    "resource is denied",
    "access denied",
    "denied: ",
    "forbidden",
)
NETWORK = (
    "connection refused",
    "connection reset",
    "no such host",
    "network is unreachable",
    "no route to host",
    "server misbehaving",
    "timeout",
    "deadline exceeded",
    "broken pipe",
    "eof",
    "toomanyrequests",
    "too many requests",
    "internal server error",
    "bad gateway",
    "service unavailable",
    "status: 50",
    "status 50",
)


@dataclass(frozen=True)
class Registry:
    """A registry: `address` is HOST[:PORT][/PREFIX]. `insecure` allows plain http, `authorities` are trusted."""

    address: str
    insecure: bool = False
    authorities: Authorities = field(default_factory=Authorities)

    def repository(self, name: str) -> str:
        """The image's full name in the registry, without tag and digest."""
        return f"{self.address.rstrip('/')}/{name}"


def push(image: Image | Index, registry: Registry, *, log: Log | None = None) -> str:
    """Push the image by its digest, check the registry's manifest, and return its name with the digest.

    Raises NetworkFailure (trying again can help), InputError, RegistryDenied,
    BuildError and RegistryFailed.
    """
    reference = f"{registry.repository(image.name)}@{image.manifest_digest}"
    _copy(f"oci:{image.layout}", reference, registry, PUSH_TIME, log)
    _check(reference, image.manifest_digest, registry)
    return reference


def tag(reference: str, registry: Registry, tags: Sequence[str], *, log: Log | None = None) -> None:
    """Set these tags, in this order, to the image of `reference`, a name with a digest. Raises what `push` raises."""
    repository, _, digest = reference.partition("@")
    for name in tags:
        _copy(f"docker://{reference}", f"{repository}:{name}", registry, ASK_TIME, log)
        _check(f"{repository}:{name}", digest, registry)


def digest_at(reference: str, registry: Registry) -> str | None:
    """The digest of a reference in the registry; None if there is no such manifest.

    Some registries deny access to a missing repository: this gives None, too, as a push says more. Otherwise raises
    what `push` raises.
    """
    try:
        return digest_of_bytes(_manifest(reference, registry).encode())
    except (RegistryAbsent, RegistryDenied):
        return None


def _copy(source: str, target: str, registry: Registry, timeout: float, log: Log | None) -> None:
    """Copy one image, or an index with all of its images, to one name.

    We check the digest at both ends, so the machine's signature policy does not matter.
    """
    flags = ["--all", "--preserve-digests", f"--dest-tls-verify={_flag(not registry.insecure)}"]
    if source.startswith("docker://"):
        flags.append(f"--src-tls-verify={_flag(not registry.insecure)}")
    _skopeo(["copy", *flags, source, f"docker://{target}"], target, registry, timeout, log)


def _check(reference: str, digest: str, registry: Registry) -> None:
    """Raises BuildError unless the registry's manifest has the digest."""
    if (found := digest_of_bytes(_manifest(reference, registry).encode())) != digest:
        raise BuildError(
            f"the registry has another image: {digest} went in, {found} is there",
            where=reference,
            hint="Somebody else pushes to this name, or the registry rewrites images: neither can be trusted.",
        )


def _manifest(reference: str, registry: Registry) -> str:
    flags = ["--raw", f"--tls-verify={_flag(not registry.insecure)}"]
    return _skopeo(["inspect", *flags, f"docker://{reference}"], reference, registry, ASK_TIME, None)


def _flag(value: bool) -> str:
    return str(value).lower()


def _skopeo(words: Sequence[str], reference: str, registry: Registry, timeout: float, log: Log | None) -> str:
    """Run skopeo and return its standard output. Its message decides which error is raised."""
    passed = {name: os.environ[name] for name in PASSED if name in os.environ}
    env = {**proxies(), **passed, "SSL_CERT_FILE": str(registry.authorities.file())}
    try:
        return run(["skopeo", "--insecure-policy", *words], env=env, timeout=timeout, log=log).stdout
    except ProgramTimedOut as error:
        raise registry_unreachable(reference, f"no end within {timeout:g} s") from error
    except ProgramFailed as error:
        raise _failure(reference, error.output) from error


def _failure(reference: str, output: str) -> BaseforgeError:
    """The error for skopeo's message."""
    if mistake := _mistake(reference, output):
        return mistake
    text = output.lower()
    if any(words in text for words in ABSENT):
        return RegistryAbsent(reference, output)
    if any(words in text for words in DENIED):
        return RegistryDenied(reference)
    for words in NETWORK:
        if words in text:
            return registry_unreachable(reference, words, output)
    return RegistryFailed(reference, output)


def _mistake(reference: str, output: str) -> InputError | None:
    """The error for a message that a setting can correct."""
    text = output.lower()
    if any(words in text for words in INVALID):
        return InputError(
            "this is not a name that a registry can have",
            where=reference,
            hint="`registry` in baseforge.toml is HOST[:PORT][/PREFIX], in lower case and without https://.",
        )
    if any(words in text for words in HTTP):
        return InputError(
            "the registry speaks plain http",
            where=reference,
            hint="To allow that, set `registry_insecure = true` in baseforge.toml.",
        )
    if is_untrusted(output):
        return InputError(
            f"the registry's certificate is not trusted: {_fault(output)}", where=reference, hint=NOT_TRUSTED
        )
    return None


def _fault(output: str) -> str:
    """What is wrong with a certificate, in the words of Go's crypto/x509."""
    return output.rpartition("x509: ")[2].partition("\n")[0].strip().rstrip('"') or "it cannot be verified"
