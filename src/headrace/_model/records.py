"""Records: runs, log lines, requests, as hooks, readers of the store and programs see them. Frozen values."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import attrs

from headrace._model.events import Stamp
from headrace._model.ids import FIRST
from headrace._model.states import NotKept, State, StateType


@attrs.frozen
class TaskRun:
    """
    One call of a task.

    Attributes:
        flow_run_id: None for a task called outside a flow.
        parent_task_run_id: The task whose body made the call, if one did.
        run_count: Attempts begun.
        transitions: Each state entered: type, name, moment, message.
        result_key: What its result is kept under; None where it is not.
        cached_from: The run that computed its result, where that was found instead of running the body.
        flow_attempt: The attempt of its flow run that called it.
        step_id, step_args: Within a durable flow run: what it is found again by, and what it was called with.
    """

    id: str
    name: str
    task_name: str
    state: State[Any]
    flow_run_id: str | None = None
    parent_task_run_id: str | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    run_count: int = 1
    tags: tuple[str, ...] = ()
    transitions: tuple[tuple[str, str, datetime, str | None], ...] = ()
    result_key: str | None = None
    cached_from: str | None = None
    flow_attempt: int = 1
    step_id: str | None = None
    step_args: str | None = None

    @property
    def total_run_time(self) -> float | None:
        """Seconds from start to end; None before the end."""
        return elapsed(self.start_time, self.end_time)


@attrs.frozen
class FlowRun:
    """
    One call of a flow.

    Attributes:
        parameters: As recorded: long values are cut and say so, values without a JSON form are their repr.
        parent_id: The flow run or task run whose body made the call, if one did.
        durability: How surely the run was recorded: off, batched or strict.
        owner: Host and process that ran it.
        result_key: What its result is kept under; None where it is not.
        flow_attempt: The attempt of the flow run above that called it.
        step_id, step_args: Within a durable flow run: what it is found again by, and what it was called with.
        entrypoint: Where the code of a durable flow is found again: its module, file and name.
        epoch: How often a durable run was taken up.
    """

    id: str
    name: str
    flow_name: str
    state: State[Any]
    flow_version: str | None = None
    parameters: dict[str, Any] = attrs.Factory(dict[str, Any])
    parent_id: str | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    run_count: int = 1
    tags: tuple[str, ...] = ()
    durability: str = "batched"
    owner: str | None = None
    trace_id: str | None = None
    transitions: tuple[tuple[str, str, datetime, str | None], ...] = ()
    result_key: str | None = None
    flow_attempt: int = 1
    step_id: str | None = None
    step_args: str | None = None
    entrypoint: str | None = None
    epoch: int = 1

    @property
    def total_run_time(self) -> float | None:
        """Seconds from start to end; None before the end."""
        return elapsed(self.start_time, self.end_time)


class StoredResult(NamedTuple):
    """
    What is kept of a value that a run returned.

    A tuple: made in a third of the time, and of no concern to the collector, which would look at thousands on their way
    to the store.

    Attributes:
        key: The cache key it is found by, or the id of the run where it is not cached.
        run_id: The run that returned it.
        task_name: The name of the task, or of the flow.
        created: When, in nanoseconds since 1970.
        expires: From when on it counts as gone; None for never.
        codec: The form of the bytes.
        size, digest: How many bytes there are, and what they are told from others by.
        storage, name: Where they lie, unless here, and under which name there.
        trace_id: The trace of the run that returned it, in hexadecimal digits; None where it was not traced.
        data: The bytes, where they are few.
    """

    key: str
    run_id: str
    task_name: str
    created: int
    expires: int | None
    codec: str
    size: int
    digest: str
    storage: str | None = None
    name: str | None = None
    trace_id: str | None = None
    data: bytes | None = None


@attrs.frozen
class Owned:
    """
    Who has a durable run that has not ended.

    Attributes:
        epoch: How often it was taken up; what is written under an older one is refused.
        owner: The process that has it; "" where it is suspended, so that none has.
        since: When it was last taken up, in nanoseconds since 1970.
        crashes: How many processes in a row ended while they ran it, without having recorded a step beyond *steps*.
        wake_at: When one that is suspended is due, in nanoseconds since 1970; None: not before a signal comes.
        priority: Of those that are due, the one with the highest is taken up first.
    """

    run_id: str
    owner: str
    epoch: int
    since: int
    crashes: int = 0
    steps: int = 0
    wake_at: int | None = None
    priority: int = 0

    @property
    def suspended(self) -> bool:
        """Whether it waits in the store, and in no process."""
        return not self.owner


class Suspension(NamedTuple):
    """
    That a durable run is left to the store until it is due.

    Attributes:
        wake_at: When that is, in nanoseconds since 1970; None: not before a signal comes.
        waits: The signals that it waits for, each by the id of the flow run that reads it, which is the run or one
            below it, and by its name.
    """

    run_id: str
    wake_at: int | None
    waits: Sequence[tuple[str, str]] = ()


@attrs.frozen
class History:
    """
    What is on record of one run and of all below it.

    Attributes:
        runs: The run itself first; each behind the one that called it.
        results: What they came to, and what was drawn for them, by key.
    """

    runs: list[FlowRun | TaskRun] = attrs.Factory(list["FlowRun | TaskRun"])
    results: dict[str, StoredResult] = attrs.Factory(dict[str, StoredResult])


@attrs.frozen
class LogLine:
    """One line that a run's own logger, or its prints, said."""

    run_id: str
    at: datetime
    level: int
    logger: str
    message: str


@attrs.frozen
class Request:
    """
    What somebody asks of a flow run in progress, in whichever process it runs.

    Attributes:
        what: "cancel".
        why: Who asked, and by what means: half a sentence for the message of the state that comes of it.
    """

    run_id: str
    what: str
    why: str
    at: datetime


def moment(at: int | None) -> datetime | None:
    """Give nanoseconds since 1970 as an aware datetime, to the microsecond."""
    return None if at is None else instant(at)


def instant(at: int) -> datetime:
    """Give nanoseconds since 1970 as an aware datetime, to the microsecond."""
    return datetime.fromtimestamp(at // 1_000_000_000, UTC).replace(microsecond=at // 1_000 % 1_000_000)


def nanoseconds(moment: datetime) -> int:
    """Give an aware datetime as nanoseconds since 1970."""
    return int(moment.timestamp()) * 1_000_000_000 + moment.microsecond * 1_000


def elapsed(start: datetime | None, end: datetime | None) -> float | None:
    """Give the seconds between two moments; None where one is not known."""
    return None if start is None or end is None else (end - start).total_seconds()


def task_run_name(task_name: str, run_id: str) -> str:
    """Give the name a task run has by default: the task's, and its number within the flow in hexadecimal."""
    number = run_id[-12:]
    return task_name if number == FIRST else f"{task_name}-{number.lstrip('0'):0>3}"


def stored_state(
    stamp: Stamp,
    message: str | None,
    at: int | None,
    *,
    flow_run_id: str | None = None,
    task_run_id: str | None = None,
) -> State[Any]:
    """Give the state that a record tells of; its value was not kept."""
    kind, name = stamp
    return State(
        StateType(kind),
        name,
        message=message,
        data=NotKept(),
        timestamp=moment(at),
        flow_run_id=flow_run_id,
        task_run_id=task_run_id,
    )
