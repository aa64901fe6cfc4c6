"""Generator tasks in durable flows: left early, retried, cancelled, several at once, within others, and refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace import durable, flow, task
from headrace.errors import NonDeterministicItems, OptionError, SerializationError
from headrace.transactions import transaction
from tests.spec.durable_crashes import STORES, World, doubling, path
from tests.spec.forms import Form, Record, call
from tests.spec.streaming import read
from tests.spec.yielding import anew, noted, pages, taken, yielding


@pytest.fixture(params=STORES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(str(request.param), tmp_path)


# -- left early -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [pages, anew], ids=["numbered", "neither"])
def test_a_consumer_that_left_early_leaves_it_at_the_same_place_and_the_body_is_not_run(
    form: Form, world: World, make: Any
) -> None:
    page, last = make(world, form), doubling(world, form, name="last")

    @form.flow(durable=True)
    async def reads() -> list[int]:
        found = await some(page(5), 3)
        return [*found, await call(last, 1)]

    run_id = world.crashes(form, reads, at="last 1")
    assert world.seen() == [*noted(0, 2), "last 1"]

    assert world.resumes(form, run_id) == [0, 1, 2, 2]
    assert world.seen() == ["last 1"]
    assert [run.state.message for run in world.task_runs()] == ["Its consumer stopped early.", None]


def test_a_consumer_that_asks_for_more_than_it_did_gets_it(form: Form, world: World) -> None:
    page, last, wanted = pages(world, form), doubling(world, form, name="last"), [2, 4]

    @form.flow(durable=True)
    async def reads() -> list[int]:
        found = await some(page(5), wanted.pop(0))
        return [*found, await call(last, 1)]

    run_id = world.crashes(form, reads, at="last 1")
    world.seen()

    assert world.resumes(form, run_id) == [0, 1, 2, 3, 2]
    assert world.seen() == ["page 2", "page 3", "last 1"]


async def some(stream: Any, count: int) -> list[Any]:
    """Take so many items of a generator of either form, and close it."""
    found: list[Any] = []
    if hasattr(stream, "__aiter__"):
        while len(found) < count:
            found.append(await anext(stream))
        await stream.aclose()
    else:
        while len(found) < count:
            found.append(next(stream))
        stream.close()
    return found


# -- retried ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("durably", [False, True], ids=["plain", "durable"])
def test_a_numbered_generator_is_retried_behind_the_items_that_it_gave(
    form: Form, record: Record, durably: bool
) -> None:
    story: list[str] = []

    def page(count: int, *, resume_from: int = 0) -> Iterator[int]:
        story.append(f"from {resume_from}")
        for number in range(resume_from, count):
            if number and f"fell at {number}" not in story:
                story.append(f"fell at {number}")
                raise OSError("busy")
            yield number

    fetch = yielding(form, page, retries=3)

    @form.flow(durable=durably)
    async def reads() -> list[int]:
        return await taken(fetch(3))

    assert form.run(reads) == [0, 1, 2]
    assert story == ["from 0", "fell at 1", "from 1", "fell at 2", "from 2"]
    (run,) = record.task_runs()
    assert run.run_count == 3


@pytest.mark.parametrize("durably", [False, True], ids=["plain", "durable"])
def test_a_deterministic_generator_is_retried_past_the_items_that_it_gave(form: Form, durably: bool) -> None:
    starts: list[int] = []

    def page(count: int) -> Iterator[int]:
        starts.append(count)
        for number in range(count):
            if number == 2 and len(starts) < 3:
                raise OSError("busy")
            yield number

    fetch = yielding(form, page, retries=3, deterministic=True)

    @form.flow(durable=durably)
    async def reads() -> list[int]:
        return await taken(fetch(4))

    assert form.run(reads) == [0, 1, 2, 3]
    assert len(starts) == 3


@pytest.mark.parametrize(("durably", "then"), [(False, [0]), (True, [0]), (True, [0, 7])])
def test_a_deterministic_generator_that_is_not_is_found_out_and_not_retried_again(
    form: Form, durably: bool, then: list[int]
) -> None:
    starts: list[int] = []

    def page() -> Iterator[int]:
        starts.append(1)
        if len(starts) > 1:
            yield from then
            return
        yield from [0, 1]
        raise OSError("busy")

    fetch = yielding(form, page, retries=3, deterministic=True)

    @form.flow(durable=durably)
    async def reads() -> list[int]:
        return await taken(fetch())

    with pytest.raises(NonDeterministicItems, match="item 1 was"):
        form.run(reads)
    assert len(starts) == 2


def test_another_attempt_of_the_flow_goes_on_with_what_failed(form: Form, world: World) -> None:
    failing = ["2"]

    def page(count: int, *, resume_from: int = 0) -> Iterator[int]:
        for number in range(resume_from, count):
            if str(number) in failing:
                failing.clear()
                raise OSError("busy")
            world.visit(f"page {number}")
            yield number

    fetch, step = yielding(form, page), doubling(world, form)

    @form.flow(durable=True, retries=1)
    async def reads() -> list[int]:
        return await taken(fetch(4), lambda item: call(step, item))

    with world.runtime():
        assert form.run(reads) == [0, 1, 2, 3]
    assert world.seen() == ["page 0", "step 0", "page 1", "step 1", "page 2", "step 2", "page 3", "step 3"]


def test_another_attempt_of_the_flow_takes_other_items_of_one_that_says_nothing(form: Form, world: World) -> None:
    given: list[list[Any]] = [[1, 2, OSError("busy")], [3, 4]]

    def page() -> Iterator[int]:
        for item in given.pop(0):
            if isinstance(item, Exception):
                raise item
            yield item

    fetch, step = yielding(form, page), doubling(world, form)

    @form.flow(durable=True, retries=1)
    async def reads() -> list[int]:
        return await taken(fetch(), lambda item: call(step, item))

    run_id = world.crashes(form, reads, at="step 4")
    given.append([3, 4])

    assert world.resumes(form, run_id) == [3, 4]


def test_one_that_was_cancelled_goes_on_where_it_was(world: World) -> None:
    form = Form("async")
    last, hold = doubling(world, form, name="last"), asyncio.Event()

    @task
    async def page(*, resume_from: int = 0) -> AsyncIterator[int]:
        for number in range(resume_from, 4):
            if number == 2 and not world.ran.count("again"):
                await hold.wait()
            world.visit(f"page {number}")
            yield number

    @flow(durable=True)
    async def reads() -> list[int]:
        found: list[int] = []
        try:
            async with asyncio.timeout(None) as limit:
                async for item in page():
                    found.append(item)
                    if item == 1 and not world.ran.count("again"):
                        limit.reschedule(asyncio.get_running_loop().time())
        except TimeoutError:
            found.append(-1)
        return [*found, await last(1)]

    run_id = world.crashes(form, reads, at="last 1")
    assert [path(run) for run in world.task_runs()] == [["Running", "Cancelled"]]
    world.visit("again")

    assert world.resumes(form, run_id) == [0, 1, 2, 3, 2]


# -- several, and within others ---------------------------------------------------------------------------------------


def test_calls_with_equal_arguments_are_two_generators(form: Form, world: World) -> None:
    page, last = pages(world, form), doubling(world, form, name="last")

    @form.flow(durable=True)
    async def reads() -> list[int]:
        first = await some(page(5), 1)
        return [*first, *await taken(page(5)), await call(last, 1)]

    assert world.survives(form, reads, at="page 3") == [0, 0, 1, 2, 3, 4, 2]
    assert world.seen()[-3:] == ["page 3", "page 4", "last 1"]


def test_two_that_are_read_at_once_keep_their_own_items(form: Form, world: World) -> None:
    page, step = pages(world, form), doubling(world, form)

    @form.flow(durable=True)
    async def reads() -> list[int]:
        found: list[int] = []
        one, other = page(3), page(5)
        for _ in range(3):
            found += await following(one), await following(other)
            found.append(await call(step, 10 * found[-1]))
        return found

    run_id = world.crashes(form, reads, at="step 10")
    world.seen()

    assert world.resumes(form, run_id) == [0, 0, 0, 1, 1, 20, 2, 2, 40]
    assert world.seen() == ["step 10", "page 2", "page 2", "step 20"]


def test_two_that_race_keep_their_own_items(world: World) -> None:
    form = Form("async")
    step = doubling(world, form)

    @task
    async def page(kind: int, *, resume_from: int = 0) -> AsyncIterator[int]:
        for number in range(resume_from, 4):
            world.visit(f"page {kind + number}")
            yield kind + number

    @flow(durable=True)
    async def reads() -> list[list[int]]:
        found: list[list[int]] = await asyncio.gather(*(taken(page(kind), step) for kind in (10, 20)))
        return found

    run_id = world.crashes(form, reads, at="step 22")
    begun = {place.removeprefix("step ") for place in world.seen() if place.startswith("step")}

    assert world.resumes(form, run_id) == [[10, 11, 12, 13], [20, 21, 22, 23]]
    assert not begun & {place.removeprefix("page ") for place in world.seen() if place.startswith("page")}


async def following(stream: Any) -> Any:
    """Take the next item of a generator of either form."""
    return await anext(stream) if hasattr(stream, "__aiter__") else next(stream)


def test_a_generator_that_a_stream_is_over_goes_on_too(form: Form, inner: Form, world: World) -> None:
    page, step = pages(world, form), doubling(world, inner)

    @form.flow(durable=True)
    async def reads() -> list[int]:
        return await read(form, step.stream(page(5), limit=1))

    run_id = world.crashes(form, reads, at="step 2")
    world.seen()

    assert world.resumes(form, run_id) == [0, 2, 4, 6, 8]
    assert world.seen() == ["step 2", "page 3", "step 3", "page 4", "step 4"]


def test_a_generator_in_a_subflow_goes_on_too(form: Form, world: World) -> None:
    page, step = pages(world, form), doubling(world, form)

    @form.flow()
    async def part() -> list[int]:
        return await taken(page(3), lambda item: call(step, item))

    @form.flow(durable=True)
    async def reads() -> list[int]:
        found: list[int] = await call(part)
        return found

    run_id = world.crashes(form, reads, at="step 1")
    world.seen()

    assert world.resumes(form, run_id) == [0, 1, 2]
    assert world.seen() == ["step 1", "page 2", "step 2"]


@pytest.mark.parametrize("numbered", [True, False])
def test_what_a_generator_calls_for_an_item_is_not_run_again(world: World, numbered: bool) -> None:
    """Equal calls, too: those for one item are never taken for those for another."""
    form = Form("sync")
    counts: list[int] = []

    @task
    def advance() -> int:
        world.visit(f"advance {len(counts)}")
        counts.append(len(counts))
        return counts[-1]

    def page(count: int, *, resume_from: int = 0) -> Iterator[tuple[int, float]]:
        for number in range(resume_from, count):
            found = advance()
            world.visit(f"page {number}")
            yield found, durable.random()

    fetch = yielding(form, page) if numbered else task(deterministic=True)(generator(page))
    step = doubling(world, form)

    @flow(durable=True)
    def reads() -> list[int]:
        found: list[int] = []
        for item, _ in fetch(3):
            found.append(item)
            step(item)
        return found

    run_id = world.crashes(form, reads, at="page 1")
    assert world.seen() == ["advance 0", "page 0", "step 0", "advance 1", "page 1"]

    assert world.resumes(form, run_id) == [0, 1, 2]
    before = [] if numbered else ["page 0"]
    assert world.seen() == [*before, "page 1", "step 1", "advance 2", "page 2", "step 2"]


def generator(body: Any) -> Any:
    """Give *body* without the number to resume from."""

    def plain(count: int) -> Iterator[Any]:
        yield from body(count)

    return plain


def test_a_generator_on_record_takes_no_part_in_the_transaction_around_it(world: World) -> None:
    form = Form("sync")
    page, last = pages(world, form), doubling(world, form, name="last")

    @flow(durable=True)
    def reads() -> str:
        try:
            with transaction():
                found = list(page(3))
                last(1)
                raise LookupError(str(found))
        except LookupError as error:
            return str(error)

    assert world.survives(form, reads, at="last 1") == "[0, 1, 2]"
    assert next(path(run) for run in world.task_runs()) == ["Running", "Completed"]


# -- refused ----------------------------------------------------------------------------------------------------------


def test_an_item_that_cannot_be_kept_fails_the_generator_and_says_what_to_do(form: Form, world: World) -> None:
    story: list[str] = []

    def page() -> Iterator[Any]:
        try:
            yield 1
            yield threading.Lock()
        finally:
            story.append("closed")

    locks, kept = yielding(form, page, retries=2), yielding(form, page, persist_result=False)

    @form.flow(durable=True)
    async def reads(way: str) -> int:
        return len(await taken(locks() if way == "kept" else kept()))

    with world.runtime():
        with pytest.raises(SerializationError, match=r"Item 1 of Task run 'page-001' .* say persist_result=False"):
            form.run(reads, "kept")
        assert story == ["closed"]
        assert form.run(reads, "unkept") == 2


def test_deterministic_is_refused_where_it_says_nothing(form: Form) -> None:
    async def body() -> int:
        return 1

    def page(*, resume_from: int = 0) -> Iterator[int]:
        yield resume_from

    with pytest.raises(OptionError, match="task 'body' is no generator, and deterministic=True says of a generator"):
        form.task(deterministic=True)(body)
    with pytest.raises(OptionError, match="task 'page' goes on from resume_from, and deterministic=True"):
        yielding(form, page, deterministic=True)
    yielding(form, page, deterministic=False)


def test_a_parameter_of_that_name_that_does_not_begin_at_0_is_the_users_own(form: Form) -> None:
    def page(resume_from: str | None = None) -> Iterator[str | None]:
        yield resume_from
        raise OSError("busy")

    fetch = yielding(form, page, retries=2)

    @form.flow()
    async def reads() -> list[Any]:
        return await taken(fetch("token"))

    with pytest.raises(OSError, match="busy"):
        form.run(reads)
