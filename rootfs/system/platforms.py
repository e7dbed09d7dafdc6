"""Convert between OCI platforms and Debian's names of architectures."""

from __future__ import annotations

from rootfs.errors import InputError, nearest
from rootfs.system.errors import UnknownPlatform

# Debian's architectures as GOARCH and variant: dpkg's cputable against `go tool dist list`; the variants are the
# baselines of Debian's ports. arm64 has none, as containerd's platforms package leaves v8 out.
PLATFORMS = {
    "amd64": ("amd64", ""),
    "arm64": ("arm64", ""),
    "armel": ("arm", "v5"),
    "armhf": ("arm", "v7"),
    "i386": ("386", ""),
    "loong64": ("loong64", ""),
    "mips64el": ("mips64le", ""),
    "mipsel": ("mipsle", ""),
    "ppc64": ("ppc64", ""),
    "ppc64el": ("ppc64le", ""),
    "riscv64": ("riscv64", ""),
    "s390x": ("s390x", ""),
}


def platform_of(architecture: str) -> dict[str, str]:
    """The OCI platform of a Debian architecture, its keys in Go's order. Raises InputError."""
    if architecture not in PLATFORMS:
        raise InputError(
            f"no image can be made for architecture {architecture!r}", hint=nearest(architecture, PLATFORMS)
        )
    machine, variant = PLATFORMS[architecture]
    return {"architecture": machine, "os": "linux"} | ({"variant": variant} if variant else {})


def platform_name(architecture: str) -> str:
    """The OCI platform of a Debian architecture as a string such as `linux/arm/v7`. Raises InputError."""
    platform = platform_of(architecture)
    return "/".join(platform[key] for key in ("os", "architecture", "variant") if key in platform)


ARCHITECTURES = {platform_name(each): each for each in PLATFORMS}


def architecture_of(platform: str) -> str:
    """The Debian architecture of a platform such as `linux/arm/v7`. Raises UnknownPlatform."""
    if platform not in ARCHITECTURES:
        raise UnknownPlatform(platform, ARCHITECTURES)
    return ARCHITECTURES[platform]
