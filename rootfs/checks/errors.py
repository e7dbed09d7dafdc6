"""Errors of the checks of a finished tree."""

from __future__ import annotations

from collections.abc import Sequence

from rootfs.checks.build_state import Finding
from rootfs.errors import BuildError

SHOWN = 15  # keys in an error
FEW = 5  # findings in a warning
# How keys are made when a container starts, by a part of their path.
COMMANDS = {
    "/ssh_host_": "ssh-keygen -A",
    "/dropbear": "dropbear -R",
    "/ssl-cert-snakeoil": "make-ssl-cert generate-default-snakeoil",
    "/rndc.key": "rndc-confgen -a",
    "/munge.key": "mungekey --create",
    "/unbound_": "unbound-control-setup",
    "/nsd_": "nsd-control-setup",
}


def private_keys_found(image: str, keys: Sequence[Finding]) -> BuildError:
    """An image has private keys that its recipe does not allow."""
    more = [f"… and {len(keys) - SHOWN} more"] if len(keys) > SHOWN else []
    commands = dict.fromkeys(word for part, word in COMMANDS.items() if any(part in key.path for key in keys))
    how = f" ({', '.join(f'`{each}`' for each in commands)})" if commands else ""
    return BuildError(
        f"{image}: the image would have private keys, which everybody who has the image could read",
        output="\n".join([*map(str, keys[:SHOWN]), *more]),
        hint=f"Leave them out (`paths: {{exclude: …}}`, `leave_out` of a tarball, `rm` in a RUN), and make them when a"
        f" container starts{how}; or say why the image may have them: `private_keys: [{{path: …, why: …}}]`,"
        " --private-key of `import`.",
    )


def not_repeatable(found: Sequence[Finding]) -> str:
    """The warning that a second build will differ, and what to do."""
    named = ", ".join(f"{each.path} ({each.what})" for each in found[:FEW])
    more = f" and {len(found) - FEW} more" if len(found) > FEW else ""
    return (
        f"a second build will differ in {named}{more}. Make it when a container starts, or say why it is in the image:"
        " `repeatable: {no_because: …}`"
    )
