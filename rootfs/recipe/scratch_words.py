"""The one-word ingredients of an image from nothing: what each means, and the packages that it is taken from."""

from __future__ import annotations

from typing import Literal

Ingredient = Literal["certificates", "keystore", "zones", "users", "tmp", "os-release", "nsswitch", "linker-cache"]

NONROOT = 65532  # as in other images without a distribution, just before those that mean nobody
NONROOT_HOME = "/home/nonroot"

MEANS: dict[Ingredient, str] = {
    "certificates": "the CA certificates in /etc/ssl/certs/ca-certificates.crt",
    "keystore": "the same for Java, in /etc/ssl/certs/java/cacerts",
    "zones": "the time zones in /usr/share/zoneinfo",
    "users": "/etc/passwd and /etc/group with root, nobody and nonroot (65532), and their home folders",
    "tmp": "folders for temporary files, which everybody may write to",
    "os-release": "the distribution's /etc/os-release",
    "nsswitch": "/etc/nsswitch.conf, by which names are looked up in files and in the DNS",
    "linker-cache": "/etc/ld.so.cache, in which the dynamic linker finds libraries without a search",
}

PACKAGES: dict[Ingredient, tuple[str, ...]] = {
    "certificates": ("ca-certificates",),
    "keystore": ("ca-certificates",),
    "zones": ("tzdata",),
    "users": (),
    "tmp": (),
    "os-release": ("base-files",),
    "nsswitch": (),
    "linker-cache": (),
}
