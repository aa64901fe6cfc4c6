"""
`python -m benchmarks`: what Headrace costs beside the same work by hand, in one table; half an hour.

    python -m benchmarks                    everything
    python -m benchmarks sequential import  only these
    python -m benchmarks --quick            a tenth of the tasks, two rounds: does it still run, not how fast
    python -m benchmarks --repeats 9        more processes a side, for a machine that wanders

The exit code is 1 when a measurement is broken (a process failed, runs or spans are missing), never for a
slow one.

The parts of a figure are differences between settings that differ in one thing, each in processes of its own:
*life* is the caller's thread with nothing recorded (`durability="off"`, no tracer) and tasks without
arguments, *bind* what one argument adds to that (states are looked for in it), *journal* what all threads
take beyond it once runs are recorded in memory (the hand-over to the back office, folding, rows), *store*
what SQLite takes more than memory, *span* the making and exporting of spans, *log* the console lines at INFO,
*plain* the same program without Headrace. So whatever a part makes dearer elsewhere (caches, the GIL changing
hands) counts as its own. Where laps are timed, the parts are of the wall time instead, and where memory is
weighed, of that.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from benchmarks import compare, programs, table
from benchmarks.fresh import Broken
from benchmarks.workloads import PROGRAMS, WORKLOADS, Program, Workload


def main() -> int:
    names = [each.name for each in (*WORKLOADS, *PROGRAMS)]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "workloads", nargs="*", metavar="WORKLOAD", help=f"one of {', '.join(names)}; all if none is named"
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument(
        "--repeats", type=int, help="processes a side (default 5; 2 with --quick; half of it for the longest)"
    )
    asked = parser.parse_args()
    if unknown := [name for name in asked.workloads if name not in names]:
        parser.error(f"no workload named {unknown[0]!r}; there are {', '.join(names)}")
    repeats = asked.repeats or (2 if asked.quick else 5)
    chosen = [each for each in (*WORKLOADS, *PROGRAMS) if each.name in (asked.workloads or names)]
    if asked.quick:
        chosen = [quick(each) for each in chosen]
    lines, parts, broken = run(chosen, repeats)
    print(f"{table.surroundings()}\n{' '.join(('python -m benchmarks', *sys.argv[1:]))}\n")
    for each in chosen:
        print(f"- {each.name}: {each.says}")
    print(f"\n{table.comparison(lines)}\n\n{table.breakdown(parts)}")
    for sentence in broken:
        print(f"\nBROKEN {sentence}", file=sys.stderr)
    return 1 if broken else 0


def quick(each: Workload | Program) -> Workload | Program:
    """Give *each* with a tenth of its tasks or laps."""
    if isinstance(each, Program):
        return each
    shortened = compare.shortened
    rungs = tuple(replace(rung, setting=shortened(rung.setting, 10)) for rung in each.rungs)
    return replace(each, ours=shortened(each.ours, 10), other=shortened(each.other, 10), rungs=rungs)


def run(chosen: list[Workload | Program], repeats: int) -> tuple[list[compare.Line], list[compare.Parts], list[str]]:
    """Measure what is *chosen*, one after the other; a broken one is named and does not end the rest."""
    lines: list[compare.Line] = []
    parts: list[compare.Parts] = []
    broken: list[str] = []
    for each in chosen:
        print(f"{each.name} ...", file=sys.stderr, flush=True)
        try:
            if isinstance(each, Program):
                # Four times the rounds: one process is over in a blink, and a blink wanders.
                lines += programs.compared(each, 4 * repeats)
                parts.append(programs.parted(each, 2 * repeats))
            else:
                rounds = (repeats + 1) // 2 if each.long else repeats
                lines += compare.compared(each, rounds)
                if each.rungs:
                    parts.append(compare.parted(each, rounds))
        except Broken as reason:
            broken.append(f"{each.name}: {reason}")
    return lines, parts, broken


if __name__ == "__main__":
    sys.exit(main())
