"""Undisturbed: work amid which no signal is heard. Ctrl-C and SIGTERM are heard right behind it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from types import NoneType
from typing import Any, Final, TypeVar

T = TypeVar("T")
DEFERRED: Final = (signal.SIGINT, signal.SIGTERM)
OTHERS: Final = tuple(sorted(signal.valid_signals() - {*DEFERRED}))
# SIG_DFL, SIG_IGN, and what Python did not set. To look at the types takes 1.4 us, where asking each takes 5.
SET_BY_NOBODY: Final = frozenset({int, NoneType})
# The public functions make members of an enum of handlers, which takes them 6 us each; these take 0.5.
raw: Final[Any] = import_module("_signal")


def may_be_disturbed() -> bool:
    """
    Tell whether a signal may be heard on this thread that is not held back.

    On the main thread, where handlers run, with a handler of the user's for another signal: an alarm's, which raises,
    or calls a flow. What is raised in a thread from outside, by PyThreadState_SetAsyncExc, nobody can foresee.
    """
    if not on_main_thread():
        return False
    handlers: map[Any] = map(raw.getsignal, OTHERS)
    return not SET_BY_NOBODY.issuperset(map(type, handlers))


def undisturbed(function: Callable[[], T], deferred: Sequence[int] = DEFERRED) -> T:
    """
    Call *function*, and after it the handlers of those *deferred* signals that came meanwhile.

    Handlers run on the main thread alone: on others it is just called.
    """
    if not deferred or not on_main_thread():
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


def on_main_thread() -> bool:
    """Tell whether this is the thread on which Python runs the handlers of signals."""
    return threading.get_ident() == threading.main_thread().ident
