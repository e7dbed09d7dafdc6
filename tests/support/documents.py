"""The documents as tests see them: fenced blocks, commands, recipes with their files, links and headings.

The words after a block's language say what it is: a file name (`yaml web.yaml`) makes it that file of the recipes
folder, `example` a list of commands that tests only check, not run. A `console` block has commands after `$ ` and their
output; its commands are run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (
    *("README.md", "recipes/README.md", "deploy/README.md", "CONTRIBUTING.md"),
    *("flows/README.md", "rootfs/README.md", "CHANGELOG.md"),
)
FENCE = re.compile(r"^```(\w*) ?([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
CODE = re.compile(r"`([^`\n]+)`")
OPTIONAL = re.compile(r"\[([^\]]*)\]…?")


@dataclass(frozen=True)
class Block:
    """A fenced block: its page and line, its language, the words after that, and its text."""

    page: str
    line: int
    language: str
    words: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """The command lines of a shell block, without comments."""
        if self.language == "console":
            lines = [line.removeprefix("$ ") for line in self.text.splitlines() if line.startswith("$ ")]
        elif self.language == "sh" and not self.file:
            lines = self.text.splitlines()
        else:
            lines = []
        return [line.partition(" # ")[0].strip() for line in lines if line.strip()]

    @property
    def file(self) -> str:
        """The name of the file that the block is; empty for any other block."""
        return self.words if "." in self.words or "/" in self.words else ""


def read(page: str) -> str:
    return (ROOT / page).read_text()


def blocks(page: str) -> list[Block]:
    text = read(page)
    return [
        Block(page, text[: found.start()].count("\n") + 1, found[1], found[2], found[3])
        for found in FENCE.finditer(text)
    ]


def prose(page: str) -> str:
    """The page without its fenced blocks."""
    return FENCE.sub("", read(page))


def anchors(page: str) -> set[str]:
    """What links can name in a page: its headings, as GitHub writes them."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower().replace("`", "")).replace(" ", "-")
        for heading in HEADING.findall(prose(page))
    }


def links(page: str) -> list[str]:
    """Where a page's links lead, but for the World Wide Web."""
    return [link for link in LINK.findall(prose(page)) if "://" not in link]


def synopses(page: str) -> Iterator[str]:
    """Each command line of the form `baseforge build IMAGE… [--json]` in the first column of a table."""
    for line in prose(page).splitlines():
        if found := re.match(r"\| `(baseforge [^`]+)` \|", line):
            yield found[1].replace(r"\|", "|")


def write_recipes(page: str, folder: Path) -> list[str]:
    """Write the page's recipes and their files to a folder; the recipes' names, in the page's order."""
    names = []
    for block in blocks(page):
        if block.file:
            path = folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
            if block.file.endswith(".yaml"):
                names.append(path.stem)
    return names
