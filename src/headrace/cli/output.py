"""
Output: lines for people, in the width, colours and signs their terminal has; JSON for programs. Knows no runs.

Written by hand, not with rich: importing its console and tables takes 160 ms of CPU, as much as all the rest of
`headrace flow-run ls`, and it is two thirds of what an install with it weighs.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal, NamedTuple, TypeAlias

import click

from headrace._model.columns import plain, shortened, width

Output: TypeAlias = Literal["text", "json"]
Column: TypeAlias = Literal["left", "right"]

output_option: Final[Callable[[Callable[..., Any]], Callable[..., Any]]] = click.option(
    "--output",
    "-o",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="text for people, json for programs.",
)


def calls_option(default: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give the option that says how many of a flow run's calls are shown, *default* where nobody says."""
    return click.option(
        "--limit",
        type=click.IntRange(min=1),
        metavar="N",
        default=default,
        show_default=True,
        help="Calls shown of a flow run; of more, the first, the unfinished, the failed and the slowest.",
    )


STYLES: Final = {
    "bold": "\x1b[1m",
    "dim": "\x1b[2m",
    "red": "\x1b[31m",
    "green": "\x1b[32m",
    "yellow": "\x1b[33m",
    "cyan": "\x1b[36m",
}
RESET: Final = "\x1b[0m"
NARROWEST: Final = 20
GAP: Final = 2


# Named tuples, not attrs as elsewhere: importing attrs takes 30 ms, a third of what `headrace version` takes.
class Signs(NamedTuple):
    """The signs that trees and bars are drawn with."""

    branch: str = "├─ "
    last: str = "└─ "
    along: str = "│  "
    more: str = "…"
    ends: str = "▏▕"
    runs: str = "█"
    retries: str = "▓"
    waits: str = "░"
    completed: str = "✓"
    failed: str = "✗"
    stopped: str = "■"
    going: str = "▶"
    pending: str = "·"


PLAIN_SIGNS: Final = Signs(
    branch="|- ",
    last="`- ",
    along="|  ",
    more="...",
    ends="||",
    runs="=",
    retries="+",
    waits=".",
    completed="*",
    failed="x",
    stopped="!",
    going=">",
    pending="-",
)


class Page(NamedTuple):
    """
    What lines are made for.

    Attributes:
        width: Columns; None where nobody minds: output that goes to a file or a program.
    """

    width: int | None
    colour: bool
    signs: Signs

    def paint(self, text: str, style: str) -> str:
        """Give *text* in *style*, one of STYLES or ""."""
        return f"{STYLES[style]}{text}{RESET}" if self.colour and style and text else text

    def cut(self, text: str, columns: int) -> str:
        """Give *text* in at most *columns*, with the sign for more where something is left out."""
        if width(text) <= columns:
            return text
        more = self.signs.more if columns > len(self.signs.more) else ""
        return shortened(text, columns - len(more)) + more

    def fit(self, text: str, columns: int, side: Column = "left") -> str:
        """Give *text* in exactly *columns*."""
        text = self.cut(text, columns)
        gap = " " * (columns - width(text))
        return gap + text if side == "right" else text + gap


def page() -> Page:
    """Give the page that stdout is."""
    terminal = sys.stdout.isatty()
    asked = os.environ.get("COLUMNS", "")
    known = terminal or (asked.isdigit() and int(asked) > 0)
    columns = max(NARROWEST, shutil.get_terminal_size().columns) if known else None
    try:
        "".join(Signs()).encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        signs = PLAIN_SIGNS
    else:
        signs = Signs()
    return Page(columns, terminal and not os.environ.get("NO_COLOR"), signs)


def say(*lines: str) -> None:
    """Write *lines* to stdout; signs it cannot encode are escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    text = "\n".join(lines)
    click.echo(text.encode(encoding, "backslashreplace").decode(encoding), color=True)


def show_json(value: Any) -> None:
    """Write *value* as JSON and nothing else; moments are written as ISO 8601 in UTC."""
    import orjson

    click.echo(orjson.dumps(value, default=str, option=orjson.OPT_INDENT_2 | orjson.OPT_UTC_Z))


class Cell(NamedTuple):
    """A table's cell."""

    text: str
    style: str = ""


def table(on: Page, titles: Sequence[str], rows: Iterable[Sequence[Cell]], drop: Sequence[str] = ()) -> list[str]:
    """
    Give the lines of a table.

    Where the page is too narrow, the columns *drop* are left out in their order, then the widest are cut.
    """
    columns = [[Cell(title, "dim"), *cells] for title, cells in zip(titles, zip(*rows, strict=True), strict=True)]
    widths = [max(width(cell.text) for cell in cells) for cells in columns]
    left = list(range(len(titles)))
    for title in drop:
        if on.width is not None and total(widths, left) > on.width:
            left.remove(titles.index(title))
    while on.width is not None and total(widths, left) > on.width:
        widest = max(left, key=lambda place: widths[place])
        if widths[widest] <= 1:
            break
        widths[widest] -= 1
    lines: list[str] = []
    for number in range(len(columns[0])):
        cells = [(columns[place][number], widths[place]) for place in left]
        painted = [on.paint(on.fit(cell.text, columns_of), cell.style) for cell, columns_of in cells]
        lines.append((" " * GAP).join(painted).rstrip())
    return lines


def total(widths: Sequence[int], left: Sequence[int]) -> int:
    """Give the width of a table of the columns *left*."""
    return sum(widths[place] for place in left) + GAP * (len(left) - 1)


def facts(on: Page, pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Give the lines of a list of names and values; a value too long for its line goes on below."""
    import textwrap

    found = [(name, plain(value)) for name, value in pairs if value]
    indent = max(len(name) for name, _ in found) + GAP
    lines: list[str] = []
    for name, value in found:
        head = on.paint(f"{name:<{indent}}", "dim")
        room = None if on.width is None else on.width - indent
        if room is None or width(value) <= room:
            lines.append(head + value)
        elif room < 40:
            lines.append(head.rstrip())
            lines += [f"  {piece}" for piece in textwrap.wrap(value, max(1, (on.width or 0) - GAP))]
        else:
            first, *others = textwrap.wrap(value, room)
            lines += [head + first, *(" " * indent + piece for piece in others)]
    return lines
