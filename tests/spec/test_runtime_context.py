"""What code inside a run can ask about it: headrace.runtime and the records of headrace.context."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from headrace import flow, tags, task
from headrace._engine.context import current_run
from headrace._engine.runs import Run
from headrace.context import FlowRunContext, TaskRunContext, get_run_context
from headrace.runtime import cancelled, deployment, flow_run, task_run
from tests.spec.forms import Form, Record, call

SUBJECTS: list[Any] = [flow_run, task_run, deployment]
OUTSIDE: dict[str, Any] = {"tags": [], "parameters": {}}


def all_of(subject: Any) -> dict[str, Any]:
    """Everything that *subject* tells here and now."""
    return {name: getattr(subject, name) for name in dir(subject)}


def nothing_of(subject: Any) -> dict[str, Any]:
    """Everything that *subject* tells outside of runs."""
    return {name: OUTSIDE.get(name) for name in dir(subject)}


class Payload:
    """An argument that can be watched."""


# -- the run in progress ------------------------------------------------------------------------------------


def test_a_flow_s_body_is_told_what_its_record_says(form: Form, record: Record) -> None:
    seen: dict[str, Any] = {}

    @form.flow(name="nightly", version="7", flow_run_name="load-{day}")
    async def nightly(day: str, limit: int = 3) -> None:
        seen.update(all_of(flow_run))

    with tags("b", "a"):
        form.run(nightly, "monday")

    run = record.flow_run()
    assert seen == {
        "id": run.id,
        "name": "load-monday",
        "flow_name": "nightly",
        "flow_version": "7",
        "tags": ["a", "b"],
        "parameters": {"day": "monday", "limit": 3},
        "scheduled_start_time": run.start_time,
        "parent_flow_run_id": None,
        "root_flow_run_id": run.id,
        "parent_deployment_id": None,
        "run_count": 1,
    }


def test_a_task_s_body_is_told_of_its_run_and_of_the_flow_run_around_it(form: Form, record: Record) -> None:
    seen: list[dict[str, Any]] = []

    @form.task(name="fetch", tags=["web"])
    async def fetch(url: str, *, depth: int = 2) -> None:
        seen.extend([all_of(task_run), all_of(flow_run)])

    @form.flow()
    async def crawl(start: str) -> None:
        await call(fetch, start)

    form.run(crawl, "here")

    of_task, of_flow = seen
    run = record.task_run()
    assert of_task == {
        "id": run.id,
        "name": run.name,
        "task_name": "fetch",
        "tags": ["web"],
        "parameters": {"url": "here", "depth": 2},
        "run_count": 1,
    }
    assert (of_flow["id"], of_flow["parameters"]) == (record.flow_run().id, {"start": "here"})


def test_a_flow_s_own_body_is_in_no_task_run(form: Form, record: Record) -> None:
    seen: list[dict[str, Any]] = []

    @form.flow()
    async def inner() -> None:
        seen.append(all_of(task_run))

    @form.task()
    async def between() -> None:
        await call(inner)

    @form.flow()
    async def outer() -> None:
        seen.append(all_of(task_run))
        await call(between)
        seen.append(all_of(task_run))

    form.run(outer)

    assert seen == [nothing_of(task_run)] * 3


def test_a_task_on_its_own_is_in_no_flow_run(form: Form, record: Record) -> None:
    seen: list[Any] = []

    @form.task()
    async def alone() -> None:
        seen.extend([task_run.id, all_of(flow_run)])

    form.run(alone)

    assert seen == [record.task_run().id, nothing_of(flow_run)]


@pytest.mark.parametrize("subject", SUBJECTS, ids=repr)
def test_outside_of_runs_there_is_nothing_and_no_error(subject: Any) -> None:
    assert all_of(subject) == nothing_of(subject)


def test_no_run_belongs_to_a_deployment_yet(form: Form, record: Record) -> None:
    seen: list[dict[str, Any]] = []

    @form.flow()
    async def whole() -> None:
        seen.append(all_of(deployment))

    form.run(whole)

    assert seen == [{"id": None, "name": None, "version": None, "flow_run_id": None, "parameters": {}}]


def test_subflows_know_the_flow_run_above_and_the_one_at_the_root(form: Form, record: Record) -> None:
    seen: dict[str | None, tuple[Any, Any]] = {}
    ids: dict[str | None, str | None] = {}

    def note() -> None:
        ids[flow_run.flow_name] = flow_run.id
        seen[flow_run.flow_name] = flow_run.parent_flow_run_id, flow_run.root_flow_run_id

    @form.flow(name="low")
    async def low() -> None:
        note()

    @form.task()
    async def step() -> None:
        await call(low)

    @form.flow(name="middle")
    async def middle() -> None:
        note()
        await call(step)

    @form.flow(name="top")
    async def top() -> None:
        note()
        await call(middle)

    @form.task()
    async def alone() -> None:
        await call(top)

    form.run(alone)

    assert seen == {
        "top": (None, ids["top"]),
        "middle": (ids["top"], ids["top"]),
        "low": (ids["middle"], ids["top"]),
    }


def test_each_attempt_counts_and_the_due_moment_stays_that_of_the_first(form: Form, kind: str, record: Record) -> None:
    counts: list[int | None] = []
    due: list[dt.datetime | None] = []

    @form.decorate(kind, retries=2)
    async def flaky() -> None:
        counts.append(task_run.run_count if kind == "task" else flow_run.run_count)
        due.append(flow_run.scheduled_start_time)
        if len(counts) < 3:
            raise OSError("again")

    form.run(flaky)

    assert counts == [1, 2, 3]
    assert set(due) == ({record.flow_run().start_time} if kind == "flow" else {None})


# -- parameters ---------------------------------------------------------------------------------------------


def test_parameters_are_the_body_s_own_objects_not_what_the_record_keeps(form: Form, kind: str, record: Record) -> None:
    long = ["x"] * 200
    seen: list[Any] = []

    @form.decorate(kind)
    async def body(words: list[str]) -> None:
        seen.append(words)
        seen.append((task_run if kind == "task" else flow_run).parameters["words"])

    form.run(body, long)

    assert seen[0] == long
    assert seen[1] is seen[0]


def test_a_flow_s_parameters_are_converted_as_its_body_gets_them(form: Form, record: Record) -> None:
    seen: list[dict[str, Any]] = []

    @form.flow()
    async def whole(day: dt.date, count: int) -> None:
        seen.append(flow_run.parameters)

    form.run(whole, "2026-03-01", "4")

    assert seen == [{"day": dt.date(2026, 3, 1), "count": 4}]


def test_parameters_hold_the_results_of_states_that_were_handed_over(form: Form, record: Record) -> None:
    seen: list[dict[str, Any]] = []

    @form.task()
    async def one() -> int:
        return 1

    @form.task()
    async def use(numbers: list[int]) -> None:
        seen.append(task_run.parameters)

    form.run(use, [form.run(one, return_state=True)])

    assert seen == [{"numbers": [1]}]


def test_parameters_are_without_self_and_with_each_item_of_the_keywords(form: Form, kind: str, record: Record) -> None:
    seen: list[dict[str, Any]] = []

    async def load(self: Any, *files: str, **options: int) -> None:
        seen.append((task_run if kind == "task" else flow_run).parameters)

    class Loader:
        method = form.decorate(kind)(load)

    form.run(Loader().method, "a", "b", depth=2)

    assert seen == [{"files": ("a", "b"), "depth": 2}]


def test_a_change_to_the_dict_of_parameters_changes_nothing_else(form: Form, record: Record) -> None:
    seen: list[dict[str, Any]] = []

    @form.task()
    async def step(x: int) -> int:
        task_run.parameters["x"] = 99
        seen.append(task_run.parameters)
        return x

    assert form.run(step, 1) == 1
    assert seen == [{"x": 1}]


def test_what_makes_a_run_s_name_may_ask_for_its_parameters(form: Form, kind: str, record: Record) -> None:
    def naming() -> str:
        return f"load-{(task_run if kind == 'task' else flow_run).parameters['day']}"

    @form.decorate(kind, **{f"{kind}_run_name": naming})
    async def load(day: str = "monday") -> None: ...

    form.run(load)

    assert (record.task_run() if kind == "task" else record.flow_run()).name == "load-monday"


def test_what_makes_a_flow_run_s_name_may_ask_when_it_is_due(form: Form, record: Record) -> None:
    due: list[dt.datetime | None] = []

    def naming() -> str:
        due.append(flow_run.scheduled_start_time)
        return "named"

    @form.flow(flow_run_name=naming)
    async def load() -> None: ...

    form.run(load)

    began = record.flow_run().start_time
    assert due[0] is not None
    assert began is not None
    assert dt.timedelta(0) <= began - due[0] < dt.timedelta(minutes=1)


def test_hooks_may_ask_as_well(form: Form, kind: str, record: Record) -> None:
    seen: list[Any] = []

    def after(_subject: Any, run: Any, _state: Any) -> None:
        asked = task_run if kind == "task" else flow_run
        seen.extend([asked.id == run.id, asked.parameters, cancelled()])

    @form.decorate(kind, on_completion=[after])
    async def load(day: str) -> None: ...

    form.run(load, "monday")

    assert seen == [True, {"day": "monday"}, False]


def test_arguments_that_do_not_fit_have_no_names(form: Form, kind: str, record: Record) -> None:
    seen: list[dict[str, Any]] = []

    def after(_subject: Any, _run: Any, _state: Any) -> None:
        seen.append((task_run if kind == "task" else flow_run).parameters)

    @form.decorate(kind, on_failure=[after])
    async def load(day: str) -> None: ...

    with pytest.raises(TypeError):
        form.run(load, "monday", "tuesday")

    assert seen == [{}]


def test_a_run_that_has_ended_holds_its_arguments_no_longer(form: Form, kind: str, record: Record) -> None:
    kept: list[Run | None] = []

    @form.decorate(kind, validate_parameters=False) if kind == "flow" else form.task()
    async def work(payload: object) -> None:
        kept.append(current_run.get())

    payload = Payload()
    watched = weakref.ref(payload)
    form.run(work, payload)
    del payload
    gc.collect()

    assert kept[0] is not None
    assert watched() is None


def test_a_generator_s_run_that_has_ended_holds_them_no_longer_either(record: Record) -> None:
    kept: list[Run | None] = []

    @task
    def items(payload: object) -> Iterator[int]:
        kept.append(current_run.get())
        yield 1

    payload = Payload()
    watched = weakref.ref(payload)
    taken = list(items(payload))
    del payload
    gc.collect()

    assert taken == [1]
    assert kept[0] is not None
    assert watched() is None


def test_a_generator_s_body_is_told_at_every_item(record: Record) -> None:
    seen: list[Any] = []

    @task
    def count(to: int) -> Iterator[int]:
        for number in range(to):
            seen.append((task_run.task_name, task_run.parameters))
            yield number

    @task(name="count")
    async def count_async(to: int) -> AsyncIterator[int]:
        for number in range(to):
            seen.append((task_run.task_name, task_run.parameters))
            yield number

    async def take() -> list[int]:
        return [item async for item in count_async(2)]

    taken: list[int] = []
    for item in count(2):
        assert task_run.id is None
        taken.append(item)

    assert [taken, asyncio.run(take())] == [[0, 1], [0, 1]]
    assert seen == [("count", {"to": 2})] * 4


# -- where the context goes ---------------------------------------------------------------------------------


async def test_what_a_body_starts_on_its_loop_or_in_a_thread_of_asyncio_may_ask(record: Record) -> None:
    def asked() -> tuple[Any, Any]:
        return task_run.id, task_run.parameters

    async def asked_later() -> tuple[Any, Any]:
        return asked()

    @task
    async def step(x: int) -> list[tuple[Any, Any]]:
        return [asked(), await asyncio.create_task(asked_later()), await asyncio.to_thread(asked)]

    found = await step(1)

    assert len(set(map(str, found))) == 1
    assert found[0][1] == {"x": 1}


def test_a_bare_thread_is_in_no_run(record: Record) -> None:
    seen: list[dict[str, Any]] = []

    @task
    def step() -> None:
        thread = threading.Thread(target=lambda: seen.append(all_of(task_run)))
        thread.start()
        thread.join()

    step()

    assert seen == [nothing_of(task_run)]


def test_a_sync_body_with_a_timeout_is_told_in_its_own_thread(record: Record) -> None:
    @task(timeout_seconds=60)
    def step(x: int) -> tuple[Any, Any, str]:
        return task_run.name, task_run.parameters, threading.current_thread().name

    assert step(1) == ("step", {"x": 1}, "headrace step")


# -- the records of headrace.context ------------------------------------------------------------------------


def test_the_context_of_a_run_has_its_parameters_and_its_start(form: Form, kind: str, record: Record) -> None:
    seen: list[FlowRunContext | TaskRunContext] = []
    payload = Payload()

    @form.decorate(kind, **({"validate_parameters": False} if kind == "flow" else {}))
    async def work(payload: Any, depth: int = 2) -> None:
        seen.append(get_run_context())

    form.run(work, payload)

    run = record.task_run() if kind == "task" else record.flow_run()
    assert seen[0].parameters == {"payload": payload, "depth": 2}
    assert seen[0].start_time == run.start_time


def test_the_context_of_a_run_whose_name_is_being_made_has_no_start_yet(form: Form, kind: str, record: Record) -> None:
    seen: list[dt.datetime | None] = []

    def naming() -> str:
        seen.append(get_run_context().start_time)
        return "named"

    @form.decorate(kind, **{f"{kind}_run_name": naming})
    async def work() -> None: ...

    form.run(work)

    assert seen == [None]


# -- whether to stop ----------------------------------------------------------------------------------------


def test_a_run_that_nobody_cancels_is_not_to_stop(form: Form, kind: str, record: Record) -> None:
    @form.decorate(kind)
    async def work() -> bool:
        return cancelled()

    assert form.run(work) is False
    assert not cancelled()


def test_threads_of_a_flow_ask_for_their_own_runs(record: Record) -> None:
    @flow
    def whole() -> tuple[str | None, bool]:
        return flow_run.id, cancelled()

    found: list[tuple[str | None, bool]] = []
    threads = [threading.Thread(target=lambda: found.append(whole())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(found) == sorted((run.id, False) for run in record.flow_runs())
