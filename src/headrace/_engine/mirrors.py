"""
Mirrors: runs that live in another process, as this one knows them. Facts in, runs out; sends and receives nothing.

A worker process mirrors the run whose body it was handed, and those above it; where it came from mirrors what that body
calls. A mirror is never lived: its states are told by whoever hears of them.
"""

from __future__ import annotations

import functools
from inspect import Parameter, Signature
from typing import Any, Final, Literal

import attrs

from headrace._engine.journal import Journal
from headrace._engine.runs import FlowRunning, Run, Scope, TaskRunning
from headrace._engine.spec import Spec
from headrace._model.events import AWAITING_RETRY, CANCELLING, COMPLETED, PAUSED, PENDING, RETRYING, RUNNING, Stamp

KNOWN: Final = {stamp: stamp for stamp in (PENDING, RUNNING, RETRYING, AWAITING_RETRY, COMPLETED, CANCELLING, PAUSED)}
# Whatever a mirrored flow was called with has a name.
ANYTHING: Final = Signature([Parameter("parameters", Parameter.VAR_KEYWORD)])


@attrs.frozen(slots=False)  # pickled in C by its __dict__, twice a call and more
class Facts:
    """
    What one process tells another of a run.

    Attributes:
        function: Module and name of its function.
        above: The id of the run that called it.
        level: Its scope's durability.
    """

    kind: Literal["flow", "task"]
    name: str
    function: str
    version: str | None
    prefix: str
    number: int
    above: str | None
    level: str
    given_name: str | None
    tags: frozenset[str]
    attempt: int
    flow_attempt: int
    started: int
    parameters: dict[str, Any] | None
    error_type: str | None
    last: Stamp | None

    @property
    def id(self) -> str:
        """The run's UUID."""
        return f"{self.prefix}{self.number:012x}"


def facts(run: Run) -> Facts:
    """Give what is to be told of *run* as it now stands."""
    spec = run.spec
    return Facts(
        spec.kind,
        spec.name,
        spec.function_name,
        spec.version,
        run.scope.prefix,
        run.number,
        None if run.parent is None else run.parent.id,
        run.scope.level,
        run.given_name,
        run.tags,
        run.attempt,
        run.flow_attempt,
        run.started,
        run.parameters,
        run.error_type,
        run.last,
    )


def mirrored(told: Facts, above: Run | None, journal: Journal) -> Run:
    """Make the run that *told* is of, called by *above*; a scope of its own, where it has one, tells to *journal*."""
    flow = told.kind == "flow"
    if flow or above is None:
        scope = Scope(journal, told.prefix, told.level, flow=flow)
        if flow:
            scope.attempt = told.attempt
    else:
        scope = above.scope
    kind = FlowRunning if flow else TaskRunning
    run: Run = kind(stand_in(told.kind, told.name, told.function, told.version), scope, above, told.number, told.tags)
    run.away = True
    update(run, told)
    run.args, run.kwargs = (), told.parameters
    return run


def update(run: Run, told: Facts) -> None:
    """Bring what changes of a run up to date."""
    run.given_name = told.given_name
    run.attempt = told.attempt
    run.flow_attempt = told.flow_attempt
    run.started = told.started
    run.parameters = told.parameters
    run.error_type = told.error_type
    run.last = None if told.last is None else known(told.last)


def known(stamp: Stamp) -> Stamp:
    """Give *stamp* as this process knows it: stamps are told apart by what they are, not by what they say."""
    return KNOWN.get(stamp, stamp)


@functools.lru_cache(maxsize=1_000)
def stand_in(kind: Literal["flow", "task"], name: str, function: str, version: str | None) -> Spec:
    """Make the spec of a flow or task whose function is not here."""
    spec = Spec(
        kind=kind,
        name=name,
        fn=nothing,
        public=None,
        is_async=False,
        shape="call",
        policy=None,
        timeout=None,
        options={},
        version=version,
    )
    spec.__dict__.update(signature=ANYTHING, function_name=function)
    return spec


def nothing() -> None:
    """Stand where the function of a mirrored run would."""
