"""What worker processes say, see and call in tests. Imported by each of them anew, so it imports little itself."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Any

from opentelemetry import trace as api

import headrace
from headrace import flow, get_run_logger, runtime, task
from headrace.context import TaskRunContext, get_run_context
from headrace.logging import RunContextFilter
from tests.spec.bodies import note, square, square_later

WORD: ContextVar[str] = ContextVar("word", default="unset")


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
def in_a_thread_of_its_own() -> int:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(square(5)))
    thread.start()
    thread.join()
    return found[0]


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


@task
def open_spans(number: int) -> int:
    with api.get_tracer("mine").start_as_current_span("inner"):
        return number


@task
def leave_a_caller(ledger: str) -> None:
    """Leave a thread behind that calls a task while the next body is at work."""

    def call() -> None:
        while "go" not in Path(ledger).read_text(encoding="utf-8"):
            time.sleep(0.001)
        note(ledger, f"called {square(7)}")

    note(ledger, "left")
    threading.Thread(target=copy_context().run, args=(call,), daemon=True).start()


@task
def meet_the_caller(ledger: str) -> None:
    square(2)
    note(ledger, "go")
    while "called" not in Path(ledger).read_text(encoding="utf-8"):
        time.sleep(0.001)


class Noisy:
    """Something whose destructor prints."""

    def __init__(self) -> None:
        self.circle = self

    def __del__(self) -> None:
        print("gone")


@task
def print_in_destructors(turns: int) -> int:
    for _ in range(turns):
        Noisy()
        print("." * 20_000)
    return turns


@task
def call_many(count: int) -> int:
    return sum(square(number) for number in range(count))
