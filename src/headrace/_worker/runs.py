"""Runs in a worker process: the one whose body it was handed and those above, as they were told of. Lives none."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import FunctionType
from typing import Any

import attrs

from headrace import _runtime
from headrace._decorated import Decorated
from headrace._engine.begin import forget
from headrace._engine.journal import Journal
from headrace._engine.mirrors import mirrored
from headrace._engine.runs import Run
from headrace._engine.spec import Spec
from headrace._hosts.parcels import by_path
from headrace._hosts.wire import Errand
from headrace._ports import Observer
from headrace.tasks import Task


def mirror(errand: Errand, journal: Journal) -> Run:
    """Make the runs that *errand* tells of; give the innermost."""
    journal.owner = errand.owner
    journal.usual = errand.runs[0].level
    journal.observer = Silent() if errand.trace is None else carrier()
    run: Run | None = None
    for told in reversed(errand.runs):
        above = run
        run = mirrored(told, above, journal)
        scope = run.scope
        if above is None or scope is not above.scope:
            if not errand.recorded:
                scope.tell = forget
            if errand.trace is not None:
                trace_id, sampled, state = errand.trace
                scope.trace = _runtime.carried().CarriedTrace(trace_id, scope.prefix, sampled, state)
    if run is None:
        raise ValueError("an errand without a run")
    return run


@functools.cache
def carrier() -> Observer:
    """Give the observer that goes on in traces."""
    made: Observer = _runtime.carried().Carrier()
    return made


@functools.cache
def export_spans() -> None:
    """
    Have what bodies open sent from here, where the environment says so and the program has not seen to it itself.

    After the import of a task's module, which may do so.
    """
    _runtime.open_observer(_runtime.current().settings)


class Silent:
    """The observer while nothing is traced."""

    def open(self, run: Any) -> None:
        """Trace nothing."""

    def ended(self, run: Any, transitions: object) -> None:
        """Make no spans."""

    def began(self, run: Any) -> None:
        """Make no spans."""

    def undone(self, run: Any, at: int) -> None:
        """Hear of nothing: runs are rolled back where they are recorded."""

    def grouped(self, group: Any, at: int) -> None:
        """Make no spans."""


def settle_in(run: Run, errand: Errand, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Give *run* its task and its arguments, which are known once the call is unpacked."""
    task = errand.runs[0]
    make = spec_of if isinstance(fn, FunctionType) else made_spec
    run.spec = make(fn, task.name, task.version, errand.bound, errand.prints)
    run.args, run.kwargs = args, kwargs


def made_spec(fn: Any, name: str, version: str | None, bound: int, prints: bool) -> Spec:
    """Give the spec of the task *name* of *fn*, as far as its body can see it."""
    spec = task_of(fn, name).spec
    return attrs.evolve(spec, options={**spec.options, "log_prints": prints}, version=version, bound=bound)


spec_of = functools.lru_cache(maxsize=1_000)(made_spec)


def task_of(fn: Any, name: str) -> Decorated:
    """Give the task *name* of *fn*: the one that stands in its module, under this name, or one made here."""
    found = by_path(fn.__module__, fn.__qualname__) if isinstance(fn, FunctionType) else None
    if not isinstance(found, Decorated) or found.fn is not fn:
        made: Task[..., Any] = Task(fn, {"name": name})
        return made
    if found.name != name:
        renamed: Decorated = found.with_given({"name": name})
        return renamed
    return found
