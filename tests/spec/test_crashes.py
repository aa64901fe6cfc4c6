"""What a user's durable flows are tested with: crashes at every commit, replays, and stubs."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

import headrace
from headrace import durable, flow, runs, runtime, task
from headrace.errors import NonDeterministicFlow, OptionError, OptionTypeError
from headrace.testing import CrashFound, crash_at_every_commit, headrace_test_harness, replay, stubbed
from headrace.transactions import transaction

drawn = itertools.count()


@task
def double(x: int) -> int:
    return 2 * x


@task
async def adouble(x: int) -> int:
    await asyncio.sleep(0)
    return 2 * x


@task
def refuse(x: int) -> int:
    raise ValueError(f"no {x}")


@flow
def half(x: int) -> int:
    return double(x) + 1


@flow(durable=True)
def sells(count: int) -> list[Any]:
    came: list[Any] = [double(x) for x in range(count)]
    try:
        refuse(7)
    except ValueError as error:
        came.append(str(error))
    assert 0 <= durable.random() < 1
    return [*came, half(5), *double.map([8, 9]).result()]


@flow(durable=True)
async def asells() -> list[int]:
    return list(await asyncio.gather(*[adouble(x) for x in range(4)]))


# -- crashes ------------------------------------------------------------------------------------------------------


def test_a_flow_is_crashed_before_and_after_each_commit_and_comes_to_the_same() -> None:
    sweep = crash_at_every_commit(sells, 3)

    assert sweep.value == [0, 2, 4, "no 7", 11, 16, 18]
    assert sweep.points >= 16
    assert sweep.steps > sweep.points
    assert sweep.again > 0


def test_an_async_flow_is_crashed_too() -> None:
    sweep = crash_at_every_commit(asells)

    assert (sweep.value, sweep.points >= 4) == ([0, 2, 4, 6], True)


def test_a_flow_whose_way_is_drawn_outside_of_tasks_is_found() -> None:
    @flow(durable=True)
    def wanders() -> int:
        return double(next(drawn)) * 0 + double(1)

    with pytest.raises((CrashFound, NonDeterministicFlow)):
        crash_at_every_commit(wanders)


def test_a_value_that_is_drawn_outside_of_tasks_is_found() -> None:
    @flow(durable=True)
    def guesses() -> int:
        return double(1) + next(drawn)

    with pytest.raises(CrashFound, match="'guesses' comes to"):
        crash_at_every_commit(guesses)


@pytest.mark.parametrize("what", [double, half, len], ids=["task", "plain flow", "function"])
def test_only_durable_flows_are_crashed(what: Any) -> None:
    with pytest.raises(OptionTypeError, match=r"Say @flow\(durable=True\)"):
        crash_at_every_commit(what)


# -- replays ------------------------------------------------------------------------------------------------------


def test_a_history_is_gone_through_without_a_step_being_run() -> None:
    ran: list[int] = []

    @task
    def step(x: int) -> int:
        ran.append(x)
        return x

    @flow(durable=True)
    def works() -> int:
        return sum(step(x) for x in range(3))

    with headrace_test_harness():
        works()
        (run,) = runs.flow_runs()
        verdict = replay(run)

        assert (verdict.outcome, verdict.value) == ("same", 3)
        assert ran == [0, 1, 2]
        assert len(runs.flow_runs()) == 1


def test_code_that_has_changed_is_told_from_code_that_fits() -> None:
    @task
    def step(x: int) -> int:
        return x

    @flow(durable=True)
    def works() -> int:
        return step(1) + step(2)

    @flow(durable=True)
    def does_less() -> int:
        return step(1)

    @flow(durable=True)
    def does_more() -> int:
        return step(1) + step(2) + step(3)

    @flow(durable=True)
    def gives_another() -> int:
        return step(1) * step(2) * 7

    with headrace_test_harness():
        works()
        (run,) = runs.flow_runs()

        assert replay(run, does_less).outcome == "drifts"
        assert replay(run.id, does_more).outcome == "adds"
        assert replay(run.id, gives_another).outcome == "fails"


def test_a_replay_does_not_block_an_event_loop() -> None:
    async def asks() -> None:
        replay("3f2a")

    with pytest.raises(headrace.errors.RunningLoopError, match=r"asyncio\.to_thread"):
        asyncio.run(asks())


# -- stubs --------------------------------------------------------------------------------------------------------


def test_a_stub_stands_for_a_task_inside_the_block_and_not_after_it() -> None:
    def add_one(x: int) -> int:
        return x + 1

    with stubbed({refuse: add_one, adouble: 5}):
        assert refuse(1) == 2
        assert headrace.run(adouble(1)) == 5

    with pytest.raises(ValueError, match="no 1"):
        refuse(1)
    assert headrace.run(adouble(1)) == 2


def test_a_stub_is_given_by_path_too_and_may_raise() -> None:
    with stubbed({f"{__name__}.double": ConnectionError("down")}), pytest.raises(ConnectionError, match="down"):
        half(1)

    assert half(1) == 3


def test_a_stub_for_no_task_says_which_there_are() -> None:
    with pytest.raises(OptionError, match=r"There is no task 'refus'.*'refuse'"), stubbed({"refus": 1}):
        pass
    with pytest.raises(OptionTypeError, match="by a task, or the name or path of one"), stubbed({len: 1}):
        pass


def test_a_step_that_its_block_undid_before_the_flow_was_retried_may_run_again() -> None:
    @task
    def pay(number: int) -> int:
        return number

    @pay.on_rollback
    def refund(_transaction: Any) -> None: ...

    @flow(durable=True, retries=1)
    def sells() -> int:
        with transaction():
            paid = pay(1)
            if runtime.flow_run.run_count == 1:
                raise OSError("out of stock")
        return paid

    assert crash_at_every_commit(sells).points > 4
