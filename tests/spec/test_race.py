"""Races: the first to end wins, the others are cancelled and have ended when the winner is given."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from headrace import Runtime, _runtime, aio, flow, race, run, task
from headrace.errors import CancelledRun, OptionError, OptionTypeError, RunningLoopError, WaitTimeoutError
from headrace.task_runners import ConcurrentTaskRunner
from headrace.testing import virtual_time
from tests.spec.forms import Form, Latch, Record
from tests.spec.racing import decided

Lines = Callable[[], list[str]]


@task
async def last(seconds: float) -> float:
    """Give *seconds* after as many."""
    await asyncio.sleep(seconds)
    return seconds


@task
async def breaks(seconds: float) -> float:
    await asyncio.sleep(seconds)
    raise ConnectionError(seconds)


def names(record: Record) -> list[str]:
    """Give the names of the states in which task runs ended, in the order of their arguments' turns."""
    return [one.state.name for one in sorted(record.task_runs(), key=lambda one: one.id)]


# -- who wins ------------------------------------------------------------------------------------------------


def test_the_first_to_end_wins_and_the_others_are_cancelled(form: Form, record: Record) -> None:
    async def body() -> list[Any]:
        entrants = last.map([60, 2, 30])
        won = await decided(form, *entrants)
        return [won.index, won.value, [one.done() for one in entrants], time.elapsed]

    with virtual_time() as time:
        assert form.in_flow(body) == [1, 2, [True, True, True], 2.0]
    assert names(record) == ["Cancelled", "Completed", "Cancelled"]


def test_coroutines_race_in_async_code(record: Record) -> None:
    @flow
    async def main() -> list[Any]:
        won = await aio.race(last(60), last(2), last.submit(30))
        return [won.index, won.value, time.elapsed]

    with virtual_time() as time:
        assert run(main()) == [1, 2, 2.0]
    assert sorted(names(record)) == ["Cancelled", "Cancelled", "Completed"]


def test_flows_race(form: Form, record: Record) -> None:
    @flow
    async def inner(seconds: float) -> float:
        return await last(seconds)

    async def body() -> int:
        won = await decided(form, inner.submit(60), inner.submit(2))
        return int(won.index)

    with virtual_time() as time:
        assert form.in_flow(body) == 1
        assert time.elapsed == 2.0
    assert sorted(one.state.name for one in record.flow_runs()) == ["Cancelled", "Completed", "Completed"]


def test_any_awaitable_may_race() -> None:
    @flow
    async def main() -> list[Any]:
        loop = asyncio.get_running_loop()
        waits: asyncio.Future[int] = loop.create_future()
        entrants: list[Any] = [waits, aio.race(last(3), last(2)), asyncio.sleep(5)]
        won = await aio.race(*entrants)
        return [won.index, won.value.index, waits.cancelled()]

    with virtual_time():
        assert run(main()) == [1, 1, True]


def test_one_that_has_ended_before_wins(form: Form) -> None:
    async def body() -> list[int]:
        early, late = last.submit(1), last.submit(60)
        await form.got(early)
        won = await decided(form, late, early)
        return [won.index, won.value]

    with virtual_time():
        assert form.in_flow(body) == [1, 1]


def test_one_alone_wins(form: Form) -> None:
    async def body() -> Any:
        return (await decided(form, last.submit(2))).value

    with virtual_time():
        assert form.in_flow(body) == 2


def test_one_that_fails_first_wins_and_its_exception_is_raised(form: Form, record: Record) -> None:
    async def body() -> None:
        with pytest.raises(ConnectionError):
            await decided(form, last.submit(60), breaks.submit(2))

    with virtual_time():
        form.in_flow(body)
    assert names(record) == ["Cancelled", "Failed"]


def test_one_that_another_has_cancelled_wins_as_cancelled() -> None:
    @task
    async def stopped() -> None:
        raise asyncio.CancelledError

    @flow
    async def main() -> None:
        with pytest.raises(CancelledRun):
            await aio.race(stopped.submit(), last(60))

    with virtual_time():
        run(main())


# -- the others ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("form", "coroutine"), [("sync", False), ("async", False), ("async", True)], indirect=["form"])
def test_what_the_others_do_to_clean_up_is_waited_for(form: Form, coroutine: bool) -> None:
    said: list[str] = []

    @task
    async def cleans() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(3)
            said.append("cleaned")

    async def body() -> list[Any]:
        await decided(form, cleans() if coroutine else cleans.submit(), last.submit(2))
        return [list(said), time.elapsed]

    with virtual_time() as time:
        assert form.in_flow(body) == [["cleaned"], 5.0]


def test_a_sync_body_that_lost_is_waited_for_as_long_as_the_setting_allows(
    monkeypatch: pytest.MonkeyPatch, record: Record
) -> None:
    latch, began = Latch(), Latch()

    @task
    def blocks() -> int:
        began.open()
        assert latch.event.wait(30)
        return 1

    @task
    async def wins() -> int:
        await began.passed()
        return 2

    @flow
    def main() -> list[Any]:
        late = blocks.submit()
        won = race(late, wins.submit())
        done = late.done()
        latch.open()
        return [won.index, done, late.result()]

    monkeypatch.setattr(_runtime.desk(), "patience", 0.01)
    assert main() == [1, False, 1]


def test_how_the_others_ended_is_no_news_for_the_log(form: Form, said: Lines) -> None:
    async def body() -> None:
        await decided(form, last.submit(2), last.submit(60), breaks.submit(2))

    with virtual_time():
        form.in_flow(body)
    assert [line for line in said() if line.startswith("WARNING")] == []


def test_the_others_are_no_failures_of_the_flow(form: Form) -> None:
    async def body() -> Any:
        return (await decided(form, last.submit(60), last.submit(2))).value

    with virtual_time():
        assert form.in_flow(body, on_child_failure="cancel") == 2


def test_of_a_map_what_has_not_begun_never_does(form: Form) -> None:
    began: list[int] = []

    @task
    async def notes(number: int) -> int:
        began.append(number)
        await asyncio.sleep(1)
        return number

    async def body() -> Any:
        return (await decided(form, *notes.map(range(10)))).index

    with virtual_time():
        assert form.in_flow(body, task_runner=ConcurrentTaskRunner(limit=1)) == 0
    assert len(began) <= 2  # the next may begin while the flow hears that the first has ended


def test_one_that_waits_in_line_never_begins(form: Form, record: Record) -> None:
    async def body() -> Any:
        entrants = [last.submit(number) for number in (1, 2, 3)]
        return (await decided(form, *entrants)).index

    with virtual_time() as time:
        assert form.in_flow(body, task_runner=ConcurrentTaskRunner(limit=1)) == 0
        assert time.elapsed == 1.0
    assert names(record) == ["Completed", "Cancelled", "Cancelled"]


def test_a_coroutine_that_never_began_is_closed_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    async def never() -> None: ...

    @flow
    async def main() -> int:
        early = last.submit(1)
        await early
        return (await aio.race(never(), early)).index

    with virtual_time():
        assert run(main()) == 1
    assert not recwarn.list


# -- time ----------------------------------------------------------------------------------------------------


def test_when_time_is_up_all_are_cancelled(form: Form, record: Record) -> None:
    async def body() -> float:
        with pytest.raises(WaitTimeoutError, match="A race of 2 did not end within 5 s"):
            await decided(form, last.submit(60), last.submit(30), timeout=5)
        return time.elapsed

    with virtual_time() as time:
        assert form.in_flow(body) == 5.0
    assert names(record) == ["Cancelled", "Cancelled"]


def test_who_leaves_a_race_cancels_all(record: Record) -> None:
    @flow
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                await aio.race(last(60), last.submit(30))
        return time.elapsed

    with virtual_time() as time:
        assert run(main()) == 5.0
    assert names(record) == ["Cancelled", "Cancelled"]


def test_a_flow_that_is_cancelled_in_a_race_ends_with_all_of_it(form: Form, record: Record) -> None:
    async def body() -> None:
        inner = form.flow()(racing).submit()
        last.submit(2).add_done_callback(lambda _: inner.call.stop("enough"))
        with pytest.raises(CancelledRun):
            await form.got(inner)

    async def racing() -> None:
        await decided(form, last.submit(60), last.submit(30))

    with virtual_time() as time:
        form.in_flow(body)
        assert time.elapsed == 2.0
    assert sorted(names(record)) == ["Cancelled", "Cancelled", "Completed"]


# -- where -----------------------------------------------------------------------------------------------------


def test_tasks_race_what_they_submit(form: Form, inner: Form) -> None:
    async def racing() -> Any:
        return (await decided(inner, last.submit(60), last.submit(2))).value

    async def body() -> Any:
        return await form.got(inner.task()(racing).submit())

    with virtual_time():
        assert form.in_flow(body, task_runner=ConcurrentTaskRunner(limit=2)) == 2


def test_runs_outside_of_flows_race() -> None:
    async def main() -> list[Any]:
        async with Runtime() as runtime:
            won = await aio.race(runtime.submit(last, 60), last(2))
        return [won.index, time.elapsed]

    with virtual_time() as time:
        assert run(main()) == [1, 2.0]


def test_blocking_code_races_in_a_runtime() -> None:
    with virtual_time(), Runtime() as runtime:
        assert race(runtime.submit(last, 60), runtime.submit(last, 2)).index == 1


# -- what cannot race ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entrants", "error", "said"),
    [
        (lambda: (), OptionError, "A race of nothing has no winner"),
        (lambda: (5,), OptionTypeError, "Futures race, and in async code coroutines, not 5"),
        (lambda: (last.map([1]),), OptionTypeError, r"race\(\*futures\)"),
        (lambda: (last.submit(1),) * 2, OptionError, "is given twice"),
    ],
)
def test_what_cannot_race_is_refused(
    form: Form, entrants: Callable[[], tuple[Any, ...]], error: type[Exception], said: str
) -> None:
    async def body() -> None:
        with pytest.raises(error, match=said):
            await decided(form, *entrants())

    with virtual_time():
        form.in_flow(body)


@pytest.mark.parametrize("wrong", [-1, "5", True])
def test_a_timeout_that_is_no_number_of_seconds_is_refused(form: Form, wrong: Any) -> None:
    async def body() -> None:
        with pytest.raises(OptionError, match="timeout must be a number of seconds"):
            await decided(form, last.submit(1), timeout=wrong)

    with virtual_time():
        form.in_flow(body)


def test_coroutines_of_a_race_that_is_refused_are_closed(recwarn: pytest.WarningsRecorder) -> None:
    @flow
    async def main() -> None:
        late: Any = "late"
        with pytest.raises(OptionTypeError, match="not 'late'"):
            await aio.race(last(1), late)

    run(main())
    assert not recwarn.list


def test_coroutines_do_not_race_in_blocking_code(recwarn: pytest.WarningsRecorder) -> None:
    @flow
    def main() -> None:
        coroutines: list[Any] = [last(1), last(2)]
        with pytest.raises(OptionTypeError, match="In blocking code futures race"):
            race(*coroutines)

    main()
    assert not recwarn.list


def test_blocking_code_does_not_race_on_the_thread_of_a_loop() -> None:
    @flow
    async def main() -> None:
        with pytest.raises(RunningLoopError, match=r"Write `await headrace\.aio\.race\(\.\.\.\)` instead"):
            race(last.submit(1), last.submit(2))

    with virtual_time():
        run(main())
