"""A kind of recipe that only the tests have: this module, and one line of the registry.

`python -m tests.support.toy_kind` is the command line of a Baseforge that has the kind.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import Field

from rootfs.bootstrap.bootstrapper import Job
from rootfs.recipe import types
from rootfs.recipe.base import Key, Recipe
from rootfs.recipe.kinds import KINDS, Kind
from rootfs.tree.member import Member, Members

ROOT = Path(__file__).parents[2]


class ToyRecipe(Recipe):
    """An image of one static program."""

    kind: Literal["toy"] = Field(description="one program")
    program: types.Inside = Field(description="the program, a file of the recipe's folder")

    def named_files(self) -> Iterator[tuple[Key, str]]:
        """Each file of its folder that it names, with the key that names it."""
        yield from super().named_files()
        yield ("program",), self.program


@contextmanager
def tree(job: Job, recipe: ToyRecipe) -> Iterator[Members]:
    """The tree of a toy recipe."""
    yield iter([Member("program", mode=0o755).with_content((job.files / recipe.program).read_bytes())])


TOY = Kind(ToyRecipe, "tests.support.toy_kind:tree")

if __name__ == "__main__":
    from flows.cli.main import main

    KINDS["toy"] = TOY
    main()
