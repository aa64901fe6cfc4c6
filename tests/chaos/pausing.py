"""A program whose flow waits for people. The first argument says how, or that it goes on with a run."""

from __future__ import annotations

import sys
import time

from headrace import Runtime, durable, flow, pause_flow_run, suspend_flow_run, task


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


@flow(durable=True)
def suspends(first: int) -> None:
    print("returned", note(first) + note(suspend_flow_run(int)), flush=True)


if __name__ == "__main__":
    name, given = sys.argv[1:]
    if name == "asks":
        print("returned", asks(int(given)))
    elif name == "resumes":
        print("returned", durable.resume(given))
    else:
        with Runtime() as runtime:
            if name == "suspends":
                runtime.submit(suspends, int(given))
            time.sleep(60)
