"""A program whose flow is paused again and again. The first argument says whether it begins, or goes on with a run."""

from __future__ import annotations

import sys

from headrace import durable, flow, pause_flow_run, task


@task
def note(number: int) -> int:
    return number


@flow(durable=True)
def asks(count: int) -> list[int]:
    found: list[int] = []
    for _ in range(count):
        found.append(note(pause_flow_run(int)))
        print("answered", found[-1], flush=True)
    return found


if __name__ == "__main__":
    name, given = sys.argv[1:]
    print("returned", asks(int(given)) if name == "asks" else durable.resume(given))
