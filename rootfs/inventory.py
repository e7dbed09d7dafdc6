"""What is installed in a tree, read from the members as they pass."""

from __future__ import annotations

from collections.abc import Iterator

from debian_inspector.debcon import get_paragraphs_data

from rootfs.members import Member, Members

STATUS = "var/lib/dpkg/status"


class Inventory:
    """A bystander of the stream: notes dpkg's status file while the members go on to the packer."""

    def __init__(self) -> None:
        self._status = b""

    def watching(self, members: Members) -> Iterator[Member]:
        """The same members; the inventory is complete when the stream has ended."""
        for member in members:
            if member.path == STATUS and member.is_file and member.content:
                self._status = member.content.read()
                yield member.holding(self._status)
            else:
                yield member

    def packages(self) -> dict[str, str]:
        """Installed packages as `name:architecture` and their versions, sorted; empty for a tree without dpkg."""
        paragraphs = get_paragraphs_data(self._status.decode(errors="replace")) if self._status.strip() else []
        return dict(
            sorted(
                (f"{entry['package']}:{entry['architecture']}", entry["version"])
                for entry in paragraphs
                if entry.get("status", "").endswith(" installed")
            )
        )
