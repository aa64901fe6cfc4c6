"""What failures of submitted runs do to their flow: asked for, unseen, under both policies, and returned."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import attrs
import pytest

from headrace import flow, quote, task
from headrace.errors import CancelledRun
from headrace.futures import Future
from headrace.states import Completed
from headrace.task_runners import ConcurrentTaskRunner
from tests.spec.forms import Form, Latch, Record

Lines = Callable[[], list[str]]
BOOM = ValueError("boom")


def warnings(said: Lines) -> list[str]:
    """Give what was said at WARNING, without whose it is."""
    return [line.partition(" - ")[2] for line in said() if line.startswith("WARNING")]


class Fails:
    """A task that fails with its argument."""

    def __init__(self, inner: Form) -> None:
        async def fails(x: int) -> None:
            raise ValueError(x)

        self.task = inner.task(name="fails")(fails)


# -- failures -----------------------------------------------------------------------------------------------


def test_a_failure_that_was_asked_for_is_the_flow_s(form: Form, inner: Form, record: Record, said: Lines) -> None:
    fails = Fails(inner).task

    async def body() -> None:
        await form.got(fails.submit(1))

    with pytest.raises(ValueError, match="1"):
        form.in_flow(body)

    assert record.flow_run().state.name == "Failed"
    assert warnings(said) == []


def test_failures_nobody_asked_for_do_not_fail_the_flow_but_are_said_once(
    form: Form, inner: Form, record: Record, said: Lines
) -> None:
    fails = Fails(inner).task

    async def body() -> str:
        for x in range(7):
            _ = fails.submit(x)
        return "value"

    assert form.in_flow(body) == "value"

    assert record.flow_run().state.name == "Completed"
    (line,) = warnings(said)
    assert line.startswith("7 submitted runs did not complete, and the flow never asked for the result: 'fails-00")
    assert line.endswith(" and 2 more")


def state_of(future: Future[Any]) -> object:
    """Ask for the state."""
    return future.state


LOOKS: list[Callable[[Future[Any]], object]] = [
    state_of,
    lambda future: future.result(raise_on_failure=False),
    lambda future: future.add_done_callback(state_of),
]


@pytest.mark.parametrize("look", LOOKS)
def test_a_failure_that_was_looked_at_is_not_said(
    form: Form, inner: Form, said: Lines, look: Callable[[Future[Any]], Any]
) -> None:
    fails = Fails(inner).task

    async def body() -> None:
        future = fails.submit(1)
        await form.ended([future])
        look(future)

    form.in_flow(body)

    assert warnings(said) == []


def test_a_failure_that_another_run_was_handed_is_not_said_again(form: Form, inner: Form, said: Lines) -> None:
    fails = Fails(inner).task

    @inner.task()
    async def take(value: Any) -> None: ...

    async def body() -> None:
        future = take.submit(fails.submit(1))
        await form.ended([future])
        assert future.state.name == "NotReady"

    form.in_flow(body)

    assert warnings(said) == []


def test_several_failures_asked_for_together_are_a_group_in_order(form: Form, inner: Form) -> None:
    fails = Fails(inner).task

    async def body() -> None:
        await form.got(fails.map([1, 2, 3]))

    with pytest.raises(ExceptionGroup, match="3 of 3 calls of 'fails' failed") as caught:
        form.in_flow(body)
    assert [error.args for error in caught.value.exceptions] == [(1,), (2,), (3,)]


def test_with_cancel_the_first_failure_cancels_the_others_and_is_raised(form: Form, record: Record) -> None:
    begun = Latch()

    @task
    async def endless() -> None:
        begun.open()
        await asyncio.sleep(1_000)

    @task
    async def fails() -> None:
        await begun.passed()
        raise BOOM

    async def body() -> None:
        first, _ = endless.submit(), fails.submit()
        await form.got(first)

    with pytest.raises(ValueError, match="boom") as caught:
        form.in_flow(body, on_child_failure="cancel")

    assert caught.value is BOOM
    assert sorted(run.state.name for run in record.task_runs()) == ["Cancelled", "Failed"]
    assert record.flow_run().state.name == "Failed"


def test_with_cancel_what_has_not_begun_never_does(form: Form, inner: Form, record: Record) -> None:
    latch = Latch()
    story: list[str] = []

    @inner.task()
    async def fails() -> None:
        await latch.passed()
        raise BOOM

    @inner.task()
    async def never() -> None:
        story.append("begun")

    async def body() -> None:
        _ = fails.submit()
        futures = [never.submit() for _ in range(3)]
        _ = never.map(range(3))
        latch.open()
        await form.ended(futures)

    with pytest.raises(ValueError, match="boom"):
        form.in_flow(body, on_child_failure="cancel", task_runner=ConcurrentTaskRunner(limit=1))

    assert story == []
    assert {run.state.name for run in record.task_runs()} == {"Failed", "Cancelled"}


def test_with_cancel_the_failure_is_raised_though_the_body_asked_for_nothing(
    form: Form, inner: Form, said: Lines
) -> None:
    fails = Fails(inner).task

    async def body() -> str:
        _ = fails.submit(1)
        return "value"

    with pytest.raises(ValueError, match="1"):
        form.in_flow(body, on_child_failure="cancel")
    assert warnings(said) == []


def test_with_cancel_cancelled_runs_tell_why(form: Form) -> None:
    begun = Latch()
    kept: list[Future[None]] = []

    @task
    async def endless() -> None:
        begun.open()
        await asyncio.sleep(1_000)

    @task(task_run_name="the first")
    async def fails() -> None:
        await begun.passed()
        raise BOOM

    async def body() -> None:
        kept.append(endless.submit())
        await form.ended([fails.submit()])

    with pytest.raises(ValueError, match="boom"):
        form.in_flow(body, on_child_failure="cancel")
    with pytest.raises(CancelledRun, match="Task run 'endless-001' ended as Cancelled"):
        kept[0].result()


def test_with_cancel_a_failed_body_cancels_what_it_submitted(record: Record) -> None:
    @task
    async def endless() -> None:
        await asyncio.sleep(1_000)

    @flow(on_child_failure="cancel")
    async def main() -> None:
        _ = endless.submit()
        await asyncio.sleep(0)
        raise BOOM

    with pytest.raises(ValueError, match="boom"):
        asyncio.run(main())
    assert record.task_run().state.name == "Cancelled"


# -- returned futures ---------------------------------------------------------------------------------------


@dataclass
class Report:
    rows: Any


@attrs.frozen
class Part:
    value: Any


def test_returned_futures_are_their_results_wherever_they_stand(form: Form, inner: Form) -> None:
    @inner.task()
    async def one(x: int) -> int:
        return x

    async def body() -> Any:
        first, second = one.submit(1), one.submit(2)
        return {"first": first, "more": [second, (Part(first), 5)], "report": Report({"rows": one.map([3, 4])})}

    assert form.in_flow(body) == {
        "first": 1,
        "more": [2, (Part(1), 5)],
        "report": Report({"rows": [3, 4]}),
    }


WRAPS: list[Callable[[Any], Any]] = [lambda one: one, lambda one: [one], lambda one: {"a": one}]


@pytest.mark.parametrize("wrap", WRAPS)
def test_a_returned_future_that_failed_fails_the_flow_with_its_own_exception(
    form: Form, inner: Form, record: Record, wrap: Callable[[Any], Any]
) -> None:
    @inner.task()
    async def fails() -> None:
        raise BOOM

    async def body() -> Any:
        return wrap(fails.submit())

    with pytest.raises(ValueError, match="boom") as caught:
        form.in_flow(body)
    assert caught.value is BOOM
    assert record.flow_run().state.name == "Failed"


def test_several_returned_futures_that_failed_fail_the_flow_with_a_group(form: Form, inner: Form) -> None:
    fails = Fails(inner).task

    async def body() -> Any:
        return [fails.submit(1), fails.submit(2)]

    with pytest.raises(ExceptionGroup, match="2 of 2 runs whose futures were returned failed") as caught:
        form.in_flow(body)
    assert [error.args for error in caught.value.exceptions] == [(1,), (2,)]


@pytest.mark.parametrize("good", [True, False])
def test_a_flow_that_returns_futures_gives_its_state_on_request(form: Form, inner: Form, good: bool) -> None:
    @inner.task()
    async def work() -> int:
        if not good:
            raise BOOM
        return 4

    @form.flow()
    async def main() -> Any:
        return [work.submit()]

    state = form.run(main, return_state=True)

    assert (state.name, state.data) == (("Completed", [4]) if good else ("Failed", BOOM))


def test_a_task_that_returns_futures_gives_their_results(form: Form, inner: Form) -> None:
    @inner.task()
    async def one(x: int) -> int:
        return x

    @inner.task()
    async def several() -> Any:
        return [one.submit(1), {"a": one.submit(2)}]

    async def body() -> Any:
        return await form.got(several.submit())

    assert form.in_flow(body) == [1, {"a": 2}]


def test_quoted_futures_are_returned_as_they_are(form: Form, inner: Form) -> None:
    @inner.task()
    async def one() -> int:
        return 1

    async def body() -> Any:
        return quote([one.submit()])

    value: Any = form.in_flow(body)
    (future,) = value.unwrap()

    assert repr(value).startswith("quote(")
    assert (isinstance(future, Future), future.result()) == (True, 1)


def test_a_returned_state_that_holds_a_future_is_left_alone(form: Form) -> None:
    async def body() -> Any:
        return Completed(data=3)

    assert form.in_flow(body) == 3
