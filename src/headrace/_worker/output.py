"""Output of a worker process: log records, and what is written to stdout and stderr, handed on in order."""

from __future__ import annotations

import io
import logging
import pickle
import sys
from collections.abc import Callable
from typing import Any, TextIO

from headrace._telemetry import logs
from headrace.errors import short

Tell = Callable[..., bool]
PLAIN = (str, int, float, bool, type(None))


class Forwarder(logs.ConsoleHandler):
    """Hands records on to where the flow runs, and says them on stderr itself while no body is at work."""

    def __init__(self, tell: Tell) -> None:
        super().__init__()
        self.tell = tell

    def install(self) -> None:
        """Be the handler of our loggers, the only one: propagation goes on where the record arrives."""
        top = logging.getLogger("headrace")
        top.handlers[:] = [self]
        top.propagate = False
        logs.set_up("INFO")

    def listen(self, top: int, root: int) -> None:
        """
        Have our loggers the level *top*, and the root logger the level *root*.

        Be its handler as well, unless the program has given it one of its own.
        """
        logging.getLogger("headrace").setLevel(top)
        logger = logging.getLogger()
        if not logger.handlers:
            logger.addHandler(self)
        if self in logger.handlers:
            logger.setLevel(root)

    def emit(self, record: logging.LogRecord) -> None:
        """Hand *record* on."""
        try:
            if not self.tell("line", *packed(record)):
                super().emit(record)
        except Exception:
            self.handleError(record)


def packed(record: logging.LogRecord) -> tuple[str | None, dict[str, Any]]:
    """Give the id of the run that *record* is of, and the record as values that can travel."""
    logs.RunContextFilter().filter(record)
    said = dict(record.__dict__)
    run = said.pop("headrace_run", None)
    message = logs.text_of(record)
    if record.exc_info:
        message += "\n" + logging.Formatter().formatException(record.exc_info)
    said.update(msg=message, args=None, exc_info=None, exc_text=None)
    return None if run is None else run.id, {name: portable(value) for name, value in said.items()}


def portable(value: Any) -> Any:
    """Give *value*, or its repr where it cannot be pickled."""
    if isinstance(value, PLAIN):
        return value
    try:
        pickle.dumps(value)
    except Exception:
        return short(value)
    return value


class Output(io.RawIOBase):
    """A stream that hands on what is written to it, and writes itself while no body is at work."""

    def __init__(self, tell: Tell, name: str, behind: TextIO) -> None:
        self.hand_on = tell
        self.stream = name
        self.behind = behind

    def writable(self) -> bool:
        """Say that it can be written to."""
        return True

    def fileno(self) -> int:
        """Give the descriptor behind it, for the processes that a body starts."""
        return self.behind.fileno()

    def write(self, data: Any) -> int:
        """Hand *data* on."""
        given = bytes(data)
        if not self.hand_on("output", self.stream, given):
            self.behind.write(given.decode(errors="replace"))
            self.behind.flush()
        return len(given)


def capture(tell: Tell) -> list[TextIO]:
    """Have what is written to stdout and stderr handed on; give what now stands in their place."""
    made: list[TextIO] = []
    for name in ("stdout", "stderr"):
        behind = getattr(sys, name)
        if behind is not None:
            raw: Any = Output(tell, name, behind)
            made.append(io.TextIOWrapper(raw, "utf-8", "backslashreplace", line_buffering=True))
            setattr(sys, name, made[-1])
    return made
