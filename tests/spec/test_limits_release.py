"""Blocks that give their slots back while they wait, and one block used by several at once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace import flow, task
from headrace._model.slots import Limit as Known
from headrace._stores.sqlite import SQLiteStore
from headrace.concurrency import Limit, Slots, SlotTimeout, concurrency
from headrace.errors import LimitTooSmall, OptionError, OptionTypeError
from tests.spec.keeping import runtime_at

pytestmark = pytest.mark.usefixtures("record")


@task
async def child() -> str:
    async with concurrency("one", max_retries=0):
        return "had it"


@task
def sync_child() -> str:
    with concurrency("one", timeout_seconds=30):  # it may begin before its caller waits for it
        return "had it"


def is_free() -> bool:
    """Tell whether somebody else could have the slot now."""
    try:
        with Slots("one", max_retries=0):
            return True
    except SlotTimeout:
        return False


async def waits(**options: Any) -> tuple[str, bool]:
    """Hold the slot and wait for a task that needs it; give what came of it, and whether the slot is had again."""
    async with concurrency("one", **options):
        said = await child.submit()
        return said, not await elsewhere(is_free)


async def elsewhere(function: Any) -> Any:
    """Call *function* in a thread, with nothing of this context."""
    return await asyncio.get_running_loop().run_in_executor(None, function)


@flow
async def outer(**options: Any) -> tuple[str, bool]:
    Limit("one", 1).ensure()
    return await waits(**options)


def test_a_block_that_releases_while_it_waits_lets_others_have_its_slot_and_takes_it_again() -> None:
    assert asyncio.run(outer(while_waiting="release")) == ("had it", True)
    assert is_free()


def test_a_block_holds_its_slot_while_it_waits_unless_it_says_otherwise() -> None:
    with pytest.raises(SlotTimeout, match="No slot of 'one' came free within 0 s"):
        asyncio.run(outer())
    assert is_free()


def test_a_sync_block_releases_too() -> None:
    @flow
    def blocking() -> tuple[str, bool]:
        Limit("one", 1).ensure()
        with concurrency("one", while_waiting="release"):
            said = sync_child.submit().result()
            return said, free_elsewhere()

    assert blocking() == ("had it", False)
    assert is_free()


def test_who_is_cancelled_while_its_slot_is_given_back_leaves_it_free() -> None:
    async def program() -> None:
        began = asyncio.Event()

        @task
        async def endless() -> None:
            began.set()
            await asyncio.Event().wait()

        @flow
        async def holds() -> None:
            Limit("one", 1).ensure()
            async with concurrency("one", while_waiting="release"):
                await endless.submit()

        running = asyncio.create_task(holds())
        await began.wait()
        assert await elsewhere(is_free)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(program())
    assert is_free()


def test_one_block_may_be_used_by_several_at_once() -> None:
    block = concurrency("two")
    most: list[int] = []
    inside: list[int] = []

    @task
    async def step(number: int) -> None:
        async with block:
            inside.append(number)
            await asyncio.sleep(0.001 * (number % 3))
            most.append(len(inside))
            inside.remove(number)
        async with block:  # nothing is left of the first time that it would take for its own
            inside.append(number)
            await asyncio.sleep(0)
            most.append(len(inside))
            inside.remove(number)

    @flow
    async def work() -> None:
        Limit("two", 2).ensure()
        await step.map(range(20))

    asyncio.run(work())
    assert max(most) == 2
    assert block.entered == ()


def test_what_else_a_block_could_do_while_waiting_or_be_before_others_is_refused() -> None:
    never: Any = "never"
    with pytest.raises(OptionError, match='while_waiting of concurrency must be "hold" or "release", not \'never\''):
        concurrency("one", while_waiting=never)
    with pytest.raises(OptionTypeError, match="priority of concurrency must be a whole number, not 'never'"):
        concurrency("one", priority=never)


def test_a_generator_has_the_slot_of_its_tag_until_it_ends_or_is_left() -> None:
    seen: list[bool] = []

    @task(tags=["one"])
    def numbers() -> Iterator[int]:
        with concurrency("one"):  # it has the slot already
            yield 1
        yield 2
        yield 3

    @flow
    def work() -> None:
        Limit("one", 1).ensure()
        for number in numbers():
            if number == 2:
                seen.append(free_elsewhere())
        seen.append(free_elsewhere())
        for _ in numbers():
            break
        seen.append(free_elsewhere())

    work()
    assert seen == [False, True, True]


def test_an_async_generator_too_and_its_consumer_has_none_of_it() -> None:
    seen: list[bool] = []

    @task(tags=["one"], retries=1)
    async def numbers(calls: list[int]) -> AsyncIterator[int]:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError
        yield 1
        yield 2

    @flow
    async def work() -> None:
        Limit("one", 1).ensure()
        async for _ in numbers([]):
            seen.append(is_free())  # of the consumer's own: it would pass if it had the slot
        seen.append(is_free())

    asyncio.run(work())
    assert seen == [False, False, True]


def free_elsewhere() -> bool:
    """Tell whether code in another thread could have the slot now."""
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(is_free()))
    thread.start()
    thread.join()
    return found[0]


def test_the_first_tasks_of_a_tag_that_come_all_at_once_obey_its_limit(tmp_path: Path) -> None:
    most: list[int] = []
    inside: list[int] = []

    @task(tags=["two"])
    def step(number: int) -> None:
        inside.append(number)
        most.append(len(inside))
        time.sleep(0.01)
        inside.remove(number)

    @flow
    def work() -> None:
        for future in [step.submit(number) for number in range(8)]:
            future.result()

    with runtime_at(tmp_path):
        Limit("two", 2).ensure()
    with runtime_at(tmp_path):  # as a new process, which does not know what limits there are
        work()
    assert max(most) == 2


def test_a_limit_that_is_not_there_is_said_to_limit_its_keys_alone(caplog: pytest.LogCaptureFixture) -> None:
    with concurrency("nowhere", key="acme", limit_per_key=1):
        pass

    assert "There is no limit 'nowhere', so only each of its keys is limited. Create it with" in caplog.text


def test_a_limit_that_another_process_has_raised_is_as_large_as_that_at_once(tmp_path: Path) -> None:
    async def raised() -> None:
        store = SQLiteStore(tmp_path / "headrace.db")
        await store.open()
        await store.limits.define(Known("one", 3))
        await store.close()

    with runtime_at(tmp_path):
        Limit("one", 1).ensure()
        with concurrency("one"):
            pass
        asyncio.run(raised())
        with concurrency("one", occupy=3):
            pass
        with pytest.raises(LimitTooSmall, match="has 3 slots, so 4 can never be had"), concurrency("one", occupy=4):
            pass
