"""Limits: at most so many at once, or so many a second, whoever asks; what is taken is given back, whatever happens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace import _runtime, flow
from headrace._runtime import Runtime
from headrace.concurrency import (
    Limit,
    LimitError,
    LimitNotFound,
    LimitTooSmall,
    NotARate,
    SlotTimeout,
    concurrency,
    rate_limit,
)
from headrace.errors import OptionError, OptionTypeError
from headrace.testing import virtual_time
from tests.spec.forms import Form, call
from tests.spec.keeping import runtime_at
from tests.spec.limiting import Block, Room, submits, used, waiting

Said = Callable[[], list[str]]


@pytest.fixture(params=["memory", "sqlite"])
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runtime]:
    """Run the test on a store in memory and on one in a file."""
    with runtime_at(tmp_path, memory=request.param == "memory") as made:
        yield made


@pytest.fixture
def both(form: Form, runtime: Runtime) -> Form:
    """Run the test in both forms, each on both stores."""
    assert runtime is _runtime.current()
    return form


# -- at most so many ------------------------------------------------------------------------------------------


def test_at_most_so_many_are_in_a_block_at_once_and_as_many_as_may(both: Form) -> None:
    Limit("api", 3).ensure()
    room = Room(full=3)

    async def visit(_number: int) -> None:
        async with Block(both, "api"):
            await room.visit()

    submits(both, visit, 12)

    assert (room.most, room.visits, used("api"), waiting("api")) == (3, 12, 0, 0)


def test_several_slots_may_be_taken_at_once(both: Form) -> None:
    Limit("api", 5).ensure()
    room = Room(full=2)

    async def visit(_number: int) -> None:
        async with Block(both, "api", 2):
            await room.visit()

    submits(both, visit, 6)

    assert (room.most, room.visits) == (2, 6)


def test_of_several_limits_all_are_taken_or_none(both: Form) -> None:
    Limit("api", 1).ensure()
    Limit("db", 1).ensure()

    async def main() -> None:
        async with Block(both, "db"):
            with pytest.raises(SlotTimeout, match=r"^No slot of 'api', 'db' came free within 0 s\."):
                await both.got(asks.submit(["api", "db"]))
            await both.got(asks.submit("api"))

    @both.task()
    async def asks(names: Any) -> None:
        async with Block(both, names, timeout_seconds=0):
            assert used("api") == 1

    both.in_flow(main)


def test_nobody_blocks_anybody_who_names_the_same_limits_in_another_order(both: Form) -> None:
    Limit("api", 1).ensure()
    Limit("db", 1).ensure()
    room = Room()

    async def visit(number: int) -> None:
        async with Block(both, ["api", "db"] if number % 2 else ["db", "api", "db"]):
            await room.visit()

    submits(both, visit, 20)

    assert (room.most, room.visits) == (1, 20)


def test_a_body_that_raises_gives_its_slots_back(both: Form) -> None:
    Limit("api", 1).ensure()

    async def main() -> None:
        for _ in range(3):
            with pytest.raises(ConnectionError):
                async with Block(both, "api", timeout_seconds=0):
                    raise ConnectionError

    both.in_flow(main)

    assert used("api") == 0


def test_a_block_may_be_used_outside_of_runs(both: Form) -> None:
    Limit("api", 1).ensure()

    async def outside() -> int:
        async with Block(both, "api"):
            return used("api")

    assert both.run(both.fn(outside)) == 1
    assert used("api") == 0


def test_a_block_may_be_entered_again_and_within_itself(both: Form) -> None:
    Limit("api", 1).ensure()
    block = Block(both, "api", timeout_seconds=0)

    async def main() -> None:
        for _ in range(2):
            async with block:
                async with block:
                    assert used("api") == 1
                assert used("api") == 1

    both.in_flow(main)

    assert used("api") == 0


# -- rates ----------------------------------------------------------------------------------------------------


def test_a_rate_lets_a_few_through_at_once_and_then_one_by_one(both: Form) -> None:
    Limit("rps", 2, slot_decay_per_second=50).ensure()
    began = time.monotonic()

    async def main() -> None:
        for _ in range(5):
            async with Block(both, "rps", kind=rate_limit):
                pass

    both.in_flow(main)

    assert time.monotonic() - began >= (5 - 2) / 50


async def test_a_rate_passes_in_virtual_time_on_a_loop_too(runtime: Runtime) -> None:
    assert runtime is _runtime.current()
    with virtual_time() as clock:
        await Limit("rps", 1, slot_decay_per_second=1 / 60).aensure()
        for _ in range(3):
            async with rate_limit("rps"):
                pass

    assert clock.elapsed == pytest.approx(120)


def test_a_rate_passes_in_virtual_time(runtime: Runtime) -> None:
    assert runtime is _runtime.current()
    with virtual_time() as clock:
        Limit("rps", 1, slot_decay_per_second=1 / 60).ensure()
        for _ in range(3):
            with rate_limit("rps"):
                pass

    assert clock.elapsed == pytest.approx(120)


def test_a_rate_holds_for_all_who_ask_together(both: Form) -> None:
    Limit("rps", 3, slot_decay_per_second=100).ensure()
    room = Room()
    began = time.monotonic()

    async def visit(_number: int) -> None:
        async with Block(both, "rps", kind=rate_limit):
            await room.visit()

    submits(both, visit, 15)

    assert room.visits == 15
    assert time.monotonic() - began >= (15 - 3) / 100


def test_a_rate_by_the_names_people_know_is_a_call(runtime: Runtime) -> None:
    from headrace.concurrency import asyncio as later
    from headrace.concurrency import sync as now

    Limit("rps", 2, slot_decay_per_second=0.001).ensure()

    @flow
    def blocks() -> None:
        now.rate_limit("rps")
        with pytest.raises(now.AcquireConcurrencySlotTimeoutError):
            now.rate_limit("rps", occupy=2, timeout_seconds=0)

    @flow
    async def suspends() -> None:
        await later.rate_limit("rps")
        with pytest.raises(later.AcquireConcurrencySlotTimeoutError):
            await later.rate_limit("rps", timeout_seconds=0)

    blocks()
    asyncio.run(suspends())

    assert now.concurrency is later.concurrency is concurrency
    assert now.ConcurrencySlotAcquisitionError is later.ConcurrencySlotAcquisitionError is LimitError
    assert runtime is _runtime.current()


def test_a_limit_that_is_no_rate_is_refused_as_one(both: Form) -> None:
    Limit("api", 1).ensure()

    async def main() -> None:
        for _ in range(2):
            with pytest.raises(NotARate, match=r"'api' is no rate: .* Use concurrency\('api'\), or make it a rate"):
                async with Block(both, "api", kind=rate_limit, timeout_seconds=0):
                    raise AssertionError

    both.in_flow(main)

    assert used("api") == 0


# -- who does not get any -------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"timeout_seconds": 0.01}, {"timeout_seconds": 0}, {"max_retries": 0}])
def test_who_waits_for_too_long_hears_of_what(both: Form, options: dict[str, Any]) -> None:
    Limit("api", 1).ensure()

    @both.task()
    async def asks() -> None:
        async with Block(both, "api", **options):
            raise AssertionError

    async def main() -> None:
        async with Block(both, "api", **options):
            with pytest.raises(SlotTimeout, match=r"'api' came free within 0(\.01)? s") as raised:
                await both.got(asks.submit())
            assert isinstance(raised.value, TimeoutError)

    both.in_flow(main)

    assert (used("api"), waiting("api")) == (0, 0)


def test_more_than_there_is_is_refused_at_once(both: Form) -> None:
    Limit("api", 2).ensure()
    Limit("none", 0).ensure()

    async def main() -> None:
        with pytest.raises(LimitTooSmall, match="'api' has 2 slots, so 3 can never be had") as raised:
            async with Block(both, "api", 3):
                raise AssertionError
        assert isinstance(raised.value, ValueError)
        with pytest.raises(LimitTooSmall, match=r"'none' has 0 slots, so 1 can never be had.* --limit 1"):
            async with Block(both, ["api", "none"]):
                raise AssertionError

    both.in_flow(main)

    assert (used("api"), waiting("api")) == (0, 0)


def test_a_limit_that_does_not_exist_limits_nothing_and_is_named_once(both: Form, said: Said) -> None:
    async def main() -> None:
        for _ in range(3):
            async with Block(both, "typo", 7):
                pass

    both.in_flow(main)

    (line,) = [line for line in said() if "typo" in line]
    assert line.startswith("WARNING")
    assert "There is no limit 'typo', so nothing is limited. Create it with: headrace gcl create typo" in line


def test_a_limit_that_does_not_exist_is_an_error_for_who_is_strict(both: Form) -> None:
    async def main() -> None:
        with pytest.raises(LimitNotFound, match=r"There is no limit 'typo'\. Create it with: headrace gcl create typo"):
            async with Block(both, ["typo"], strict=True):
                raise AssertionError

    both.in_flow(main)


REFUSED: list[tuple[list[Any], dict[str, Any], str]] = [
    (["api", 0], {}, "occupy of concurrency must be 1 or more, not 0"),
    (["api", -1], {}, "occupy of concurrency must be 1 or more, not -1"),
    (["api", 1.5], {}, r"occupy of concurrency must be a whole number, not 1\.5"),
    (["api", True], {}, "occupy of concurrency must be a whole number, not True"),
    ([""], {}, "names of concurrency must be names of limits that can be seen"),
    ([[]], {}, "names of concurrency must be names of limits that can be seen"),
    (["a\nb"], {}, "names of concurrency must be names of limits that can be seen"),
    ([7], {}, "must be the name of a limit, or several, not 7"),
    ([["api", 7]], {}, "must be the name of a limit, or several"),
    (["api"], {"timeout_seconds": -1}, "timeout_seconds of concurrency must be 0 or more, not -1"),
    (["api"], {"timeout_seconds": float("nan")}, "timeout_seconds of concurrency must be 0 or more, not nan"),
    (["api"], {"timeout_seconds": "1"}, "timeout_seconds of concurrency must be a number of seconds"),
    (["api"], {"max_retries": -1}, "max_retries of concurrency must be 0 or more"),
    (["api"], {"limit_per_key": 1}, "limit_per_key of concurrency needs a key"),
    (["api"], {"key": "a", "limit_per_key": 0}, "limit_per_key of concurrency must be 1 or more"),
    (["api", 2], {"key": "a", "limit_per_key": 1}, "'api of a' has 1 slot, so 2 can never be had"),
]


@pytest.mark.parametrize(("args", "options", "sentence"), REFUSED)
def test_what_cannot_be_is_refused_before_anything_is_taken(
    args: list[Any], options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises((OptionError, OptionTypeError, LimitTooSmall), match=sentence):
        concurrency(*args, **options)


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (["api", -1], "slots of the limit 'api' must be 0 or more, not -1"),
        (["api", 1.0], "slots of the limit 'api' must be a whole number"),
        (["api", 1, 0], "slot_decay_per_second of the limit 'api' must be more than 0, not 0"),
        (["api", 1, float("inf")], "slot_decay_per_second of the limit 'api' must be more than 0, not inf"),
        (["api", 1, float("nan")], "slot_decay_per_second of the limit 'api' must be more than 0, not nan"),
        (["api", 1, "1"], "slot_decay_per_second of the limit 'api' must be a number"),
        ([" ", 1], "names of Limit must be names of limits that can be seen"),
    ],
)
def test_a_limit_that_cannot_be_is_refused(args: list[Any], sentence: str) -> None:
    with pytest.raises((OptionError, OptionTypeError), match=sentence):
        Limit(*args)


# -- who has some already -------------------------------------------------------------------------------------


def test_who_releases_while_it_waits_lets_those_have_its_slot_for_which_it_waits(both: Form) -> None:
    Limit("api", 1).ensure()
    found: list[int] = []

    @both.task()
    async def inner() -> None:
        async with Block(both, "api"):
            found.append(used("api"))

    async def main() -> None:
        async with Block(both, "api", while_waiting="release"):
            for _ in range(3):
                await both.got(inner.submit())
                found.append(used("api"))

    both.in_flow(main)

    assert found == [1] * 6
    assert (used("api"), waiting("api")) == (0, 0)


def test_a_submitted_task_with_the_tag_may_be_waited_for_by_who_releases(both: Form) -> None:
    Limit("api", 1).ensure()

    @both.task(tags=["api"])
    async def inner(x: int) -> int:
        return x + used("api")

    async def main() -> list[int]:
        async with Block(both, "api", while_waiting="release"):
            return list(await both.got(inner.map([1, 2, 3])))

    assert both.in_flow(main) == [2, 3, 4]


def test_what_a_run_has_passes_what_it_calls_at_once(both: Form) -> None:
    Limit("api", 1).ensure()

    @both.task(tags=["api"])
    async def tagged() -> int:
        async with Block(both, "api", timeout_seconds=0):
            return used("api")

    async def main() -> list[int]:
        async with Block(both, "api"):
            return [await call(tagged), await call(tagged)]

    assert both.in_flow(main) == [1, 1]
    assert used("api") == 0


def test_what_a_run_submits_has_none_of_its_slots(both: Form) -> None:
    Limit("api", 1).ensure()

    @both.task()
    async def other() -> None:
        async with Block(both, "api", timeout_seconds=0):
            raise AssertionError

    async def main() -> None:
        async with Block(both, "api"):
            with pytest.raises(SlotTimeout):
                await both.got(other.submit())

    both.in_flow(main)
