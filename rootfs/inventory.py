"""What is installed in a tree, read from the members as they pass."""

from __future__ import annotations

from collections.abc import Iterator

from debian_inspector.debcon import get_paragraphs_data

from rootfs.members import Member, Members

STATUS = "var/lib/dpkg/status"
PARTS = "var/lib/dpkg/status.d/"  # a package a file, as images without dpkg have it; NAME.md5sums is no package


class Inventory:
    """A bystander of the stream: notes dpkg's status files while the members go on to the packer."""

    def __init__(self) -> None:
        self._status: list[bytes] = []

    def watching(self, members: Members) -> Iterator[Member]:
        """The same members; the inventory is complete when the stream has ended."""
        for member in members:
            if member.is_file and member.content and _is_status(member.path):
                self._status.append(member.content.read())
                yield member.holding(self._status[-1])
            else:
                yield member

    def packages(self) -> dict[str, str]:
        """Installed packages as `name:architecture` and their versions, sorted; empty for a tree without dpkg."""
        text = b"\n\n".join(map(bytes.strip, self._status)).decode(errors="replace")
        return dict(
            sorted(
                (f"{entry['package']}:{entry['architecture']}", entry["version"])
                for entry in (get_paragraphs_data(text) if text else ())
                if entry.get("status", " installed").endswith(" installed")
            )
        )


def _is_status(path: str) -> bool:
    return path == STATUS or (path.startswith(PARTS) and not path.endswith(".md5sums"))
