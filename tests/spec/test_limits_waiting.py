"""Limits, while somebody waits: who is cancelled, what changes meanwhile, what is recorded; tags, keys, processes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace import _runtime, flow, tags, task
from headrace._runtime import Runtime
from headrace.cache_policies import INPUTS
from headrace.concurrency import Limit, LimitError, LimitTooSmall, concurrency
from headrace.errors import CancelledRun, RunningLoopError
from tests.chaos.processes import until
from tests.spec.cancelling import Meanwhile, happens, stop
from tests.spec.forms import Form, Latch, Record, call
from tests.spec.keeping import STORES, runtime_on
from tests.spec.limiting import Block, Room, held, removed, submits, used, waiting
from tests.spec.processing import in_processes


@pytest.fixture(params=STORES)
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runtime]:
    """Run the test on each kind of store."""
    with runtime_on(request.param, tmp_path, request) as made:
        yield made


@pytest.fixture
def both(form: Form, runtime: Runtime) -> Form:
    """Run the test in both forms, each on all stores."""
    assert runtime is _runtime.current()
    return form


def passes(form: Form, name: str = "api", **options: Any) -> None:
    """See that a flow gets a slot at once."""

    async def takes() -> None:
        async with Block(form, name, **{"timeout_seconds": 0, **options}):
            assert used(name)

    form.in_flow(takes)
    assert waiting(name) == 0


# -- who is cancelled -----------------------------------------------------------------------------------------


def test_a_flow_that_is_cancelled_while_it_waits_takes_nothing_and_leaves_nothing(both: Form) -> None:
    Limit("api", 1).ensure()

    async def main() -> None:
        async with Block(both, "api"):
            raise AssertionError

    with held("api"):
        with Meanwhile(lambda: waiting("api"), lambda: stop("main")), pytest.raises(CancelledRun):
            both.in_flow(main)
        assert (used("api"), waiting("api")) == (1, 0)
    passes(both)
    assert used("api") == 0


def test_a_flow_that_is_cancelled_while_its_tasks_wait_leaves_nothing_either(both: Form) -> None:
    Limit("api", 2).ensure()

    async def visit(_number: int) -> None:
        raise AssertionError

    visit_tagged = both.task(tags=["api"])(visit)

    async def main() -> None:
        for future in [visit_tagged.submit(number) for number in range(5)]:
            await both.got(future)

    with held("api", 2):
        with Meanwhile(lambda: waiting("api") == 5, lambda: stop("main")), pytest.raises(CancelledRun):
            both.in_flow(main)
        until(lambda: waiting("api") == 0)
        assert used("api") == 2
    passes(both, occupy=2)
    assert used("api") == 0


async def test_a_task_of_the_loop_that_is_cancelled_while_it_waits_takes_nothing(runtime: Runtime) -> None:
    await Limit("api", 1).aensure()
    assert runtime is _runtime.current()
    entered: list[int] = []

    async def enter(number: int) -> None:
        async with concurrency("api"):
            entered.append(number)

    with held("api") as let_go:
        waiters = [asyncio.create_task(enter(number)) for number in range(3)]
        await happens(lambda: waiting("api") == 3)
        waiters[0].cancel()
        waiters[2].cancel()
        await asyncio.gather(waiters[0], waiters[2], return_exceptions=True)
        assert (used("api"), waiting("api")) == (1, 1)
        let_go()
        await waiters[1]

    assert (entered, used("api"), waiting("api")) == ([1], 0, 0)


async def test_a_task_of_the_loop_that_is_cancelled_in_the_moment_of_its_turn_gives_it_on(runtime: Runtime) -> None:
    await Limit("api", 1).aensure()
    assert runtime is _runtime.current()
    entered: list[int] = []

    async def enter(number: int) -> None:
        async with concurrency("api"):
            entered.append(number)

    with held("api") as let_go:
        first, second = (asyncio.create_task(enter(number)) for number in range(2))
        await happens(lambda: waiting("api") == 2)
        let_go()
        until(lambda: waiting("api") == 1)  # the first has its slot, and does not know yet: the loop did not turn
        first.cancel()
        await asyncio.gather(first, second, return_exceptions=True)

    assert first.cancelled()
    assert (entered, used("api"), waiting("api")) == ([1], 0, 0)


async def test_what_outlives_a_block_has_nothing_of_it(runtime: Runtime) -> None:
    await Limit("api", 1).aensure()
    assert runtime is _runtime.current()
    left = asyncio.Event()

    async def outlives() -> None:
        await left.wait()
        async with concurrency("api", timeout_seconds=0):
            raise AssertionError

    async with concurrency("api"):
        begun = asyncio.create_task(outlives())
        await asyncio.sleep(0)
    with held("api"):
        left.set()
        with pytest.raises(TimeoutError):
            await begun


async def test_one_block_may_be_used_by_many_at_once(runtime: Runtime) -> None:
    await Limit("api", 3).aensure()
    assert runtime is _runtime.current()
    api = concurrency("api")
    first_left = asyncio.Event()

    async def first() -> None:
        async with api:
            await asyncio.sleep(0)
        first_left.set()

    async def second() -> None:
        async with api:
            await first_left.wait()
            with held("api", 2):
                async with concurrency("api", timeout_seconds=0):  # it has one, whatever others did
                    assert used("api") == 3

    await asyncio.gather(asyncio.create_task(second()), asyncio.create_task(first()))

    assert (used("api"), waiting("api")) == (0, 0)


# -- what changes meanwhile -----------------------------------------------------------------------------------


CHANGES: dict[str, Callable[[], object]] = {
    "raised": lambda: Limit("api", 2).ensure(),
    "disabled": lambda: Limit("api", 1, active=False).ensure(),
    "deleted": lambda: removed("api"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_who_waits_goes_on_when_the_limit_is(change: str, both: Form) -> None:
    Limit("api", 1).ensure()

    with held("api"):
        with Meanwhile(lambda: waiting("api"), CHANGES[change]):
            passes(both, timeout_seconds=60)
        if change == "raised":
            assert used("api") == 1
    assert used("api") == waiting("api") == 0


def test_who_waits_for_more_than_is_left_of_a_limit_hears_so(both: Form) -> None:
    Limit("api", 2).ensure()

    with (
        held("api"),
        Meanwhile(lambda: waiting("api"), lambda: Limit("api", 1).ensure()),
        pytest.raises(LimitTooSmall, match="'api' has 1 slot, so 2 can never be had"),
    ):
        passes(both, timeout_seconds=60, occupy=2)
    passes(both)


def test_what_is_in_use_of_a_limit_that_is_lowered_stays_in_use(both: Form) -> None:
    Limit("api", 3).ensure()

    with held("api", 2) as let_go:
        Limit("api", 1).ensure()
        with pytest.raises(TimeoutError):
            passes(both)
        assert used("api") == 2
        with Meanwhile(lambda: waiting("api"), let_go):
            passes(both, timeout_seconds=60)


def test_ensure_changes_what_there_is_at_once(both: Form) -> None:
    assert Limit("api", 1).ensure() == Limit("api", 1)

    passes(both)
    Limit("api", 3).ensure()
    passes(both, occupy=3)
    Limit("api", 2).ensure()
    with pytest.raises(LimitTooSmall):
        passes(both, occupy=3)
    passes(both, occupy=2)


def test_a_limit_that_is_disabled_limits_nothing(both: Form) -> None:
    Limit("api", 1, active=False).ensure()

    passes(both, occupy=9)


# -- tags -----------------------------------------------------------------------------------------------------


def test_tasks_with_the_tag_of_a_limit_take_a_slot_of_it(both: Form) -> None:
    Limit("api", 2).ensure()
    room = Room(full=2)

    async def visit(_number: int) -> None:
        await room.visit()

    submits(both, visit, 8, tags=["api", "other"])

    assert (room.most, room.visits, used("api")) == (2, 8, 0)


def test_so_do_tasks_that_are_called_within_the_tag(both: Form) -> None:
    Limit("api", 2).ensure()
    room = Room(full=2)

    async def visit(_number: int) -> None:
        await room.visit()

    with tags("api"):
        submits(both, visit, 8)

    assert (room.most, room.visits, used("api")) == (2, 8, 0)


def test_a_tag_is_a_limit_as_soon_as_there_is_one_of_its_name(both: Form) -> None:
    found: list[int] = []

    @both.task(tags=["api"])
    async def tagged() -> None:
        found.append(used("api"))

    async def main() -> None:
        await call(tagged)
        if both.is_async:
            await Limit("api", 1).aensure()
        else:
            Limit("api", 1).ensure()
        await call(tagged)

    both.in_flow(main)

    assert found == [0, 1]


def test_a_task_has_no_slot_while_it_waits_for_its_next_attempt(both: Form) -> None:
    Limit("api", 1).ensure()
    tried = Latch()
    order: list[str] = []

    @both.task(tags=["api"], retries=1, retry_delay_seconds=3_600)
    async def unlucky() -> None:
        order.append("unlucky")
        tried.open()
        raise ConnectionError

    @both.task(tags=["api"])
    async def other() -> None:
        order.append("other")

    async def main() -> None:
        futures = [unlucky.submit()]
        await tried.passed()
        futures.append(other.submit())
        for future in futures:
            await both.got(future)

    with Meanwhile(lambda: "other" in order, lambda: stop("main")), pytest.raises(CancelledRun):
        both.in_flow(main)

    assert order == ["unlucky", "other"]
    until(lambda: used("api") == 0)


def test_a_result_that_is_known_takes_no_slot(both: Form) -> None:
    Limit("api", 1).ensure()

    @both.task(tags=["api"], cache_policy=INPUTS)
    async def doubled(x: int) -> int:
        return 2 * x

    async def main() -> list[int]:
        return [await call(doubled, 1)]

    assert both.in_flow(main) == [2]
    Limit("api", 0).ensure()
    assert both.in_flow(main) == [2]
    with pytest.raises(LimitTooSmall, match="'api' has 0 slots"):
        both.run(doubled, 2)


def test_a_task_that_fails_gives_its_slot_back(both: Form) -> None:
    Limit("api", 1).ensure()

    @both.task(tags=["api"])
    async def unlucky() -> None:
        raise ConnectionError

    for _ in range(2):
        with pytest.raises(ConnectionError):
            both.run(unlucky)
    passes(both)


def test_a_task_that_waits_is_recorded_as_pending_for_the_limit(form: Form, record: Record) -> None:
    Limit("api", 1).ensure()

    @form.task(tags=["api"])
    async def tagged() -> None: ...

    async def main() -> None:
        await call(tagged)

    with held("api") as let_go, Meanwhile(lambda: waiting("api"), let_go):
        form.in_flow(main)
    form.in_flow(main)

    waited, at_once = record.task_runs()
    assert record.path(waited) == ["Running", "Pending", "Running", "Completed"]
    assert waited.transitions[1][3] == "Waits for a slot of the limit 'api'"
    assert record.path(at_once) == ["Running", "Completed"]


async def test_a_task_whose_coroutine_is_closed_in_another_context_gives_its_slot_back(runtime: Runtime) -> None:
    await Limit("api", 1).aensure()
    assert runtime is _runtime.current()

    @task(tags=["api"])
    async def endless() -> None:
        await asyncio.Event().wait()

    life: Any = endless()
    for _ in range(1_000):  # driven by hand, here
        awaited = life.send(None)
        if used("api"):
            break
        if awaited is not None:
            awaited._asyncio_future_blocking = False
            await asyncio.wait([awaited])
    assert used("api") == 1
    await asyncio.create_task(closes(life))
    assert used("api") == 0


async def closes(life: Any) -> None:
    """Close a coroutine, in another context than it was driven in."""
    life.close()


# -- keys -----------------------------------------------------------------------------------------------------


def test_all_of_one_key_have_so_many_slots_together_at_most(both: Form) -> None:
    Limit("api", 3).ensure()
    together, apart = Room(full=3), [Room() for _ in range(3)]

    async def visit(number: int) -> None:
        async with Block(both, "api", key=number % 3, limit_per_key=1):
            await apart[number % 3].visit()
            await together.visit()

    submits(both, visit, 9)

    assert (together.most, [room.most for room in apart], together.visits) == (3, [1, 1, 1], 9)
    assert used("api") == 0


def test_a_key_may_be_limited_where_all_together_are_not(both: Form) -> None:
    Limit("api", 100).ensure()
    room = Room(full=2)

    async def visit(_number: int) -> None:
        async with Block(both, "api", key="one", limit_per_key=2):
            await room.visit()

    submits(both, visit, 8)

    assert room.most == 2


# -- where one must not wait ----------------------------------------------------------------------------------


async def test_a_blocking_block_on_the_thread_of_a_loop_takes_what_is_free_and_never_waits(runtime: Runtime) -> None:
    await Limit("api", 1).aensure()
    assert runtime is _runtime.current()

    @flow
    def blocks() -> int:
        with concurrency("api"):
            return used("api")

    with held("api"):
        for enters in (blocks, blocks.fn):
            with pytest.raises(RunningLoopError, match=r"Code that waits for a slot of 'api' .*`async with`"):
                enters()
        assert waiting("api") == 0
    assert [blocks(), blocks.fn()] == [1, 1]


async def test_nor_does_the_first_of_all(runtime: Runtime) -> None:
    await Limit("api", 1).aensure()
    assert runtime is _runtime.current()

    with concurrency("api"):
        assert used("api") == 1


@task(tags=["pool"])
def alone(folder: str) -> int:
    """Be where nobody else is."""
    path = os.path.join(folder, "here")
    os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    for _ in range(1_000):
        os.stat(path)
    os.remove(path)
    return os.getpid()


@task
def takes() -> None:
    """Take a slot, in a worker process."""
    with concurrency("pool"):
        raise AssertionError


def test_tags_limit_what_runs_in_worker_processes_and_blocks_in_them_say_so(runtime: Runtime, tmp_path: Path) -> None:
    assert runtime is _runtime.current()
    Limit("pool", 1).ensure()

    def act() -> list[int]:
        with pytest.raises(LimitError, match=r"concurrency\(\('pool',\)\) was used in a worker process.*tag"):
            takes.submit().result()
        return [future.result() for future in [alone.submit(str(tmp_path)) for _ in range(8)]]

    assert os.getpid() not in in_processes(act)
    assert used("pool") == 0
