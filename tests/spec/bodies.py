"""What worker processes do in tests. Imported by each of them anew, so it imports little itself."""

from __future__ import annotations

import asyncio
import ctypes
import functools
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from opentelemetry import trace as api

import headrace
from headrace import flow, get_run_logger, runtime, task
from headrace.context import TaskRunContext, get_run_context
from headrace.logging import RunContextFilter
from headrace.states import Failed, State

WORD: ContextVar[str] = ContextVar("word", default="unset")


@task
def square(number: int) -> int:
    return number * number


@task
async def square_later(number: int) -> int:
    await asyncio.sleep(0.001)
    return number * number


@task
def where() -> tuple[int, str]:
    return os.getpid(), threading.current_thread().name


@task
async def where_later() -> tuple[int, str]:
    return os.getpid(), threading.current_thread().name


@task
def given(*args: Any, **kwargs: Any) -> Any:
    """Give back what it was given."""
    return args, kwargs


@task
def total(numbers: list[int], extra: int = 0) -> int:
    return sum(numbers) + extra


@task
def size(data: bytes) -> int:
    return len(data)


@task
def zeros(count: int) -> bytes:
    return bytes(count)


# -- ends --------------------------------------------------------------------------------------------------------------


class Odd(Exception):
    """An exception whose __init__ takes other arguments than it hands on."""

    def __init__(self, code: int, *, place: str) -> None:
        super().__init__(f"code {code} at {place}")
        self.code = code


class Closed(Exception):
    """An exception that holds what cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("closed", threading.Lock())


@task
def fail(text: str) -> None:
    raise ValueError(text)


@task
def fail_with_notes() -> None:
    error = ValueError("bad row")
    error.add_note("row 17")
    raise error


@task
def fail_from() -> None:
    try:
        raise KeyError("unit")
    except KeyError as error:
        raise ValueError("bad row") from error


@task
def fail_oddly() -> None:
    raise Odd(7, place="the end")


@task
def fail_in_group() -> None:
    raise ExceptionGroup("two", [Odd(1, place="here"), ValueError("there")])


@task
def fail_closed() -> None:
    raise Closed


@task
def fail_locally() -> None:
    class Local(Exception): ...

    raise Local("from within")


@task
async def fail_later() -> None:
    await asyncio.sleep(0)
    raise ValueError("later")


@task
def leave(code: int) -> None:
    sys.exit(code)


@task
def vanish(code: int) -> None:
    os._exit(code)


@task(retries=3)
def vanish_again(ledger: str) -> None:
    with open(ledger, "a", encoding="utf-8") as file:
        file.write("begun\n")
    os._exit(1)


@task
def segfault() -> None:
    ctypes.string_at(0)


@task
def kill_self(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(60)


@task
def return_generator() -> Iterator[int]:
    return (number for number in range(3))


@task
def return_failed() -> State[Any]:
    return Failed(message="not today")


@task(retries=2)
def succeed_third(ledger: str) -> int:
    with open(ledger, "a", encoding="utf-8") as file:
        file.write(f"{runtime.task_run.run_count}\n")
    count = len(Path(ledger).read_text(encoding="utf-8").splitlines())
    if count < 3:
        raise ValueError(f"attempt {count}")
    return count


# -- time and cancellation ---------------------------------------------------------------------------------------------


def note(ledger: str, text: str) -> None:
    """Write a line to a file, whole."""
    with open(ledger, "a", encoding="utf-8") as file:
        file.write(f"{text}\n")


def turns(ledger: str) -> None:
    """Work, and never wait, until stopped from outside."""
    note(ledger, f"began {os.getpid()}")
    while True:
        sum(range(1_000))


@task
def work(ledger: str) -> None:
    try:
        turns(ledger)
    except BaseException as stop:
        note(ledger, f"heard {type(stop).__name__}")
        raise


@task(timeout_seconds=0.2)
def work_briefly(ledger: str) -> None:
    turns(ledger)


@task(timeout_seconds=0.2)
async def wait_briefly(ledger: str) -> None:
    note(ledger, f"began {os.getpid()}")
    await asyncio.sleep(60)


@task
async def wait_long(ledger: str) -> None:
    try:
        note(ledger, f"began {os.getpid()}")
        await asyncio.sleep(60)
    except BaseException as stop:
        note(ledger, f"heard {type(stop).__name__}")
        raise


@task
def sleep_long(ledger: str) -> None:
    try:
        note(ledger, f"began {os.getpid()}")
        time.sleep(60)
    except BaseException as stop:
        note(ledger, f"heard {type(stop).__name__}")
        raise


@task
def go_on_regardless(ledger: str) -> None:
    while True:
        try:
            turns(ledger)
        except BaseException as stop:
            note(ledger, f"heard {type(stop).__name__}")


@task
def stop_politely(ledger: str) -> str:
    try:
        turns(ledger)
    except BaseException:
        note(ledger, f"cancelled {runtime.cancelled()}")
    return "left early"


@task
def hold_the_lock(ledger: str) -> int:
    note(ledger, f"began {os.getpid()}")
    return int(pow(7, 10**8)) % 10


@task
def print_without_end(ledger: str) -> None:
    note(ledger, f"began {os.getpid()}")
    turn = 0
    while True:
        print(turn)
        get_run_logger().debug("turn %d", turn)
        square(turn)
        turn += 1


@task
def start_another(ledger: str) -> None:
    sleeper = subprocess.Popen(["sleep", "60"])
    note(ledger, f"began {os.getpid()}")
    note(ledger, f"started {sleeper.pid}")
    sleeper.wait()


# -- context -----------------------------------------------------------------------------------------------------------


@task(tags=["heavy"])
def look_around(number: int) -> dict[str, Any]:
    context = get_run_context()
    flow_run = runtime.flow_run
    return {
        "task_run": (runtime.task_run.id, runtime.task_run.name, runtime.task_run.task_name),
        "tags": runtime.task_run.tags,
        "parameters": runtime.task_run.parameters,
        "count": runtime.task_run.run_count,
        "flow_run": (flow_run.id, flow_run.name, flow_run.flow_name, flow_run.flow_version),
        "flow_parameters": flow_run.parameters,
        "root": flow_run.root_flow_run_id,
        "task": type(context).__name__,
        "same": context.task.name if isinstance(context, TaskRunContext) else None,
        "word": WORD.get(),
    }


@task
def talk(number: int) -> None:
    logger = get_run_logger()
    logger.info("first of %d", number, extra={"part": number})
    print("second, printed")
    logger.warning("third")
    logging.getLogger("tests.bodies").warning("fourth, of a logger of my own")


@task(log_prints=True)
def talk_aloud() -> None:
    print("one")
    print("two", "words", file=sys.stderr)


@task
def fail_aloud() -> None:
    try:
        raise ValueError("seen")
    except ValueError:
        get_run_logger().exception("It was caught")


@task
def write_both() -> None:
    print("to stdout")
    print("to stderr", file=sys.stderr)
    sys.stdout.write("without an end")


@task
def start_processes(seconds: float) -> float:
    subprocess.run([sys.executable, "-c", "print('from below')"], check=True, stdout=sys.stdout)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(float, (seconds,))


@task
def warn() -> None:
    warnings.warn("careful", stacklevel=1)


# -- what bodies call --------------------------------------------------------------------------------------------------


@task(retries=1)
def flaky(ledger: str) -> str:
    note(ledger, "tried")
    if Path(ledger).read_text(encoding="utf-8").count("tried") < 2:
        raise ValueError("not yet")
    return "at last"


@task
def call_others(ledger: str) -> tuple[str, int]:
    get_run_logger().info("calling")
    with headrace.tags("inner"):
        return flaky(ledger), square(3)


@task
async def call_others_later() -> int:
    return await square_later(2) + square(2)


@flow(name="below")
def below(number: int) -> int:
    again: int = square.submit(number).result()
    return square(number) + again


@task
def call_flow(number: int) -> int:
    return below(number)


@task
def call_and_die() -> None:
    square(2)
    die_within()


@task
def die_within() -> None:
    os._exit(3)


@task
def submit_another() -> Any:
    return square.submit(2)


@task
def in_a_thread_of_its_own() -> int:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(square(5)))
    thread.start()
    thread.join()
    return found[0]


# -- forms of functions ------------------------------------------------------------------------------------------------


class Factory:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    @task
    def times(self, number: int) -> int:
        return self.factor * number

    @task
    def parameters(self, number: int) -> dict[str, Any]:
        return dict(runtime.task_run.parameters)

    @task
    @classmethod
    def named(cls, number: int) -> str:
        return f"{cls.__name__} {number}"

    @task
    @staticmethod
    def plain(number: int) -> int:
        return -number


class Adder:
    def __init__(self, more: int) -> None:
        self.more = more

    def __call__(self, number: int) -> int:
        return number + self.more


def plain_power(base: int, exponent: int) -> int:
    return int(base**exponent)


cube = task(functools.partial(plain_power, exponent=3), name="cube")
add_ten = task(Adder(10), name="add-ten")
renamed = square.with_options(name="renamed", tags=["other"])
of_plain = task(plain_power)
nameless: Any = task(lambda: 1, name="nameless")


class NeverAgain:
    """Something that can be pickled, and not unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return refuse, ()


def refuse() -> None:
    raise LookupError("there is no such thing here")


@task
def return_never_again() -> NeverAgain:
    return NeverAgain()


@task
def ignore_signals(ledger: str) -> None:
    """Stay until told otherwise, whatever signal a terminal sends."""
    note(ledger, f"began {os.getpid()}")
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    note(ledger, "still there")


@task
def count_aloud(number: int) -> None:
    logger = get_run_logger()
    for turn in range(number):
        print(f"printed {turn} ", file=sys.stderr)
        logger.warning("logged %d ", turn)


@flow(name="slow below")
def slow_below(ledger: str) -> None:
    note(ledger, "began")
    square(1)
    while not runtime.cancelled():
        time.sleep(0.001)
    square(2)


@task
def call_slow_flow(ledger: str) -> None:
    slow_below(ledger)


@task
def mark_span(rows: int) -> None:
    span = api.get_current_span()
    span.set_attribute("rows", rows)
    span.add_event("half way", {"row": rows // 2})
    span.record_exception(KeyError("row"))
    span.set_attribute("lock", threading.Lock())  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


@task
def tell_span() -> tuple[str, str, bool, bool, tuple[str, str]]:
    context = api.get_current_span().get_span_context()
    record = logging.LogRecord("tests", logging.INFO, "", 0, "", None, None)
    RunContextFilter().filter(record)
    line = (record.__dict__["trace_id"], record.__dict__["span_id"])
    return f"{context.trace_id:032x}", f"{context.span_id:016x}", context.is_remote, context.trace_flags.sampled, line
