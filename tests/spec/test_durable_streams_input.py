"""What cursors are given that cannot be is refused, with a sentence; and what they do outside of durable flows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace import Runtime, task, unmapped
from headrace.durable import Cursor, NonDeterministicFlow
from headrace.errors import MappingMissingIterable, OptionError, OptionTypeError, StreamUseError
from tests.spec.cursors import Late, Numbered
from tests.spec.durable_crashes import World, doubling
from tests.spec.forms import Form, Record
from tests.spec.streaming import in_flow, read, triple

PAIRS = "where read(after) gives pairs (position, item) of what lies behind the position *after*."


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World("memory", tmp_path)


def refusal(form: Form, record: Record, given: Callable[[Any], Any], error: type[Exception]) -> str:
    """Give what is said of a durable stream over a cursor that reads what *given* gives."""

    async def body() -> None:
        await read(form, triple.stream(Cursor(given), limit=1))

    with pytest.raises(error) as caught:
        in_flow(form, body, durable=True)
    assert all(run.state.is_completed() for run in record.task_runs())
    return str(caught.value)


# -- how it is made -----------------------------------------------------------------------------------------------


def test_what_cannot_be_called_reads_nothing() -> None:
    wrong: Any = [1, 2]
    with pytest.raises(OptionTypeError) as caught:
        Cursor(wrong)
    assert str(caught.value) == f"A Cursor takes a function, not [1, 2] (list). Write Cursor(read), {PAIRS}"


def test_a_name_is_a_string() -> None:
    wrong: Any = 7
    with pytest.raises(OptionTypeError, match=r"^The name of a Cursor must be a string, not 7 \(int\)\.$"):
        Cursor(Numbered(1).read, name=wrong)


def test_a_cursor_shows_what_it_is_recorded_under() -> None:
    assert repr(Cursor(Numbered(1).read)) == "Cursor(Numbered.read)"
    assert repr(Cursor(Numbered(1).read, name="lines")) == "Cursor(lines)"


# -- what it gives --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [None, 7], ids=str)
def test_what_is_nothing_to_iterate_is_refused(form: Form, record: Record, given: Any) -> None:
    assert refusal(form, record, lambda _after: given, OptionTypeError) == (
        f"The cursor of triple.stream() gave {given} when it was asked for what lies behind None. It is to give pairs "
        f"(position, item): yield them, or return a list."
    )


async def coroutine(_after: Any) -> list[tuple[int, int]]:
    return [(1, 1)]


def test_a_coroutine_is_no_source(form: Form, record: Record) -> None:
    said = refusal(form, record, coroutine, OptionTypeError)
    assert "gave <coroutine object" in said
    assert said.endswith("yield them, or return a list.")


@pytest.mark.parametrize("pair", [7, "ab", (1, 2, 3), [1, 2]], ids=str)
def test_what_is_no_pair_is_refused(form: Form, record: Record, pair: Any) -> None:
    said = refusal(form, record, lambda _after: [pair], OptionTypeError)
    assert said == (
        f"The cursor of triple.stream() gave {pair!r} ({type(pair).__name__}), which is no pair (position, item). Say "
        f"with each item where it stands: its number, its id or its offset."
    )


@pytest.mark.parametrize("position", [(1, 2), None, float("nan"), b"x", {1: 2}, object], ids=str)
def test_a_position_that_cannot_be_recorded_is_refused(form: Form, record: Record, position: Any) -> None:
    said = refusal(form, record, lambda _after: [(position, 1)], OptionTypeError)
    assert said == (
        f"The cursor of triple.stream() gave the position {position!r} ({type(position).__name__}), which cannot be "
        f"recorded. Give a text or a number, or a list or dict of such."
    )


@pytest.mark.parametrize("position", [0, -1.5, "", "ü", [1, "a"], {"page": 3, "row": None}, True], ids=str)
def test_a_position_is_what_json_keeps(form: Form, world: World, position: Any) -> None:
    asked: list[Any] = []
    step = doubling(world, form)

    def source(after: Any) -> Iterator[tuple[Any, int]]:
        asked.append(after)
        yield from [(position, 1), ("end", 2)][after is not None :]

    @form.flow(durable=True)
    async def streams() -> list[int]:
        return await read(form, step.stream(Cursor(source), limit=1))

    assert world.survives(form, streams, at="step 2") == [2, 4]
    assert asked == [None, position]
    assert type(asked[1]) is type(position)


def test_a_position_that_comes_again_is_refused(form: Form, record: Record) -> None:
    assert refusal(form, record, lambda _after: [(1, 1), (2, 2), (1, 3)], OptionError) == (
        "The cursor of triple.stream() gave the position 1 again. Each stands for one item, and read(after) is to give "
        "only those that lie behind *after*."
    )
    assert len(record.task_runs()) == 2


def test_a_source_that_does_not_heed_where_it_is_to_read_on_is_told_so(form: Form, world: World) -> None:
    step = doubling(world, form)

    @form.flow(durable=True)
    async def streams() -> list[int]:
        return await read(form, step.stream(Cursor(lambda _after: [(1, 1), (2, 2), (3, 3)]), limit=1))

    run_id = world.crashes(form, streams, at="step 3")

    with pytest.raises(OptionError, match="gave the position 1 again"):
        world.resumes(form, run_id)


@pytest.mark.parametrize(
    ("numbers", "told"), [([1, 3, 4], "the position 3"), ([1], "its end")], ids=["another", "nothing"]
)
def test_a_source_that_has_lost_what_is_to_be_run_again_is_told_so(
    form: Form, world: World, numbers: list[int], told: str
) -> None:
    late, source = Late(world, form), Numbered(4)

    @form.flow(durable=True)
    async def streams() -> list[int]:
        return await read(form, late.step.stream(source.cursor(), limit=2, ordered=False), late.others(3))

    run_id = world.crashes(form, streams, at="step 2")
    source.numbers = numbers

    with pytest.raises(NonDeterministicFlow) as caught:
        world.resumes(form, run_id)
    assert str(caught.value).startswith(
        "The cursor of step.stream() went another way than the one recorded. Recorded, and not asked for now: the "
        f"position 2. Asked for now, and not recorded: {told}."
    )


def test_another_item_at_a_recorded_position_is_told(form: Form, world: World) -> None:
    items = [1, 2]

    @form.task()
    async def fails(x: int) -> None:
        items[:] = [5, 6]
        raise LookupError(x)

    @form.flow(durable=True, retries=1)
    async def streams() -> None:
        await read(form, fails.stream(Cursor(lambda after: [*enumerate(items)][after or 0 :]), limit=1))

    with world.runtime(), pytest.raises(NonDeterministicFlow, match=r"fails\(1\).*fails\(5\)"):
        form.run(streams)


# -- how it is used -------------------------------------------------------------------------------------------------


def test_an_async_cursor_in_a_sync_flow_is_refused(record: Record) -> None:
    assert refusal(Form("sync"), record, Numbered(3).read_async, StreamUseError) == (
        "This stream of triple cannot be iterated here: its source is async, and this code is not; make it async, and "
        "write `async with` and `async for`."
    )


def add(x: Any, y: Any) -> Any:
    return x, y


def test_another_source_beside_a_cursor_is_refused(form: Form) -> None:
    async def body() -> None:
        await read(form, task(add).stream([1, 2], Numbered(2).cursor()))

    with pytest.raises(StreamUseError) as caught:
        in_flow(form, body)
    assert str(caught.value) == (
        "This stream of add cannot be iterated here: x is another source beside the cursor y, and no position tells "
        "how far that is read; have the cursor give both as one item, or say unmapped(...) where every call is to get "
        "it."
    )


def test_what_every_call_gets_may_stand_beside_a_cursor(form: Form) -> None:
    async def body() -> Any:
        return await read(form, task(add).stream(unmapped([1, 2]), Numbered(2).cursor()))

    assert in_flow(form, body, durable=True) == [([1, 2], 1), ([1, 2], 2)]


async def test_two_streams_at_once_that_nothing_tells_apart_are_refused() -> None:
    source = Numbered(3)

    async def body() -> None:
        async with triple.stream(source.cursor()), triple.stream(source.cursor()):
            pass

    with pytest.raises(StreamUseError) as caught:
        await Form("async").flow(durable=True)(body)()
    assert str(caught.value) == (
        "This stream of triple cannot be iterated here: another one over Cursor(Numbered.read) is being read; tell "
        "them apart: Cursor(read, name='...')."
    )


def test_a_map_does_not_read_a_cursor(form: Form) -> None:
    async def body() -> None:
        triple.map(Numbered(3).cursor())

    with pytest.raises(MappingMissingIterable, match=r"x=Cursor\(Numbered\.read\)"):
        in_flow(form, body)


# -- outside of durable flows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("durability", ["batched", "off"])
def test_other_flows_read_from_the_start(form: Form, durability: str) -> None:
    source = Numbered(3)

    async def body() -> list[int]:
        return await read(form, triple.stream(source.cursor()))

    assert in_flow(form, body, durability=durability) == [3, 6, 9]
    assert source.seen() == ([None], [1, 2, 3])


def test_a_runtime_reads_from_the_start() -> None:
    source = Numbered(3)

    with Runtime():
        assert list(triple.stream(source.cursor())) == [3, 6, 9]
    assert source.seen() == ([None], [1, 2, 3])


def test_outside_of_durable_flows_nothing_is_recorded_of_a_position(form: Form) -> None:
    async def body() -> list[int]:
        return await read(form, triple.stream(Cursor(lambda _after: [(object, 1), (object, 2)])))

    assert in_flow(form, body) == [3, 6]
