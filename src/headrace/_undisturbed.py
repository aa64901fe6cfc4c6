"""Undisturbed: work that no signal's handler may raise amid. Such a signal is heard right behind it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, Final, TypeVar

T = TypeVar("T")
DEFERRED: Final = (signal.SIGINT, signal.SIGTERM)
MAIN: Final = threading.main_thread().ident
# The public functions make members of an enum of handlers, which takes them 6 us each; these take 0.5.
raw: Final[Any] = import_module("_signal")


def undisturbed(function: Callable[[], T], deferred: Sequence[int] = DEFERRED) -> T:
    """
    Call *function*, and after it the handlers of those *deferred* signals that came meanwhile.

    Handlers run on the main thread alone: on others it is just called. Those of other signals are not held back.
    """
    if not deferred or threading.get_ident() != MAIN:
        return function()
    number, *others = deferred
    handler = raw.getsignal(number)
    if not callable(handler):
        return undisturbed(function, others)
    came: list[Any] = []

    def note(_number: int, frame: Any) -> None:
        came.append(frame)

    try:
        raw.signal(number, note)
        return undisturbed(function, others)
    finally:
        raw.signal(number, handler)
        if came:
            handler(number, came[-1])
