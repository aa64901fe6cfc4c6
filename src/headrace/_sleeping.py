"""
Sleeping: a run waits for a moment. Of a durable run the moment is on record.

So one that is resumed sleeps for what is left, and not at all where the moment has passed while its process was down.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from headrace import _runtime
from headrace._engine.context import current_run
from headrace._engine.life import drive
from headrace._engine.promises import Gate
from headrace._engine.waits import waited
from headrace._hosts.clock import wall
from headrace._model.records import nanoseconds
from headrace._ports import Host
from headrace.errors import OptionError, OptionTypeError, short

Seconds = float | timedelta
LONGEST: Final = 100 * 365 * 86_400  # seconds


def sleep(seconds: Seconds | None = None, *, until: datetime | None = None) -> None:
    """
    Block for so long, or until that moment; in a durable flow for what is left of it when it is resumed.

    A place at work, and slots of limits that say `while_waiting="release"`, are given back meanwhile; the run stays in
    memory. A clock that is set is noticed within 30 s. `await headrace.aio.sleep(...)` in async code.

    Args:
        seconds: A number or a timedelta, from 0 to 100 years.
        until: A moment with its time zone, in its place; one that has passed is no wait.

    Raises:
        OptionError, OptionTypeError: Neither or both were given, or what cannot be.
        RunningLoopError: It is called on the thread of a running event loop.
        RunCancelled: The run that sleeps is to stop.
    """
    drive(slept(_runtime.thread_host.here("headrace.sleep", "`await headrace.aio.sleep(...)`"), seconds, until))


async def slept(host: Host, seconds: Seconds | None, until: datetime | None) -> None:
    """Have the run around, or whoever calls this outside of any, sleep on *host*."""
    await waited(host, Gate(), await recorded(host, ends(seconds, until)))


async def recorded(host: Host, moment: int) -> int:
    """Give the end of a sleep: in a durable run the one that was recorded here before, or *moment*, recorded now."""
    around = current_run.get()
    past: Any = None if around is None else around.scope.past
    if around is None or past is None:
        return moment
    end = int(past.drawn(around, "sleep", lambda: moment))
    if end > wall.now():
        await past.secure(around, host)
    return end


def ends(seconds: Any, until: Any) -> int:
    """
    Give the moment at which a sleep ends, in nanoseconds since 1970.

    Raises:
        OptionError, OptionTypeError: See `sleep`.
    """
    if (seconds is None) is (until is None):
        raise OptionTypeError("sleep needs either how many seconds, as sleep(60), or a moment, as sleep(until=...).")
    if until is not None:
        if not isinstance(until, datetime) or until.tzinfo is None:
            raise OptionTypeError(
                f"until must be a datetime with a time zone, such as datetime(2030, 1, 31, 9, tzinfo=UTC); "
                f"not {short(until)}."
            )
        return nanoseconds(until.astimezone(UTC))
    if isinstance(seconds, timedelta):
        seconds = seconds.total_seconds()
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise OptionTypeError(f"sleep needs a number of seconds or a timedelta, not {short(seconds)}.")
    if not 0 <= seconds <= LONGEST:
        raise OptionError(f"sleep takes from 0 seconds to 100 years, not {short(seconds)}.")
    return wall.now() + int(seconds * 1e9)
