"""
The report as text: aligned tables that are Markdown as well. Measures nothing, judges only what a bar says.
"""

from __future__ import annotations

import os
import platform
import sqlite3
import tempfile
from collections.abc import Iterable, Sequence
from importlib import metadata
from statistics import median

from benchmarks.compare import Line, Parts

PACKAGES = ("headrace", "anyio", "attrs", "orjson", "opentelemetry-api", "opentelemetry-sdk")
NONE = "–"


def aligned(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Give a table; the first two columns stand to the left, figures to the right."""
    cells = [head, *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]

    def text(row: Sequence[str]) -> str:
        left = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
        right = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
        return f"| {' | '.join((*left, *right))} |"

    rule = [f"{'-' * width}" if i < 2 else f"{'-' * (width - 1)}:" for i, width in enumerate(widths)]
    return "\n".join((text(head), f"| {' | '.join(rule)} |", *(text(row) for row in cells[1:])))


def comparison(lines: Iterable[Line]) -> str:
    head = ("workload", "figure", "by hand, least / median", "ours, least / median", "ratio", "bar", "met")
    rows: list[tuple[str, ...]] = []
    named = ""
    for line in lines:
        name = "" if line.workload == named else line.workload
        named = line.workload
        ratio = NONE if line.ratio is None else f"{line.ratio:.2f}"
        both = _both(line.other, line.digits), _both(line.ours, line.digits)
        rows.append((name, line.figure, *both, ratio, *_judged(line)))
    return aligned(head, rows)


def breakdown(every: Iterable[Parts]) -> str:
    rows: list[tuple[str, ...]] = []
    for parts in every:
        digits = 1 if parts.unit == "µs a task" else 3
        sum_of = " + ".join(f"{part} {value:.{digits}f}" for part, value in parts.parts.items())
        threads = ", ".join(f"{name} {value:.{digits}f}" for name, value in parts.threads.items()) or NONE
        rows.append((parts.workload, parts.unit, f"{sum(parts.parts.values()):.{digits}f}", sum_of, threads))
    head = ("workload", "unit", "ours", "of it", "CPU of the same by thread")
    return aligned(head, rows)


def surroundings() -> str:
    """Say on what the figures were taken: they mean little elsewhere."""
    versions = ", ".join(f"{package} {_version(package)}" for package in PACKAGES)
    return (
        f"{platform.python_implementation()} {platform.python_version()} ({platform.python_compiler()}), "
        f"SQLite {sqlite3.sqlite_version}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}, files in {tempfile.gettempdir()}\n{versions}"
    )


def _both(values: Sequence[float], digits: int) -> str:
    if not any(values):
        return NONE
    least, middle = f"{min(values):,.{digits}f}", f"{median(values):,.{digits}f}"
    return middle if digits == 0 else f"{least} / {middle}"


def _judged(line: Line) -> tuple[str, str]:
    if line.bar is None:
        return "", ""
    aim = "" if line.bar.aim is None else f" (aim {line.bar.aim:g})"
    limit = f"{line.bar.limit:.3g}x" if line.bar.of == "ratio" else f"{line.bar.limit:g} {line.bar.unit}"
    more = "+" if line.bar.of == "more" else ""
    met = "yes" if line.judged <= line.bar.limit else f"NO: {line.judged:.3g}"
    return f"<= {more}{limit}{aim}", met


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "from source"
