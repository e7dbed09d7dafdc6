"""Tables of builders, and how any table is printed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import rich.table
import typer
from rich.console import Console

from rootfs.mask import masked
from rootfs.system.text import format_size, visible

if TYPE_CHECKING:
    from flows.builders.listing import BuilderNode, ListedBuilder, Rule
    from flows.builders.usage import Cached, Usage

INDENT = r" \_ "  # what a node's row begins with, as in `docker buildx ls`
BROAD = 2000  # columns; no terminal's, so that a program finds one row in one line


class Table(rich.table.Table):
    """A table whose cells a terminal shows as they are, whatever is in them; long words are folded and never cut."""

    def add_row(self, *cells: str, **more: Any) -> None:  # type: ignore[override] # noqa: ANN401 - as it is there
        """A row of text."""
        super().add_row(*map(visible, cells), **more)
        for column in self.columns:
            column.overflow = "fold"


def say(text: str, *, err: bool = False, end: str = "\n") -> None:
    """Text on standard output, or on standard error, as it is: a terminal obeys nothing in it."""
    typer.echo(visible(text) + end, err=err, nl=False)


def show(table: Table, *, err: bool = False) -> None:
    """A table on standard output, or on standard error.

    Where that is not a terminal, nothing is folded: programs read its lines. No line ends in blanks, which a
    table's last column would have.
    """
    console = Console(highlight=False, markup=False, stderr=err)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, stderr=err, width=BROAD)
    with console.capture() as captured:
        console.print(table)
    typer.echo("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()), nl=False, err=err)


def terminal_width() -> int | None:
    """Columns of the terminal on standard output; None where that is no terminal."""
    console = Console()
    return console.width if console.is_terminal else None


def builders(found: Sequence[ListedBuilder]) -> None:
    """Cell by cell what `docker buildx ls --no-trunc` prints, then why those fail that do."""
    table = Table("NAME/NODE", "DRIVER/ENDPOINT", "STATUS", "BUILDKIT", "PLATFORMS", box=None, pad_edge=False)
    for builder in found:
        name = builder.name + ("*" if builder.selected else "")
        table.add_row(name, builder.driver, "error" if builder.error else "", "", "")
        for node in builder.nodes:
            cells = (INDENT + node.name, INDENT + node.endpoint, node.status, node.version)
            table.add_row(*cells, ", ".join(_platforms(node)))
    show(table)
    reasons(found)


def reasons(found: Iterable[ListedBuilder]) -> None:
    """Why builders fail, a line each."""
    failing = [(builder.name, error) for builder in found for error in builder.errors]
    if failing:
        print_lines(["", *(f"{name} fails: {' '.join(error.split())}" for name, error in failing)])


def _platforms(node: BuilderNode) -> list[str]:
    return [platform + ("*" if platform in node.fixed else "") for platform in node.platforms]


def builder(found: ListedBuilder) -> None:
    """One builder, line by line, and each of its nodes."""
    table = _facts()
    facts = {"name": found.name, "driver": found.driver, "selected": "yes" if found.selected else "no"}
    _fill(table, {**facts, "last activity": found.last_activity, "status": found.status, "error": found.error})
    for node in found.nodes:
        table.add_row("", "")
        _fill(table, dict(_about(node)))
    show(table)


def _about(node: BuilderNode) -> Iterator[tuple[str, str]]:
    yield "node", node.name
    yield "endpoint", node.endpoint
    yield "status", node.status
    yield "error", node.error
    yield "buildkit", node.version
    yield "platforms", ", ".join(_platforms(node))
    yield "options", "\n".join(masked(f"{key}={value}") for key, value in sorted(node.driver_options.items()))
    yield "flags", " ".join(node.flags)
    yield "labels", "\n".join(masked(f"{key}={value}") for key, value in sorted(node.labels.items()))
    for number, rule in enumerate(node.gc_rules):
        yield f"gc rule {number}", _rule(rule)


def _rule(rule: Rule) -> str:
    limits = {
        "all": "yes" if rule.all else "",
        "filters": " ".join(rule.filter or ()),
        "keep for": f"{rule.keep_duration / 3.6e12:g} h" if rule.keep_duration else "",
        "reserved": format_size(rule.reserved_space) if rule.reserved_space else "",
        "at most": format_size(rule.max_used_space) if rule.max_used_space else "",
        "leave free": format_size(rule.min_free_space) if rule.min_free_space else "",
    }
    return ", ".join(f"{key} {value}" for key, value in limits.items() if value)


def usage(found: Sequence[Usage], *, verbose: bool = False) -> None:
    """What each builder has cached, and the sum of all."""
    if verbose:
        for each in found:
            for record in each.records:
                _record(each.builder, record)
    else:
        _records(found)
    print_lines(f"{each.builder}: {' '.join(each.error.split())}" for each in found if each.error)
    table = _facts()
    table.add_row("reclaimable", format_size(sum(each.reclaimable for each in found)))
    table.add_row("total", format_size(sum(each.total for each in found)))
    show(table)


def pruned(done: Usage) -> None:
    """What was cleared of a builder's cache."""
    _records([done])
    print_lines([f"{done.builder}: reclaimed {format_size(done.total)}"])


def _records(found: Sequence[Usage]) -> None:
    table = Table("BUILDER", "ID", "RECLAIMABLE", "SIZE", "LAST ACCESSED", box=None, pad_edge=False)
    for each in found:
        for record in each.records:
            cells = (record.id, "yes" if record.reclaimable else "no", format_size(record.size), record.last_used_at)
            table.add_row(each.builder, *cells)
    if table.row_count:
        show(table)
        print_lines([""])


def _record(name: str, record: Cached) -> None:
    table = _facts()
    values = {key: value for key, value in record.model_dump().items() if key not in ("size", "parents")}
    shown = {
        key.replace("_", " "): ("no", "yes")[value] if isinstance(value, bool) else value
        for key, value in values.items()
    }
    _fill(table, {"builder": name, **shown, "size": format_size(record.size), "parents": "\n".join(record.parents)})
    show(table)
    print_lines([""])


def _facts() -> Table:
    return Table(box=None, show_header=False, pad_edge=False)


def _fill(table: Table, facts: dict[str, object]) -> None:
    for name, value in facts.items():
        if value not in ("", None):
            table.add_row(name, str(value))


def print_lines(lines: Iterable[str]) -> None:
    """Lines on standard output, as they are."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    for line in lines:
        console.print(visible(line))
