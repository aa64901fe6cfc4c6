"""Flows in flows and tasks in tasks, in every mixture of sync and async, and how deep they may go."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

import headrace
from headrace import flow, task
from headrace.context import get_flow_run, get_task_run
from headrace.errors import MissingContextError, OptionTypeError, RunningLoopError
from tests.spec.forms import Form, Record, call

Lines = Callable[[], list[str]]


@flow
def sync_inner(x: int) -> int:
    return x + 1


@flow
async def async_inner(x: int) -> int:
    await asyncio.sleep(0)
    return x + 1


@flow(name="outer")
def sync_in_sync() -> int:
    return sync_inner(1)


@flow(name="outer")
def async_in_sync() -> int:
    return headrace.run(async_inner(1))


@flow(name="outer")
async def sync_in_async() -> int:
    return sync_inner(1)


@flow(name="outer")
async def async_in_async() -> int:
    return await async_inner(1)


@pytest.mark.parametrize("outer", [sync_in_sync, async_in_sync, sync_in_async, async_in_async])
def test_a_flow_called_in_a_flow_is_its_subflow(outer: Any, record: Record) -> None:
    assert Form("sync").run(outer) == 2

    first, second = record.flow_runs()
    assert (first.flow_name, first.parent_id, second.parent_id) == ("outer", None, first.id)
    assert {first.state.name, second.state.name} == {"Completed"}


def test_tasks_belong_to_the_flow_and_the_task_that_called_them(form: Form, record: Record) -> None:
    @form.task(name="leaf")
    async def leaf() -> None: ...

    @form.task(name="branch")
    async def branch() -> None:
        await call(leaf)

    @form.flow(name="inner")
    async def inner() -> None:
        await call(leaf)

    @form.flow(name="outer")
    async def outer() -> None:
        await call(branch)
        await call(inner)

    form.run(outer)

    flows = {run.flow_name: run.id for run in record.flow_runs()}
    tasks = [(run.task_name, run.flow_run_id, run.parent_task_run_id) for run in record.task_runs()]
    (name, of_flow, of_task), second, third = tasks
    branch_id = record.task_runs()[0].id
    assert (name, of_flow, of_task) == ("branch", flows["outer"], None)
    assert second == ("leaf", flows["outer"], branch_id)
    assert third == ("leaf", flows["inner"], None)


def test_a_flow_called_in_a_task_has_the_task_as_its_parent(form: Form, record: Record) -> None:
    @form.flow(name="inner")
    async def inner() -> None: ...

    @form.task()
    async def branch() -> None:
        await call(inner)

    @form.flow(name="outer")
    async def outer() -> None:
        await call(branch)

    form.run(outer)

    runs = {run.flow_name: run for run in record.flow_runs()}
    assert runs["inner"].parent_id == record.task_run().id


def test_a_task_outside_flows_is_retried_recorded_and_logged_all_the_same(
    form: Form, record: Record, said: Lines
) -> None:
    calls: list[int] = []

    @form.task(retries=1)
    async def alone() -> int:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError
        return 7

    assert form.run(alone) == 7
    run = record.task_run()
    assert (run.flow_run_id, run.run_count, run.state.name) == (None, 2, "Completed")
    assert said()[-1] == "INFO | Task run 'alone' - Finished in state Completed()"
    assert record.flow_runs() == []


def test_tasks_in_a_task_outside_flows_are_its_own(form: Form, record: Record) -> None:
    @form.task(name="leaf")
    async def leaf() -> None: ...

    @form.task(name="root")
    async def root() -> None:
        await call(leaf)

    form.run(root)

    first, second = record.task_runs()
    assert (first.task_name, second.parent_task_run_id, second.flow_run_id) == ("root", first.id, None)


async def test_gathered_subflows_and_tasks_keep_their_own_runs(record: Record) -> None:
    @task
    async def leaf(x: int) -> str:
        await asyncio.sleep(0)
        return f"{get_flow_run().parameters['x']}{x}{get_task_run().flow_run_id == get_flow_run().id}"

    @flow
    async def inner(x: int) -> list[str]:
        return list(await asyncio.gather(leaf(1), leaf(2)))

    @flow
    async def outer() -> list[list[str]]:
        return list(await asyncio.gather(*[inner(x) for x in range(3)]))

    assert await outer() == [[f"{x}1True", f"{x}2True"] for x in range(3)]
    assert len(record.task_runs()) == 6
    assert len({run.id for run in record.flow_runs()}) == 4


def test_a_flow_in_another_thread_is_a_root_of_its_own(record: Record) -> None:
    @flow(name="outer")
    def outer() -> None:
        thread = threading.Thread(target=sync_inner, args=(1,))
        thread.start()
        thread.join()

    outer()

    assert [run.parent_id for run in record.flow_runs()] == [None, None]


def test_the_run_is_forgotten_after_the_call(form: Form) -> None:
    @form.flow()
    async def fails() -> None:
        raise ValueError("here")

    with pytest.raises(ValueError, match="here"):
        form.run(fails)
    with pytest.raises(MissingContextError, match="is only there inside a flow or task run"):
        get_flow_run()
    with pytest.raises(MissingContextError, match="The run logger"):
        headrace.get_run_logger()


def test_a_recursion_is_a_tree_of_runs(form: Form, record: Record) -> None:
    @form.flow()
    async def factorial(n: int) -> int:
        return 1 if n == 0 else n * await call(factorial, n - 1)

    assert form.run(factorial, 5) == 120
    runs = record.flow_runs()
    assert [run.parent_id for run in runs] == [None, *[run.id for run in runs[:-1]]]


@pytest.mark.parametrize("kind", ["flow", "task"])
def test_a_recursion_without_end_is_one_sentence_and_every_run_is_recorded_as_ended(
    form: Form, kind: str, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where Python has no room left even to close a coroutine that was never awaited, it says so; nobody can mend that.
    monkeypatch.setattr(sys, "unraisablehook", print)

    @form.decorate(kind, name="deep")
    async def deep(n: int) -> int:
        found: int = await call(deep, n + 1)
        return found

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(400)
    try:
        with pytest.raises(RecursionError, match="maximum recursion depth exceeded"):
            form.run(deep, 0)
    finally:
        sys.setrecursionlimit(limit)

    runs = record.flow_runs() if kind == "flow" else record.task_runs()
    assert len(runs) > 20
    assert {run.state.name for run in runs} == {"Failed"}
    assert all("RecursionError" in str(run.state.message) for run in runs)


# -- headrace.run -------------------------------------------------------------------------------------------


async def test_run_is_refused_on_the_thread_of_a_loop() -> None:
    with pytest.raises(RunningLoopError, match="`await` before the call"):
        headrace.run(async_inner(1))


def test_run_works_from_any_thread_without_a_loop(record: Record) -> None:
    found: list[int] = []

    async def elsewhere() -> None:
        await asyncio.to_thread(lambda: found.append(headrace.run(async_inner(1))))

    asyncio.run(elsewhere())

    assert found == [2]


def test_run_takes_whatever_can_be_awaited() -> None:
    class Soon:
        def __await__(self) -> Any:
            yield from asyncio.sleep(0).__await__()
            return 5

    assert headrace.run(Soon()) == 5


@pytest.mark.parametrize("wrong", [5, sync_inner, async_inner])
def test_run_refuses_what_cannot_be_awaited(wrong: Any) -> None:
    with pytest.raises(OptionTypeError, match=r"as in run\(my_flow\(1\)\), not"):
        headrace.run(wrong)


def test_an_async_call_from_sync_code_is_a_coroutine_nothing_more(record: Record) -> None:
    life = async_inner(1)

    assert asyncio.iscoroutine(life)
    life.close()
    assert record.flow_runs() == []
