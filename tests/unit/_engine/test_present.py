"""Whether a run is to stop: asked by code inside it, with runs above it that somebody stopped."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator

import pytest

from headrace import flow, task
from headrace._engine.context import current_run
from headrace._engine.journal import Journal
from headrace._engine.present import cancelled
from headrace._engine.runs import FlowRunning, Run, Scope, TaskRunning

PREFIXES = ("00000000-0000-4000-8000-", "00000000-0000-4000-9000-")


@flow
def pipeline() -> None: ...


@task
def step() -> None: ...


class Family:
    """A flow run, a task run in it, a flow run that the task called and a task run in that."""

    def __init__(self) -> None:
        journal = Journal(draw=lambda: PREFIXES[0], level="batched", now=lambda: 0)
        outer, inner = (Scope(journal, prefix, "batched", flow=True) for prefix in PREFIXES)
        none: frozenset[str] = frozenset()
        self.top = FlowRunning(pipeline.spec, outer, None, 0, none)
        self.step = TaskRunning(step.spec, outer, self.top, 1, none)
        self.below = FlowRunning(pipeline.spec, inner, self.step, 0, none)
        self.leaf = TaskRunning(step.spec, inner, self.below, 1, none)


@pytest.fixture
def family() -> Iterator[Family]:
    before = current_run.set(None)
    yield Family()
    current_run.reset(before)


def asked_in(run: Run | None) -> bool:
    """Ask from within *run*."""

    def ask() -> bool:
        current_run.set(run)
        return cancelled()

    return contextvars.copy_context().run(ask)


def noted(family: Family) -> list[str]:
    """The names of the runs whose body was told that it is to stop."""
    return [name for name, run in vars(family).items() if run.noticed]


@pytest.mark.parametrize("stopped", ["top", "step", "below", "leaf"])
def test_a_run_is_to_stop_when_it_or_one_above_it_was_stopped(family: Family, stopped: str) -> None:
    getattr(family, stopped).stopping = "asked for"

    names = list(vars(family))
    assert [asked_in(getattr(family, name)) for name in names] == [
        names.index(name) >= names.index(stopped) for name in names
    ]


def test_outside_of_runs_nothing_is_to_stop(family: Family) -> None:
    family.top.stopping = "asked for"

    assert not asked_in(None)


def test_a_task_run_whose_body_was_told_so_is_noted_and_waits_for_its_record(family: Family) -> None:
    family.top.stopping = "asked for"
    asked_in(family.leaf)

    assert noted(family) == ["leaf"]
    assert family.leaf.settles


def test_a_flow_run_whose_body_was_told_so_is_noted_as_well(family: Family) -> None:
    family.top.stopping = "asked for"

    assert asked_in(family.below)
    assert noted(family) == ["below"]
    assert asked_in(family.top)
    assert noted(family) == ["top", "below"]


def test_a_body_that_was_told_to_go_on_is_not_noted(family: Family) -> None:
    assert not asked_in(family.leaf)

    family.below.stopping = "asked for"
    assert not asked_in(family.step)
    assert noted(family) == []
