"""What a run is handed from others: states as arguments, and `wait_for`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from headrace import State
from headrace.errors import OptionTypeError, UpstreamTaskError
from headrace.states import Cancelled, Completed, Failed, Running
from tests.spec.forms import Form, Record, call

Lines = Callable[[], list[str]]
BOOM = ValueError("boom")


class Steps:
    """Three tasks of one form: one that succeeds, one that fails, and one that gives what it is handed."""

    def __init__(self, form: Form) -> None:
        self.story: list[Any] = []

        async def good(x: int = 1) -> int:
            return x

        async def bad() -> None:
            raise BOOM

        async def take(value: Any = None, *more: Any, **named: Any) -> Any:
            self.story.append(value)
            return (value, *more, *named.values()) if more or named else value

        self.good, self.bad, self.take = form.task()(good), form.task(name="bad")(bad), form.task(name="take")(take)


@pytest.fixture
def steps(form: Form) -> Steps:
    return Steps(form)


def in_flow(form: Form, body: Callable[[], Any]) -> Any:
    """Run *body* as the body of a flow."""
    return form.run(form.flow()(body))


def test_a_state_among_the_arguments_is_its_value(form: Form, steps: Steps) -> None:
    async def body() -> Any:
        one = await call(steps.good, 1, return_state=True)
        two = await call(steps.good, 2, return_state=True)
        return await call(steps.take, one, [two, 3], named={"deep": (one, {"er": two})})

    assert in_flow(form, body) == (1, [2, 3], {"deep": (1, {"er": 2})})


def test_containers_without_states_are_handed_on_as_they_are(form: Form, steps: Steps) -> None:
    given = [1, [2, {"a": object()}]]

    async def body() -> Any:
        await call(steps.good, return_state=True)
        return await call(steps.take, given)

    assert in_flow(form, body) is given


def test_a_failed_upstream_keeps_the_body_from_running(form: Form, steps: Steps) -> None:
    async def body() -> None:
        await call(steps.take, await call(steps.bad, return_state=True))

    with pytest.raises(UpstreamTaskError, match=r"Task run 'take-\w+' was not started: the upstream run .* it needs"):
        in_flow(form, body)
    assert steps.story == []


def test_the_error_names_its_cause(form: Form, steps: Steps) -> None:
    async def body() -> None:
        await call(steps.take, wait_for=[await call(steps.bad, return_state=True)])

    with pytest.raises(UpstreamTaskError) as caught:
        in_flow(form, body)
    assert caught.value.__cause__ is BOOM


def test_a_run_that_was_not_started_is_not_ready(form: Form, steps: Steps, record: Record, said: Lines) -> None:
    heard: list[str] = []
    states: list[State[Any]] = []

    def hear(*_: Any) -> None:
        heard.append("hook")

    hooks: Any = {name: [hear] for name in ("on_running", "on_completion", "on_failure")}
    take = steps.take.with_options(name="last", retries=3, **hooks)

    async def body() -> None:
        failed = await call(steps.bad, return_state=True)
        states.append(await call(take, failed, return_state=True))
        states.append(await call(take, 1, wait_for=[failed], return_state=True))

    in_flow(form, body)

    for state in states:
        assert (state.type, state.name, state.is_final()) == ("PENDING", "NotReady", False)
        with pytest.raises(UpstreamTaskError):
            state.result()
    assert (heard, steps.story) == ([], [])
    assert [(run.task_name, run.state.name) for run in record.task_runs()[1:]] == [("last", "NotReady")] * 2
    assert any(line.startswith("ERROR") and "Finished in state NotReady(" in line for line in said())


def test_a_flow_that_lets_the_upstream_error_pass_has_failed(form: Form, steps: Steps, record: Record) -> None:
    async def body() -> None:
        await call(steps.take, await call(steps.bad, return_state=True))

    with pytest.raises(UpstreamTaskError):
        in_flow(form, body)
    assert record.flow_run().state.name == "Failed"


@pytest.mark.parametrize("upstream", [Failed(), Cancelled(), Running()])
def test_whatever_is_not_completed_is_no_upstream(form: Form, steps: Steps, upstream: State[Any]) -> None:
    async def body() -> None:
        await call(steps.take, wait_for=[upstream])

    with pytest.raises(UpstreamTaskError, match=upstream.name):
        in_flow(form, body)


@pytest.mark.parametrize(
    "given", [None, [], (), [5, "no state"], Completed(), [Completed(data=1)], iter([Completed()])]
)
def test_completed_states_and_plain_values_may_be_waited_for(form: Form, steps: Steps, given: Any) -> None:
    async def body() -> Any:
        return await call(steps.take, 7, wait_for=given)

    assert in_flow(form, body) == 7


@pytest.mark.parametrize("wrong", [5, "state", b"x"])
def test_what_is_no_list_cannot_be_waited_for(form: Form, steps: Steps, wrong: Any) -> None:
    async def body() -> None:
        await call(steps.take, wait_for=wrong)

    with pytest.raises(OptionTypeError, match="wait_for takes a list of futures or states, not"):
        in_flow(form, body)


def test_subflows_take_states_and_wait_for_them(form: Form, steps: Steps, record: Record) -> None:
    @form.flow(name="child")
    async def child(x: int) -> int:
        return x + 1

    async def body() -> Any:
        done = await call(steps.good, 4, return_state=True)
        first = await call(child, done, wait_for=[done])
        failed = await call(steps.bad, return_state=True)
        second = await call(child, failed, return_state=True)
        return first, second.name

    assert in_flow(form, body) == (5, "NotReady")


def test_wait_for_and_return_state_are_not_handed_to_the_body(form: Form, steps: Steps) -> None:
    options = {"wait_for": [1], "return_state": False}

    async def body() -> Any:
        return await call(steps.take, 1, **options)

    assert in_flow(form, body) == 1
    assert options == {"wait_for": [1], "return_state": False}
