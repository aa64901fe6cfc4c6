"""
Prints: `print` inside a run whose prints are log lines. Replaces builtins.print only while such a run lives.

Which run a print belongs to, and whether it is one that logs, is asked at the print; so tasks inherit from their flow
without a step of their own, and code outside of runs prints as ever.
"""

from __future__ import annotations

import builtins
import io
import logging
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from headrace._engine.context import current_run
from headrace._engine.lines import RUNS
from headrace._engine.runs import Run

_guard = threading.Lock()
_users = 0
_original = builtins.print
# Set when somebody wrapped our print and left the wrapper: it still calls ours, so ours is not put on top again, until
# the print of before is back.
_wrapped = False


def logs_prints(run: Run | None) -> bool:
    """Tell whether prints of *run* are log lines: as it says itself, else as the run that called it does."""
    while run is not None:
        if run.spec.prints is not None:
            return run.spec.prints
        run = run.parent
    return False


def logging_print(
    *values: object, sep: str | None = " ", end: str | None = "\n", file: Any = None, flush: bool = False
) -> None:
    """
    Print, or log at INFO where the current run wants that and the print goes to stdout or stderr.

    One record a call, its line breaks kept but for the last; it names the line of the print as its place.
    """
    run = current_run.get()
    # By identity: a file may be of a type that has no hash.
    shown = file is None or file is sys.stdout or file is sys.stderr
    if run is None or not shown or not logs_prints(run):
        _original(*values, sep=sep, end=end, file=file, flush=flush)
        return
    logger = RUNS[run.spec.kind]
    if not logger.isEnabledFor(logging.INFO):
        return
    text = io.StringIO()
    _original(*values, sep=sep, end=end, file=text)
    logger.info(
        "%s", text.getvalue().removesuffix("\n"), stacklevel=2, extra={"headrace_run": run, "run_label": run.label}
    )


@contextmanager
def captured() -> Generator[None]:
    """Have `print` look at the current run while inside; blocks may nest and overlap across threads."""
    global _users, _original, _wrapped
    with _guard:
        if _users == 0 and (not _wrapped or builtins.print is _original):
            _original = builtins.print
            builtins.print = logging_print
        _users += 1
    try:
        yield
    finally:
        with _guard:
            _users -= 1
            if _users == 0:
                _wrapped = builtins.print is not logging_print
                if not _wrapped:
                    builtins.print = _original
