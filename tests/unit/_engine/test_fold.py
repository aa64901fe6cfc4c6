"""Folding: what is a row, and what of a heap of events goes elsewhere."""

from __future__ import annotations

from typing import Final

from headrace import flow, task
from headrace._engine.fold import durable, fold
from headrace._engine.groups import Group
from headrace._engine.journal import Event, Journal
from headrace._engine.runs import FlowRunning, Scope, TaskRunning
from headrace._model.events import ASK, COMPLETED, GROUP, RUNNING

PREFIX: Final = "3f2c1b7e-1111-4222-8333-"
NOTHING: Final[frozenset[str]] = frozenset()


@task
def step() -> None: ...


@flow
def work() -> None: ...


def begun(level: str = "batched") -> tuple[FlowRunning, TaskRunning, Group]:
    """Give a flow run, a task run of it, and the map that the task run is an item of."""
    journal = Journal(draw=lambda: PREFIX, level=level, now=lambda: 0)
    run = FlowRunning(work.spec, Scope(journal, PREFIX, level, flow=True), None, 0, NOTHING)
    item = TaskRunning(step.spec, run.scope, run, 2, NOTHING)
    group = Group(step.spec, run, 1, 0)
    item.group = group
    return run, item, group


def test_a_map_that_has_ended_is_heard_and_no_row() -> None:
    run, item, group = begun()
    told: list[Event] = [
        (run, RUNNING, 1, None),
        (item, RUNNING, 2, None),
        (item, COMPLETED, 3, None),
        (group, GROUP, 4, None),
    ]

    batch, heard = fold(told)

    assert (len(batch.flow_runs), len(batch.task_runs), len(batch)) == (1, 1, 2)
    assert heard.grouped == [(group, 4)]
    assert (heard.began, heard.ended) == ([run], [item])


def test_a_run_in_progress_whose_result_is_known_has_a_row_as_narrow_as_that_of_its_end() -> None:
    _, item, _ = begun()
    item.result_key = "k" * 32

    running, _ = fold([(item, RUNNING, 2, None), (None, ASK, 0, print)])
    ended, _ = fold([(item, COMPLETED, 3, None)])

    assert [len(row) for row in running.task_runs] == [6], "a wider one would leave values that the other does not name"
    assert [(len(row), row[6]) for row in ended.kept_runs] == [(7, "k" * 32)]


def test_a_key_whose_signs_are_escaped_somewhere_goes_into_no_row_of_fixed_places() -> None:
    _, item, _ = begun()
    item.result_key = "\0" * 32

    batch, _ = fold([(item, RUNNING, 2, None), (item, COMPLETED, 3, None)])

    assert batch.kept_runs == []
    assert [row[14] for row in batch.task_runs] == ["\0" * 32]


def test_of_a_lost_batch_the_durable_runs_are_owed_and_nothing_else() -> None:
    run, item, group = begun("strict")
    told: list[Event] = [(item, RUNNING, 2, None), (group, GROUP, 4, None), (None, ASK, 0, print)]

    assert durable(told, [run]) == [run, item]
