"""
What checkers make of calls: read by mypy and pyright, never run.

A call that is wrong is marked with the error that both must find; where one does not find it any more, it complains
of the mark.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Iterator
from typing import Any, assert_type

import headrace
from headrace import Flow, State, Task, flow, task
from headrace.tasks import exponential_backoff


@task
def plain(x: int, y: str = "") -> float:
    return x + len(y)


@task()
def parenthesised(x: int) -> float:
    return x


@task(name="n", retries=3, retry_delay_seconds=exponential_backoff(1), tags=["a"], timeout_seconds=1.5)
def with_options(x: int) -> float:
    return x


@flow
def plain_flow(x: int, y: str = "") -> float:
    return x


@flow(name="n", durable=True, flow_run_name="{x}", log_prints=True)
def flow_with_options(x: int) -> float:
    return x


assert_type(plain(1), float)
assert_type(plain(1, y="a"), float)
assert_type(parenthesised(1), float)
assert_type(with_options(1), float)
assert_type(plain_flow(1), float)
assert_type(flow_with_options(1), float)
assert_type(plain.fn(1), float)
assert_type(plain.name, str)

plain("a")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
plain()  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
plain(1, z=2)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
with_options("a")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
plain_flow("a")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]

# -- states -------------------------------------------------------------------------------------------------

assert_type(plain(1, return_state=True), State[float])
assert_type(plain_flow(1, return_state=True), State[float])
assert_type(plain(1, return_state=True).result(), float)
assert_type(plain(1, return_state=True).result(raise_on_failure=False), float | BaseException)
assert_type(plain(1, wait_for=[plain(1, return_state=True)]), float)
assert_type(plain(1, wait_for=None), float)
assert_type(plain(1, return_state=False), float)

# -- async --------------------------------------------------------------------------------------------------


@task
async def async_task(x: int) -> str:
    return str(x)


@flow(retries=1)
async def async_flow(x: int) -> str:
    return await async_task(x)


life: Coroutine[Any, Any, str] = async_task(1)
assert_type(headrace.run(async_flow(1)), str)
assert_type(headrace.run(async_flow(1, return_state=True)), State[str])
headrace.run(plain(1))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
_ = async_task("a")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]


async def awaited() -> None:
    assert_type(await async_task(1), str)
    assert_type(await async_flow(1), str)
    assert_type(await async_task(1, return_state=True), State[str])
    assert_type(await async_task(1, wait_for=[]), str)
    await plain(1)  # type: ignore[misc]  # pyright: ignore[reportGeneralTypeIssues]


# -- generators ---------------------------------------------------------------------------------------------


@task
def items(count: int) -> Iterator[int]:
    yield from range(count)


@flow
def talks() -> Generator[int, str, bytes]:
    yield len((yield 1))
    return b""


@task
async def async_items(count: int) -> AsyncIterator[int]:
    for item in range(count):
        yield item


@flow
async def async_talks() -> AsyncGenerator[int, str]:
    yield len((yield 1))


assert_type(items(3), Iterator[int])
assert_type(talks(), Generator[int, str, bytes])
assert_type(async_items(3), AsyncIterator[int])
assert_type(async_talks(), AsyncGenerator[int, str])
items("a")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]

# -- copies, callables, decorators of others ----------------------------------------------------------------

assert_type(plain.with_options(retries=2)(1), float)
renamed: Coroutine[Any, Any, str] = async_flow.with_options(name="x")(1)
plain.with_options(retries=2)("a")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
plain.with_options(retry=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
plain.with_options(retries="2")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
plain_flow.with_options(tags=["a"])  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
task(retries="2")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
flow(durability="some")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]

lambda_task = task(lambda: 5)
assert_type(lambda_task(), int)
partial_task = task(functools.partial(int, base=2))
assert_type(partial_task("101"), int)


def takes_callable(_function: Callable[[int], float]) -> None: ...


takes_callable(plain)
takes_callable(plain_flow)


@plain_flow.on_failure
def hook(_flow: Any, _run: Any, state: State[Any]) -> None:
    assert_type(state.message, str | None)


hook(None, None, plain(1, return_state=True))
plain.on_completion(5)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]

# -- methods ------------------------------------------------------------------------------------------------


class Worker:
    @task
    def work(self, x: int) -> float:
        return x

    @task
    async def work_async(self, x: int) -> str:
        return str(x)

    @flow(name="all of it")
    def everything(self, x: int) -> float:
        return self.work(x)

    @task
    @classmethod
    def of_class(cls, x: int) -> str:
        return cls.__name__ * x

    @classmethod
    @task
    def of_class_too(cls, x: int) -> str:
        return cls.__name__ * x

    @staticmethod
    @task
    def static(x: int) -> int:
        return x


assert_type(Worker().work(1), float)
assert_type(Worker().work(1, return_state=True), State[float])
assert_type(Worker().work.with_options(retries=1)(1), float)
bound: Coroutine[Any, Any, str] = Worker().work_async(1)
wrong: Coroutine[Any, Any, bytes] = Worker().work_async(1)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
assert_type(Worker().everything(1), float)
assert_type(Worker.work(Worker(), 1), float)
assert_type(Worker().of_class(1), str)
assert_type(Worker().of_class_too(1), str)
assert_type(Worker.static(1), int)
Worker().work("a")  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
Worker().work()  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]

# -- the objects themselves ---------------------------------------------------------------------------------


def name_of(one: Task[[int], float] | Flow[[int], float]) -> str:
    return one.name


name_of(parenthesised)
name_of(flow_with_options)
name_of(async_task)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
