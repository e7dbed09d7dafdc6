"""`python -m rootfs.foresee`: compress what a layer will consist of, if nothing changes what its packages bring.

What packages' scripts change, or a recipe, is in few pieces; in fewer once stage one is over, whose tree is taken as it
is then. It goes by a prospect on standard input, may be killed at any time, and steps back before all other programs:
they make the tree.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tarfile import LNKTYPE
from typing import Self

from rootfs import deb
from rootfs.belonging import UNSTEADY, steady
from rootfs.errors import FileClash, PackagesClash
from rootfs.members import Member, Members
from rootfs.normalise import folders_dated, normalised
from rootfs.priority import step_back
from rootfs.scratch.tree import Tree, pieces
from rootfs.slim import Rules, filtered
from rootfs.squeeze import Frames, Squeezer
from rootfs.tar import frames

LOOK = 0.02  # seconds from one look for a file to the next


@dataclass(frozen=True)
class Prospect:
    """What a layer will be made of: `debs` without compression, and the `rules` of the recipe.

    Compressed pieces go to `memo`. `folders` is the time of folders, `epoch` that of the tree, both in seconds since
    1970. The tree that stage one makes of some of the packages will be in the file `tar`, if that is said.
    """

    memo: Path
    debs: tuple[Path, ...]
    rules: tuple[str, ...]
    folders: int
    epoch: int
    tar: Path | None = None

    def dumped(self) -> bytes:
        """It as JSON."""
        return json.dumps(asdict(self), default=str).encode()

    @classmethod
    def loaded(cls, data: bytes) -> Self:
        """The prospect that `dumped` wrote."""
        said = json.loads(data)
        debs, rules, tar = tuple(map(Path, said["debs"])), tuple(said["rules"]), said["tar"]
        return cls(Path(said["memo"]), debs, rules, said["folders"], said["epoch"], tar and Path(tar))

    def tree(self) -> Tree:
        """What the packages bring. Raises BadDeb."""
        tree = Tree()
        for name, path in sorted((path.stem.partition("_")[0], path) for path in self.debs):
            for piece in pieces(name, path, *deb.parts(path)["data.tar"]):
                with contextlib.suppress(PackagesClash):  # a diversion, or a package that replaces the other's file
                    tree.add(piece)
        return tree

    def packed(self, tree: Tree, packages: Mapping[str, str]) -> Iterator[bytearray]:
        """The pieces of the layer of a tree, as it will be packed, but for those that every tree changes."""
        dated = normalised(folders_dated(tree.members(packages), self.folders), self.epoch)
        return _steady(filtered(dated, Rules.parse(self.rules)))


def foresee(prospect: Prospect) -> Iterator[bytes]:
    """Each piece of the layer compressed, kept then; again when stage one is over. Raises BaseforgeError."""
    squeezer, tree = Squeezer(Frames(prospect.memo)), prospect.tree()
    packages = {path: piece.package for path, piece in tree.pieces.items() if _is_summed(piece.member) and steady(path)}
    yield from map(squeezer, prospect.packed(tree, packages))
    if prospect.tar:
        while not prospect.tar.exists():
            time.sleep(LOOK)
        for piece in pieces("", prospect.tar, 0, prospect.tar.stat().st_size):
            with contextlib.suppress(FileClash):
                tree.lay(piece)
        yield from map(squeezer, prospect.packed(tree, packages))


def _is_summed(member: Member) -> bool:
    """Whether dpkg has a checksum of it, by which it knows the package's files later."""
    return member.is_file or member.kind == LNKTYPE


def _steady(members: Members) -> Iterator[bytearray]:
    """The pieces of the layer but for those that every tree changes."""
    begun: list[str] = []

    def noted() -> Iterator[Member]:
        for member in members:
            begun.append(member.path)
            yield member

    for frame in frames(noted()):
        done, begun[:] = begun[:-1], begun[-1:]  # what the last one begins is in the next piece
        if not any(path.startswith(UNSTEADY) for path in done):
            yield frame


def main() -> None:
    """Do it all."""
    step_back()
    for _ in foresee(Prospect.loaded(sys.stdin.buffer.read())):
        pass


if __name__ == "__main__":
    main()
