"""The past of a durable run: it is gone with the last who holds it, and with it all that it knows of the record."""

from __future__ import annotations

import gc
import weakref

from headrace._engine.past import Past


def test_nothing_but_who_runs_it_keeps_what_a_run_has_on_record() -> None:
    gc.disable()
    try:
        gone = weakref.ref(Past("00000001-0000-4000-8000-000000000000"))
        assert gone() is None
    finally:
        gc.enable()
