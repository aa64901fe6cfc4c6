"""
What checkers make of `submit`, `map`, `stream` and of futures: read by mypy and pyright, never run.

A future may stand for any argument, and no type says "this parameter, or a future of it": so both checkers accept any
arguments here, right or wrong.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, assert_type

import headrace.aio
from headrace import State, allow_failure, flow, quote, race, task, unmapped
from headrace.futures import Future, FutureList, as_completed, wait
from headrace.streams import Stream
from headrace.task_runners import ConcurrentTaskRunner, ThreadPoolTaskRunner


@task
def plain(x: int, y: str = "") -> float:
    return x + len(y)


@task
async def awaited(x: int) -> str:
    return str(x)


@flow(task_runner=ConcurrentTaskRunner(limit=4), on_child_failure="cancel")
def plain_flow(x: int) -> float:
    return x


@flow(task_runner=ThreadPoolTaskRunner(max_workers=4), on_child_failure="wait")
async def awaited_flow(x: int) -> str:
    return str(x)


flow(on_child_failure="stop")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]

# -- one --------------------------------------------------------------------------------------------------------------

assert_type(plain.submit(1), Future[float])
assert_type(plain.submit(1, y="a"), Future[float])
assert_type(awaited.submit(1), Future[str])
assert_type(plain_flow.submit(1), Future[float])
assert_type(awaited_flow.submit(1), Future[str])

assert_type(plain.submit(plain.submit(1), y=awaited.submit(1)), Future[float])
assert_type(awaited.submit(plain.submit(1)), Future[str])
assert_type(awaited_flow.submit(x=allow_failure(plain.submit(1))), Future[str])
assert_type(plain.submit(1, wait_for=[awaited.submit(1)]), Future[float])
assert_type(awaited.submit(1, wait_for=None), Future[str])
assert_type(awaited.submit(1, return_state=False), Future[str])

assert_type(plain.submit(1, return_state=True), State[float])
assert_type(awaited.submit(1, return_state=True), State[str])
assert_type(plain_flow.submit(1, return_state=True, wait_for=[]), State[float])
assert_type(awaited_flow.submit(plain.submit(1), return_state=True), State[str])

# -- many -------------------------------------------------------------------------------------------------------------

assert_type(plain.map([1, 2], unmapped("a")), FutureList[float])
assert_type(plain.map([1, 2], y=quote("a")), FutureList[float])
assert_type(awaited.map(plain.map([1, 2]), wait_for=[plain.submit(1)]), FutureList[str])
assert_type(plain_flow.map(range(3)), FutureList[float])
assert_type(awaited_flow.map(iter([1])), FutureList[str])

assert_type(plain.map([1, 2], return_state=True), list[State[float]])
assert_type(awaited.map([1, 2], return_state=True), list[State[str]])
assert_type(plain_flow.map([1, 2], return_state=True), list[State[float]])
assert_type(awaited_flow.map([1, 2], return_state=True), list[State[str]])

# -- the first of several ---------------------------------------------------------------------------------------------

assert_type(race(plain.submit(1), plain.submit(2)).value, float)
assert_type(race(plain.submit(1), awaited.submit(2), timeout=5).value, float | str)
assert_type(race(*plain.map([1, 2])).index, int)
wait([plain.submit(1)], return_when="FIRST_EXCEPTION")
wait([plain.submit(1)], return_when="FIRST")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
race(awaited(1))  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]


async def racing() -> None:
    assert_type((await headrace.aio.race(plain.submit(1), awaited(2))).value, float | str)
    assert_type((await headrace.aio.race(awaited(1), awaited.submit(2), awaited_flow(3))).value, str)


# -- streams ----------------------------------------------------------------------------------------------------------


async def source() -> AsyncIterator[int]:
    yield 1


assert_type(plain.stream(range(3), limit=2), Stream[float])
assert_type(awaited.stream(source(), ordered=False), Stream[str])
assert_type(awaited_flow.stream([1], wait_for=[plain.submit(1)]), Stream[str])
assert_type(plain.stream([1], return_state=True), Stream[State[float]])
assert_type(awaited.stream([1], return_state=True), Stream[State[str]])
plain.stream([1], limit="2")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]

for number in plain.stream([1]):
    assert_type(number, float)
with awaited.stream([1]) as texts:
    for text in texts:
        assert_type(text, str)


async def streamed() -> None:
    async with awaited.stream(source()) as texts:
        async for text in texts:
            assert_type(text, str)
    async with plain.stream(source(), return_state=True) as states:
        async for state in states:
            assert_type(state.result(), float)


# -- methods ----------------------------------------------------------------------------------------------------------


class Worker:
    @task
    def work(self, x: int) -> float:
        return x

    @task
    async def work_async(self, x: int) -> str:
        return str(x)

    @flow
    async def everything(self, x: int) -> str:
        return str(x)


assert_type(Worker().work.submit(1), Future[float])
assert_type(Worker().work_async.submit(1), Future[str])
assert_type(Worker().everything.submit(Worker().work.submit(1)), Future[str])
assert_type(Worker().work_async.submit(1, return_state=True), State[str])
assert_type(Worker().work.map([1]), FutureList[float])
assert_type(Worker().work_async.map([1]), FutureList[str])
assert_type(Worker().work_async.stream([1]), Stream[str])
assert_type(Worker().work.with_options(retries=1).submit(1), Future[float])

# -- futures ----------------------------------------------------------------------------------------------------------

future, futures = awaited.submit(1), awaited.map([1])
assert_type(future.result(), str)
assert_type(future.result(timeout=1.5), str)
assert_type(future.result(raise_on_failure=False), str | Exception)
assert_type(future.wait(1), bool)
assert_type(future.state, State[Any])
assert_type(future.task_run_id, str)
assert_type(futures.result(), list[str])
assert_type(futures.result(raise_on_failure=False), list[str | Exception])
assert_type(futures[0], Future[str])
assert_type(futures[1:], list[Future[str]])
assert_type([one.result() for one in futures], list[str])
assert_type(wait(futures).done, set[Future[Any]])
assert_type([one.result() for one in as_completed(futures, timeout=2)], list[str])
later: Future[object] = future
future.result(timeout=timedelta(seconds=1))  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]


@future.add_done_callback
def ended(done: Future[str]) -> None:
    assert_type(done.result(), str)


async def awaiting() -> None:
    assert_type(await future, str)
    assert_type(await awaited.submit(1), str)
    assert_type(await plain.submit(1), float)
    assert_type(await futures, list[str])
    assert_type((await headrace.aio.wait(futures)).not_done, set[Future[Any]])
    async for one in as_completed([future]):
        assert_type(one, Future[str])
    await awaited.submit(1, return_state=True)  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


# -- runtimes ---------------------------------------------------------------------------------------------------------


async def embedded() -> None:
    async with headrace.Runtime(durability="off", drain_seconds=timedelta(seconds=5)) as runtime:
        assert_type(runtime.submit(awaited, 1), Future[str])
        assert_type(runtime.submit(plain_flow, 1, return_state=True), State[float])
        assert_type(runtime.map(plain, [1]), FutureList[float])
        assert_type(runtime.map(awaited_flow, [1], return_state=True), list[State[str]])
    with headrace.Runtime() as runtime:
        assert_type(runtime.submit(plain, 1), Future[float])
    headrace.Runtime(durability="some")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    runtime.submit(len, [1])  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
