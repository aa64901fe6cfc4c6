"""Log records of runs: their ids, their form on the console, and their way into the store. Words live in the engine."""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections.abc import Callable
from typing import Any, Final, TextIO

from headrace._engine.context import current_run
from headrace._engine.runs import FlowRunning, Run, TaskRunning
from headrace._model.events import LOG, clipped
from headrace._model.ids import trace_text

STORED_LINE: Final = 64_000
RESET: Final = "\x1b[0m"
COLOURS: Final = {
    logging.DEBUG: "\x1b[2m",
    logging.INFO: "\x1b[36m",
    logging.WARNING: "\x1b[33m",
    logging.ERROR: "\x1b[31m",
    logging.CRITICAL: "\x1b[1;31m",
}
# What moves a terminal's cursor, clears it, or turns the order of what is read; line feeds and tabs are left.
UNSEEN: Final = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_level: str | None = None  # the last one set up


class RunContextFilter(logging.Filter):
    """
    Put the ids of the current run on every record that passes; drops none.

    Attributes set: flow_run_id, flow_run_name, flow_name, task_run_id, task_run_name, task_name, trace_id (32 hex
    digits), span_id (16); each is "" where there is none. Attach it to any handler of your own.

    span_id is that of the innermost span open where the record was made, the user's own included. While nothing is
    traced, trace_id and span_id are "": an id would lead to a trace that nobody recorded.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Set the attributes on *record*; always true."""
        if not hasattr(record, "flow_run_id"):
            run: Run | None = getattr(record, "headrace_run", None) or current_run.get()
            for name, value in ids_of(run).items():
                setattr(record, name, value)
        return True


def ids_of(run: Run | None) -> dict[str, str]:
    """Give the attributes that `RunContextFilter` sets, for *run*."""
    task = run if isinstance(run, TaskRunning) else None
    flow: Run | None = run
    while flow is not None and not isinstance(flow, FlowRunning):
        flow = flow.parent
    trace_id, span_id = place_of(run)
    return {
        "flow_run_id": "" if flow is None else flow.id,
        "flow_run_name": "" if flow is None else flow.name,
        "flow_name": "" if flow is None else flow.spec.name,
        "task_run_id": "" if task is None else task.id,
        "task_run_name": "" if task is None else task.name,
        "task_name": "" if task is None else task.spec.name,
        "trace_id": trace_id,
        "span_id": span_id,
    }


def place_of(run: Run | None) -> tuple[str, str]:
    """
    Give trace id and span id of the code at work; a record about *run* made outside its trace gets the run's own.

    Asks OpenTelemetry only where something else has loaded it.
    """
    api = sys.modules.get("opentelemetry.trace")
    trace = None if run is None else run.scope.trace
    if api is None or (run is not None and trace is None):
        return "", ""
    here = api.get_current_span().get_span_context()
    if run is None or trace is None or here.trace_id == trace.trace_id:
        return (trace_text(here.trace_id), f"{here.span_id:016x}") if here.is_valid else ("", "")
    own = "" if run.span is None else f"{run.span.get_span_context().span_id:016x}"
    return trace_text(trace.trace_id), own


class ConsoleFormatter(logging.Formatter):
    """Form of a line: `15:42:01.234 | INFO    | Flow run 'nimble-falcon' - Finished in state Completed()`."""

    def __init__(self, colour: bool) -> None:
        super().__init__()
        self.colour = colour
        self.second = 0, ""

    def format(self, record: logging.LogRecord) -> str:
        """Give *record* as a line, with the traceback below it where there is one; signs for terminals are escaped."""
        who = getattr(record, "run_label", None) or record.name
        second = int(record.created)
        known, shown = self.second
        if known != second:
            shown = time.strftime("%H:%M:%S", time.localtime(second))
            self.second = second, shown
        moment = f"{shown}.{int(record.msecs):03d}"
        level = f"{record.levelname:<7}"
        if self.colour:
            level = f"{COLOURS.get(record.levelno, '')}{level}{RESET}"
        said = f"{who} - {text_of(record)}"
        if record.exc_info:
            said += "\n" + self.formatException(record.exc_info)
        if record.stack_info:
            said += "\n" + self.formatStack(record.stack_info)
        if not said.isprintable() and UNSEEN.search(said):
            said = UNSEEN.sub(escaped, said)
        return f"{moment} | {level} | {said}"


class ConsoleHandler(logging.Handler):
    """
    Writes lines to stderr, wherever that points at the moment: tests and notebooks replace it.

    Silent once the application has given the root logger handlers of its own: its form wins, and nothing is said twice.
    Those handlers get our records with the attributes of `RunContextFilter`, also where they have no filter.

    Attributes:
        unwritten: Lines that stderr did not take; where it fails there is no other place to say so.
    """

    def __init__(self) -> None:
        super().__init__()
        self.unwritten = 0
        self.ids = RunContextFilter()
        self.plain, self.coloured = ConsoleFormatter(False), ConsoleFormatter(True)
        # Asked of each stream once: a terminal, and the environment, cost 3 µs a line.
        self.known: tuple[Any, ConsoleFormatter] = None, self.plain

    def emit(self, record: logging.LogRecord) -> None:
        """Write *record*, signs that the terminal cannot show escaped; or give it its ids, for the root's handlers."""
        if logging.getLogger().handlers:
            self.ids.filter(record)
            return
        stream = sys.stderr
        if stream is None or getattr(stream, "closed", False):
            return
        try:
            known, form = self.known
            if known is not stream:
                form = self.coloured if colourful(stream) else self.plain
                self.known = stream, form
            line = form.format(record) + "\n"
            if not line.isascii():
                encoding = getattr(stream, "encoding", None) or "utf-8"
                line = line.encode(encoding, "backslashreplace").decode(encoding)
            stream.write(line)
            stream.flush()
        except Exception:
            self.unwritten += 1


def escaped(found: re.Match[str]) -> str:
    """Give the sign *found* as Python writes it in a string."""
    return found[0].encode("unicode_escape").decode()


def colourful(stream: TextIO) -> bool:
    """Tell whether *stream* is a terminal that shows colours, and nobody has set NO_COLOR."""
    return not os.environ.get("NO_COLOR") and on_terminal(stream)


def on_terminal(stream: TextIO | None) -> bool:
    """Tell whether *stream* is a terminal that obeys what moves its cursor and sets its colour."""
    if stream is None or getattr(stream, "closed", False) or os.environ.get("TERM") == "dumb":
        return False
    return hasattr(stream, "isatty") and stream.isatty()


class StoreHandler(logging.Handler):
    """
    Tells the journal the lines that a run's own logger says, so that they are kept with the run.

    Their moments are those of *now*, the clock that the run's states are told by, so both fall in order also under a
    virtual one; the record's own `created` is always real time.
    """

    def __init__(self, now: Callable[[], int]) -> None:
        super().__init__()
        self.now = now

    def emit(self, record: logging.LogRecord) -> None:
        """Tell *record* where it belongs to a run in progress."""
        run: Run | None = getattr(record, "headrace_run", None)
        if run is None:
            return
        try:
            message = text_of(record)
            if record.exc_info:
                message += "\n" + logging.Formatter().formatException(record.exc_info)
            if not message.isascii():
                message = message.encode(errors="backslashreplace").decode()
            run.scope.tell((run, LOG, self.now(), (record.levelno, record.name, clipped(message, STORED_LINE))))
        except Exception:
            self.handleError(record)


class RunLogger(logging.LoggerAdapter[logging.Logger]):
    """The logger of one run, as `get_run_logger` gives it."""

    def __init__(self, logger: logging.Logger, run: Run, extra: dict[str, Any]) -> None:
        super().__init__(logger, extra)
        self.run = run

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        """Put the run and the user's *extra* on the record."""
        own = {"headrace_run": self.run, "run_label": self.run.label}
        kwargs["extra"] = {**(self.extra or {}), **(kwargs.get("extra") or {}), **own}
        return msg, kwargs


def text_of(record: logging.LogRecord) -> str:
    """Give the message, also where its arguments do not fit its format: then both as they are."""
    try:
        return record.getMessage()
    except Exception:
        return f"{record.msg} {record.args!r}"


def set_up(level: str, now: Callable[[], int] = time.time_ns) -> None:
    """
    Give our loggers their level and handlers; done once, and again only for another *level*.

    A level that the application gave the logger "headrace" before is left alone while *level* is the default, INFO.
    """
    global _level
    top = logging.getLogger("headrace")
    if level != _level and (_level is not None or level != "INFO" or top.level == logging.NOTSET):
        top.setLevel(logging.CRITICAL + 1 if level == "OFF" else level)
    _level = level
    if not any(isinstance(handler, ConsoleHandler) for handler in top.handlers):
        top.addHandler(ConsoleHandler())
    for kind in ("flow_runs", "task_runs"):
        logger = logging.getLogger(f"headrace.{kind}")
        if not any(isinstance(handler, StoreHandler) for handler in logger.handlers):
            logger.addHandler(StoreHandler(now))


def ready() -> bool:
    """Tell whether `set_up` was called."""
    return _level is not None
