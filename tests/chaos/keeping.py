"""A program of cached tasks that is killed at a chosen step of keeping a result. Run in a process of its own."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from headrace import flow, task
from headrace._stores.sqlite import SQLiteStore
from headrace.cache_policies import INPUTS

ROWS = 3_000  # some 30 kB, so that it lies beside the database


@task(cache_policy=INPUTS, result_serializer="json")
def large(x: int) -> list[int]:
    """Give what lies in a file."""
    print(f"computing {x}", flush=True)
    return [x] * ROWS * 5


@task(cache_policy=INPUTS)
def small(x: int) -> dict[str, int]:
    """Give what lies in the database."""
    print(f"computing {x}", flush=True)
    return {"x": x}


@flow
def main() -> list[Any]:
    """Keep two results of either kind."""
    return [large(1), small(2), large(3), small(4)]


class Killer:
    """Counts the steps at which keeping could be cut short, and ends the process before step number *at*."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.step = 0

    def passes(self) -> None:
        """Hear of a step that comes now."""
        self.step += 1
        if self.step == self.at:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, function: Any) -> Any:
        """Give *function* with a step before it and one after it."""

        def watched(*args: Any, **kwargs: Any) -> Any:
            self.passes()
            value = function(*args, **kwargs)
            self.passes()
            return value

        return watched

    def around_async(self, function: Any) -> Any:
        """Give the coroutine function *function* with a step before it and one after it."""

        async def watched(*args: Any, **kwargs: Any) -> Any:
            self.passes()
            value = await function(*args, **kwargs)
            self.passes()
            return value

        return watched


if __name__ == "__main__":
    killer = Killer(int(sys.argv[1]))
    for name in ("replace", "mkdir"):
        setattr(os, name, killer.around(getattr(os, name)))
    SQLiteStore.append = killer.around_async(SQLiteStore.append)  # type: ignore[method-assign]
    print([str(one)[:12] for one in main()])
    from headrace import _runtime

    _runtime.current().close()
    print(f"steps {killer.step}")
