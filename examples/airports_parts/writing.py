"""
The report as files and as text: a SQLite database, a JSON document, a table for the terminal.

No time, path or run id is written into the files, so that two runs on the same data can be compared by `cmp`.
"""

from __future__ import annotations

import json
import sqlite3
from argparse import ArgumentParser
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, astuple, fields
from datetime import date
from pathlib import Path

from airports_parts.joining import City, Day, Month, Near, Report, State
from airports_parts.server import UnreliableServer

OUTPUT = Path(__file__).parents[1] / "output"
Row = City | Day | Month | State | Near
COLUMN_TYPES = {"str": "TEXT", "date": "TEXT", "int": "INTEGER", "float": "REAL"}


def output_folder() -> Path:
    """The folder named by `--out` on the command line, otherwise `output` beside the examples."""
    parser = ArgumentParser(description="Fetch, clean and join weather and airports; write what was found.")
    parser.add_argument("--out", type=Path, default=OUTPUT, metavar="FOLDER", help="default: %(default)s")
    folder: Path = parser.parse_args().out
    return folder


def write_report(report: Report, folder: Path) -> list[Path]:
    """Write `airports.db` and `report.json` into *folder*, in place of those of an earlier run."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_write_database(report, folder / "airports.db"), _write_json(report, folder / "report.json")]


def _write_database(report: Report, path: Path) -> Path:
    unfinished = path.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    with closing(sqlite3.connect(unfinished)) as database, database:
        for table in ("cities", "days", "months", "states", "nearest"):
            _create_table(database, table, getattr(report, table))
    return unfinished.replace(path)


def _create_table(database: sqlite3.Connection, table: str, rows: Sequence[Row]) -> None:
    columns = ", ".join(f"{field.name} {COLUMN_TYPES[str(field.type)]} NOT NULL" for field in fields(rows[0]))
    marks = ", ".join("?" for _ in fields(rows[0]))
    values = [[each.isoformat() if isinstance(each, date) else each for each in astuple(row)] for row in rows]
    database.execute(f"CREATE TABLE {table} ({columns})")
    database.executemany(f"INSERT INTO {table} VALUES ({marks})", values)


def _write_json(report: Report, path: Path) -> Path:
    """Everything but the single days, which only the database holds."""
    document = asdict(report)
    del document["days"]
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(document, indent=2, default=date.isoformat) + "\n", "utf-8")
    return unfinished.replace(path)


def summary(report: Report, server: UnreliableServer, folder: Path) -> str:
    """A few lines for the terminal; plain ASCII, as a terminal may know no more."""
    lines = ["", f"{'2010':15}{'mean':>8}   {'coldest day':13}{'warmest day':13}nearest airport"]
    for city in report.cities:
        airport = next(near for near in report.nearest if near.city == city.city)
        lines.append(
            f"{city.city:15}{city.mean_celsius:6.1f} C   {city.coldest_day!s:13}{city.warmest_day!s:13}"
            f"{airport.iata} {airport.name}, {airport.km} km"
        )
    most = ", ".join(f"{state.state} {state.airports}" for state in report.states[:4])
    return "\n".join(
        [
            *lines,
            "",
            f"{report.airports:,} airports in {len(report.states)} states and territories; most in {most}",
            f"Hours filled in: {', '.join(report.hours_filled)}",
            f"The server refused {server.refused} of {server.requests} requests; each was made again.",
            f"Written to {folder}: airports.db, report.json",
        ]
    )
