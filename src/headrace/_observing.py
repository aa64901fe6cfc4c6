"""Observing: what was committed is handed on to who makes spans. One that fails costs its spans, never the journal."""

from __future__ import annotations

import logging
from typing import Final

from headrace._engine.fold import Heard
from headrace._ports import Observer

log: Final = logging.getLogger("headrace.store")


def hand_on(observer: Observer | None, heard: Heard) -> None:
    """Tell *observer*, if there is one, of what was *heard* and is committed."""
    if observer is None:
        return
    try:
        for run in heard.began:
            if run.scope.trace is not None:
                observer.began(run)
        for run in heard.ended:
            if run.scope.trace is not None:
                observer.ended(run, [*run.earlier, *(run.transitions or ())])
        for run, at in heard.undone:
            if run.scope.trace is not None:
                observer.undone(run, at)
        for group, at in heard.grouped:
            if group.number:
                observer.grouped(group, at)
    except Exception:
        log.exception("Making spans failed; runs go on, their spans are missing")
