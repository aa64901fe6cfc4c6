"""
One measurement in this process: `python -m benchmarks.child floor sequential --units 20000` prints one line
of JSON.

The only module that sets the environment and the tracer provider, and does so before a side is imported: what
an application would do at its start. It compares nothing and prints no table.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

from benchmarks.sample import LEVELS, Course, Notes, Sample, Setting, Side

SIDES = ("floor", "plain", "ours")


def answer(setting: Setting, home: Path) -> Sample:
    """Measure what *setting* asks for, with databases in *home*; meant for a fresh process, once."""
    os.environ["HEADRACE_HOME"] = str(home)
    os.environ["HEADRACE_DATABASE_URL"] = f"sqlite:///{home / 'headrace.db'}" if setting.kept else "memory:"
    os.environ["HEADRACE_LOG_LEVEL"] = setting.log_level
    os.environ["HEADRACE_TRACE_MAP_LIMIT"] = str(setting.trace_map_limit)
    # By name: the SDK, and the other side, are never loaded by a process that does without them.
    flushed = _no_spans
    if setting.level == "all":
        flushed = importlib.import_module("benchmarks.spans").Spans().flushed
    side = cast(Side, importlib.import_module(f"benchmarks.{setting.side}_side"))
    with side.works(home=home, level=setting.level) as works:
        course = Course(setting, flushed, works.recorded)
        if setting.work in works.awaited:
            asyncio.run(_awaited(course, works.awaited[setting.work]))
        else:
            run = works.blocking[setting.work]
            for units in course:
                course.notes = run(units) or {}
    if course.sample is None:
        raise RuntimeError(f"{setting} ended without a sample")
    return course.sample


def _no_spans() -> int:
    return 0


async def _awaited(course: Course, run: Callable[[int], Awaitable[Notes | None]]) -> None:
    for units in course:
        course.notes = await run(units) or {}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.child", description=__doc__)
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("work")
    parser.add_argument("--units", type=int, default=1)
    parser.add_argument("--laps", type=int, default=1)
    parser.add_argument("--level", choices=LEVELS, default="all")
    parser.add_argument("--log-level", default="WARNING")
    parser.add_argument("--trace-map-limit", type=int, default=0)
    parser.add_argument("--home", type=Path, help="where databases go; a folder that is removed, if not given")
    asked = vars(parser.parse_args())
    home: Path | None = asked.pop("home")
    with nullcontext(home) if home else TemporaryDirectory(prefix="bench-") as directory:
        print(answer(Setting(**asked), Path(directory)).text(), flush=True)


if __name__ == "__main__":
    main()
