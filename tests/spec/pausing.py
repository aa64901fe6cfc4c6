"""What tests of pauses share: pausing as code of either form does it, and people who resume runs from outside."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import headrace
from headrace import _runtime, aio, flow_runs, runs, signals
from headrace._engine.life import drive
from headrace._model.pauses import Pause
from headrace.errors import InvalidRunInput, NoDatabaseYet, NotPausedError
from headrace.runs import FlowRun
from tests.chaos.processes import until
from tests.spec.forms import Form

WITHIN = 30.0


async def pause(form: Form, kind: Any = None, **more: Any) -> Any:
    """Pause as code of this form does."""
    return await aio.pause_flow_run(kind, **more) if form.is_async else headrace.pause_flow_run(kind, **more)


async def resume(form: Form, run: Any, given: Any = None) -> None:
    """Resume *run* as code of this form does."""
    if form.is_async:
        await aio.resume_flow_run(run, given)
    else:
        headrace.resume_flow_run(run, given)


def waiting() -> FlowRun:
    """Give the flow run that is paused, once one is."""
    found: list[FlowRun] = []

    def looked() -> bool:
        try:
            found[:] = runs.flow_runs(state="Paused")
        except NoDatabaseYet:
            return False
        return bool(found)

    until(looked, WITHIN)
    return found[0]


class People:
    """Who do something beside the test; what they raise fails it."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.raised: list[BaseException] = []

    def begin(self, work: Callable[[], object]) -> None:
        """Have one do *work*."""

        def safely() -> None:
            try:
                work()
            except BaseException as error:
                self.raised.append(error)
                for run in runs.flow_runs(state="Paused"):
                    stop(run)  # nobody comes any more

        self.threads.append(threading.Thread(target=safely))
        self.threads[-1].start()

    def resume(self, *answers: Any) -> None:
        """Have one answer with each of *answers* in turn, once a run is paused."""

        def work() -> None:
            for given in answers:
                until(partial(resumed, given), WITHIN)

        self.begin(work)

    def answer_past_the_check(self, misfit: Any, given: Any) -> None:
        """Have one answer with *misfit*, as who has the schema alone may, and with *given* once that is refused."""

        def work() -> None:
            run = waiting()
            signals.send(run, pause_of(run).place, misfit)
            until(lambda: pause_of(run).refused)
            headrace.resume_flow_run(run, given)

        self.begin(work)

    def leave(self) -> None:
        """See that all are done, and nothing was wrong."""
        for thread in self.threads:
            thread.join(WITHIN)
        assert self.raised == []
        assert not any(thread.is_alive() for thread in self.threads)


def pause_of(run: FlowRun) -> Pause:
    """Give what *run* waits for."""
    journal = _runtime.journal_here()
    unpack = journal.ledger.vault.unpack
    found: Pause | None = drive(
        _runtime.thread_host.with_store(journal, lambda store: flow_runs.pause_of(store, run, unpack))
    )
    assert found is not None
    return found


def stop(run: FlowRun) -> None:
    """Cancel *run*, as `headrace flow-run cancel` does."""
    _runtime.journal_here().stop(run.id, "somebody asked for it")


def resumed(given: Any) -> bool:
    """Resume the run that is paused; tell whether nobody had before, and *given* fits."""
    try:
        headrace.resume_flow_run(waiting(), given)
    except (NotPausedError, InvalidRunInput):
        return False
    return True
