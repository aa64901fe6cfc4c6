"""on_child_failure: what the first failure among submitted runs does to the others, to the flow and to its attempts."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from headrace import flow, task
from headrace.errors import OptionError
from tests.spec.cancelling import nothing_is_left
from tests.spec.forms import Form, Latch, Record, call


class Boom(Exception):
    """What a child raises."""


@task
async def endless(begun: Latch) -> None:
    begun.open()
    await asyncio.get_running_loop().create_future()


@task
async def fails(after: Latch, error: Exception) -> None:
    await after.passed()
    raise error


def test_the_first_failure_cancels_the_others_and_fails_the_flow_with_itself(form: Form, record: Record) -> None:
    begun, boom = Latch(), Boom("first")

    @form.flow(on_child_failure="cancel")
    async def main() -> None:
        waits = [endless.submit(begun) for _ in range(3)]
        fails.submit(begun, boom)
        await form.got(waits[0])

    with pytest.raises(Boom) as raised:
        form.run(main)

    assert raised.value is boom
    assert record.path(record.flow_run()) == ["Running", "Cancelling", "Failed"]
    cancelled = [run.state.message for run in record.task_runs() if run.state.name == "Cancelled"]
    assert len(cancelled) == 3
    assert {str(message)[:27] for message in cancelled} <= {
        "It was cancelled: task run ",
        "It was stopped before it be",
    }
    assert all(str(message).endswith("' failed.") for message in cancelled)
    nothing_is_left(record)


def test_without_it_the_others_go_on_and_the_flow_fails_where_it_asks(form: Form, record: Record) -> None:
    boom, over = Boom("first"), Latch()

    @task
    async def goes_on() -> str:
        await over.passed()
        return "done"

    @form.flow()
    async def main() -> None:
        future, other = fails.submit(over, boom), goes_on.submit()
        over.open()
        assert await form.got(other) == "done"
        await form.got(future)

    with pytest.raises(Boom):
        form.run(main)

    assert sorted(run.state.name for run in record.task_runs()) == ["Completed", "Failed"]
    assert record.path(record.flow_run()) == ["Running", "Failed"]


def test_a_flow_whose_body_has_returned_fails_as_well(form: Form, record: Record) -> None:
    begun = Latch()

    @form.flow(on_child_failure="cancel")
    async def main() -> str:
        endless.submit(begun)
        fails.submit(begun, Boom("late"))
        return "all is well"

    with pytest.raises(Boom, match="late"):
        form.run(main)

    assert record.flow_run().state.name == "Failed"
    nothing_is_left(record)


def test_several_failures_come_together_without_those_that_were_cancelled(form: Form, record: Record) -> None:
    """Those that fail at the same time, before they hear of each other."""
    all_there = threading.Barrier(3, timeout=30)
    begun = Latch()

    @task
    def fails_with_others(x: int) -> None:
        all_there.wait()
        raise Boom(x)

    @form.flow(on_child_failure="cancel")
    async def main() -> None:
        waits = endless.submit(begun)
        fails_with_others.map([0, 1, 2])
        await form.got(waits)

    with pytest.raises(ExceptionGroup, match=r"^3 runs of Flow run '[\w-]+' failed") as raised:
        form.run(main)

    assert sorted(str(error) for error in raised.value.exceptions) == ["0", "1", "2"]
    assert {type(error) for error in raised.value.exceptions} == {Boom}
    nothing_is_left(record)


def test_a_flow_is_tried_again_as_a_whole_and_each_attempt_hears_of_its_own_failure(form: Form, record: Record) -> None:
    attempts: list[int] = []

    @form.flow(on_child_failure="cancel", retries=2)
    async def main() -> str:
        attempts.append(len(attempts))
        begun = Latch()
        if attempts[-1] < 2:
            waits = endless.submit(begun)
            fails.submit(begun, Boom("again"))
            await form.got(waits)
        return "at last"

    assert form.run(main) == "at last"
    assert attempts == [0, 1, 2]
    assert record.path(record.flow_run()) == ["Running", *["Cancelling", "Retrying"] * 2, "Completed"]
    nothing_is_left(record)


def test_a_failing_subflow_counts_as_a_child(form: Form, inner: Form, record: Record) -> None:
    begun = Latch()

    @inner.flow(name="below")
    async def below() -> None:
        raise Boom("below")

    @form.flow(name="main", on_child_failure="cancel")
    async def main() -> None:
        waits = endless.submit(begun)
        await begun.passed()
        below.submit()
        await form.got(waits)

    with pytest.raises(Boom, match="below"):
        form.run(main)

    names = {run.flow_name: run.state.name for run in record.flow_runs()}
    assert names == {"main": "Failed", "below": "Failed"}
    assert record.task_run().state.name == "Cancelled"
    nothing_is_left(record)


def test_the_children_of_a_subflow_are_its_own_business(form: Form, record: Record) -> None:
    begun = Latch()

    @form.flow(name="below", on_child_failure="cancel")
    async def below() -> None:
        waits = endless.submit(begun)
        fails.submit(begun, Boom("below"))
        await form.got(waits)

    @form.task()
    async def beside() -> str:
        return "done"

    @form.flow(name="main")
    async def main() -> str:
        other = beside.submit()
        with pytest.raises(Boom):
            await call(below)
        done: str = await form.got(other)
        return done

    assert form.run(main) == "done"
    names = {run.flow_name: run.state.name for run in record.flow_runs()}
    assert names == {"main": "Completed", "below": "Failed"}


def test_a_body_that_forgives_the_failure_fails_all_the_same(form: Form, record: Record) -> None:
    begun, boom = Latch(), Boom("seen")
    seen: list[object] = []

    @form.flow(on_child_failure="cancel")
    async def main() -> str:
        waits = endless.submit(begun)
        future = fails.submit(begun, boom)
        try:
            await form.got(future)
        except Boom as error:
            seen.append(error)
        await form.got(waits)
        return "never"

    with pytest.raises(Boom):
        form.run(main)

    assert seen in ([boom], [])


def test_what_the_body_itself_raises_is_not_hidden_by_a_child_that_fails_in_its_cleanup(
    form: Form, record: Record
) -> None:
    begun = Latch()

    @task
    async def clumsy() -> None:
        begun.open()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            raise Boom("of the cleanup")

    @form.flow(on_child_failure="cancel")
    async def main() -> None:
        clumsy.submit()
        await begun.passed()
        raise LookupError("of the body")

    with pytest.raises(LookupError, match="of the body"):
        form.run(main)

    nothing_is_left(record)


def test_the_policy_is_one_of_two_words() -> None:
    options: dict[str, Any] = {"on_child_failure": "ignore"}

    with pytest.raises(OptionError, match="on_child_failure"):
        flow(**options)(main_of_no_use)


async def main_of_no_use() -> None: ...
