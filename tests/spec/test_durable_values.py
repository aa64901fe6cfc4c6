"""What steps of durable flows return and raise comes back as it was; what cannot be kept is said."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs
import pydantic
import pytest

import headrace
import headrace.runs
from headrace.durable import RecordedError
from headrace.errors import SerializationError
from headrace.states import Completed, State
from tests.spec.durable_crashes import STORES, World, doubling
from tests.spec.forms import Form, call


@pytest.fixture(params=STORES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(str(request.param), tmp_path)


@dataclass
class Point:
    x: int
    y: Any = None


@attrs.frozen
class Frozen:
    x: int


class Model(pydantic.BaseModel):
    x: int
    when: date


class Colour(Enum):
    RED = "red"


VALUES: list[Any] = [
    None,
    0,
    -1.5,
    float("inf"),
    1 << 80,
    "",
    "grüße \ud800",
    b"\x00\xff",
    (1, 2),
    {1: "a", (2,): "b"},
    {"set": {1, 2}},
    [True, None, {"a": [1.0]}],
    Decimal("1.10"),
    datetime(2026, 3, 1, tzinfo=UTC),
    UUID(int=7),
    Colour.RED,
    Point(1, Point(2)),
    Frozen(3),
    Model(x=1, when=date(2026, 1, 1)),
    OrderedDict(b=1, a=2),
    "x" * 3_000_000,
    b"y" * 3_000_000,
    list(range(300_000)),
    ValueError("a value, not a failure"),
]


# -- results --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", VALUES, ids=[f"{type(value).__name__} {place}" for place, value in enumerate(VALUES)])
def test_results_come_back_as_they_were(world: World, value: Any) -> None:
    form = Form("sync")

    @form.task()
    async def gives() -> Any:
        world.visit("gives")
        return value

    last = doubling(world, form)

    @form.flow(durable=True)
    async def works() -> Any:
        got = await call(gives)
        await call(last, 1)
        return type(got), repr(got) == repr(value), got == value or isinstance(value, Exception)

    run_id = world.crashes(form, works, at="step 1")
    world.seen()

    assert world.resumes(form, run_id) == (type(value), True, True)
    assert world.seen() == ["step 1"]


LARGE = 5_000_000


def gives_much(world: World, form: Form) -> Any:
    """Give a flow whose first task returns more than is kept in the database."""

    @form.task()
    async def gives() -> bytes:
        world.visit("gives")
        return os.urandom(LARGE)

    last = doubling(world, form)

    @form.flow(durable=True)
    async def works() -> int:
        size = len(await call(gives))
        await call(last, 1)
        return size

    return works


def large_files(home: Path) -> list[Path]:
    """List the files below *home* that hold that much."""
    return [file for file in home.rglob("*") if file.is_file() and file.stat().st_size >= LARGE]


def test_a_large_result_lies_beside_the_database(form: Form, tmp_path: Path) -> None:
    world = World("sqlite", tmp_path)
    works = gives_much(world, form)

    run_id = world.crashes(form, works, at="step 1")
    files = large_files(tmp_path)
    world.seen()

    assert world.resumes(form, run_id) == LARGE
    assert world.seen() == ["step 1"]
    assert len(files) == 1


def test_a_step_whose_large_result_is_gone_runs_again(form: Form, tmp_path: Path) -> None:
    world = World("sqlite", tmp_path)
    works = gives_much(world, form)

    run_id = world.crashes(form, works, at="step 1")
    for file in large_files(tmp_path):
        file.unlink()
    world.seen()

    assert world.resumes(form, run_id) == LARGE
    assert world.seen() == ["gives", "step 1"]


def test_a_result_changed_by_the_flow_comes_back_unchanged(form: Form, world: World) -> None:
    @form.task()
    async def gives() -> list[int]:
        return [1]

    last = doubling(world, form)
    seen: list[list[int]] = []

    @form.flow(durable=True)
    async def works() -> list[int]:
        got: list[int] = await call(gives)
        seen.append(list(got))
        got.append(2)
        await call(last, 1)
        return got

    assert world.survives(form, works, at="step 1") == [1, 2]
    assert seen == [[1], [1]]


def test_a_result_that_cannot_be_kept_fails_its_task_and_says_what_to_do(form: Form, world: World) -> None:
    @form.task()
    async def opens() -> Any:
        return threading.Lock()

    @form.flow(durable=True)
    async def works() -> None:
        await call(opens)

    with world.runtime(), pytest.raises(SerializationError) as caught:
        form.run(works)
    assert str(caught.value).startswith("The result of Task run 'opens")
    assert "cannot be recorded" in str(caught.value)
    assert str(caught.value).endswith("persist_result=False: then it is run again when the flow is resumed.")
    assert [run.state.name for run in world.task_runs()] == ["Failed"]


def test_a_task_that_keeps_nothing_is_run_again(form: Form, world: World) -> None:
    @form.task(persist_result=False)
    async def opens() -> Any:
        world.visit("opens")
        return threading.Lock()

    last = doubling(world, form)

    @form.flow(durable=True)
    async def works() -> str:
        lock = await call(opens)
        await call(last, 1)
        return type(lock).__name__

    run_id = world.crashes(form, works, at="step 1")
    world.seen()

    assert world.resumes(form, run_id) == "lock"
    assert world.seen() == ["opens", "step 1"]


def test_what_a_flow_returns_need_not_be_kept_by_it(form: Form, world: World) -> None:
    """Nobody asks for it again: the run is over, and its caller has it."""

    @form.flow(durable=True, persist_result=False)
    async def works() -> Any:
        return threading.Lock()

    with world.runtime():
        assert type(form.run(works)).__name__ == "lock"


# -- exceptions -----------------------------------------------------------------------------------------------


def failing(world: World, form: Form, error: BaseException) -> Any:
    """Give a flow that catches what its task raises, and goes on."""

    @form.task()
    async def fails() -> None:
        world.visit("fails")
        raise error

    last = doubling(world, form)

    @form.flow(durable=True)
    async def goes_on() -> list[Any]:
        try:
            await call(fails)
        except Exception as caught:
            await call(last, 1)
            return [type(caught).__name__, str(caught), caught]
        raise AssertionError

    return goes_on


@pytest.mark.parametrize(
    "make",
    [
        lambda: ValueError("no", 7),
        lambda: KeyError("k"),
        lambda: OSError(2, "gone", "file"),
        lambda: ExceptionGroup("two", [ValueError(1), OSError(2)]),
    ],
    ids=["plain", "quoted", "system", "group"],
)
def test_exceptions_come_back_as_they_were(form: Form, world: World, make: Callable[[], Exception]) -> None:
    error = make()
    flow = failing(world, form, error)
    run_id = world.crashes(form, flow, at="step 1")
    world.seen()

    name, text, caught = world.resumes(form, run_id)
    assert (name, text, caught.args[0]) == (type(error).__name__, str(error), error.args[0])
    assert world.seen() == ["step 1"]


def test_an_exception_of_a_class_that_no_module_has_comes_back_by_cloudpickle(form: Form, world: World) -> None:
    class Local(Exception):
        pass

    flow = failing(world, form, Local("here only"))
    run_id = world.crashes(form, flow, at="step 1")
    world.seen()

    assert world.resumes(form, run_id)[:2] == ["Local", "here only"]
    assert world.seen() == ["step 1"]


def test_an_exception_that_holds_what_cannot_be_pickled_keeps_its_name_and_message(form: Form, world: World) -> None:
    error = ValueError("holds", threading.Lock())
    flow = failing(world, form, error)
    run_id = world.crashes(form, flow, at="step 1")
    world.seen()

    name, text, caught = world.resumes(form, run_id)
    assert name == "RecordedError"
    assert isinstance(caught, RecordedError)
    assert text.startswith("ValueError: ('holds', <unlocked _thread.lock")
    assert world.seen() == ["step 1"]


def test_a_recorded_exception_keeps_its_notes(form: Form, world: World) -> None:
    error = ValueError("no")
    error.add_note("look into the file")
    flow = failing(world, form, error)
    run_id = world.crashes(form, flow, at="step 1")

    caught = world.resumes(form, run_id)[2]
    assert caught.__notes__ == ["look into the file"]


# -- states ---------------------------------------------------------------------------------------------------


def test_a_state_that_a_task_returned_comes_back(form: Form, world: World) -> None:
    @form.task()
    async def judges() -> State[Any]:
        world.visit("judges")
        return Completed(name="Skipped", message="nothing to do", data=3)

    last = doubling(world, form)

    @form.flow(durable=True)
    async def works() -> list[Any]:
        state = await call(judges, return_state=True)
        await call(last, 1)
        return [state.name, state.message, state.result(), state.type.value]

    run_id = world.crashes(form, works, at="step 1")
    world.seen()

    assert world.resumes(form, run_id) == ["Skipped", "nothing to do", 3, "COMPLETED"]
    assert world.seen() == ["step 1"]


def test_the_state_of_a_recorded_step_is_that_of_its_run(form: Form, world: World) -> None:
    step = doubling(world, form)
    seen: list[State[Any]] = []

    @form.flow(durable=True)
    async def works() -> None:
        seen.append(await call(step, 1, return_state=True))
        await call(step, 2)

    run_id = world.crashes(form, works, at="step 2")
    world.resumes(form, run_id)

    before, after = seen
    assert (before.type, before.name, before.result()) == (after.type, after.name, after.result())
    assert (before.task_run_id, before.flow_run_id) == (after.task_run_id, after.flow_run_id)
    assert before.timestamp == after.timestamp
    assert headrace.runtime.flow_run.id is None


@pytest.mark.parametrize("first", [ValueError("no"), OSError("x" * 2_000)], ids=["small", "large"])
@pytest.mark.parametrize("then", ["fine", "fine" * 400], ids=["small", "large"])
def test_what_a_step_came_to_at_last_counts(form: Form, world: World, first: Exception, then: str) -> None:
    """What is small is part of its row, what is large and most exceptions lie apart: those of earlier attempts, too."""
    attempts: list[int] = []

    @form.task()
    async def comes() -> str:
        attempts.append(1)
        if len(attempts) == 1:
            raise first
        return then

    @form.flow(durable=True, retries=1)
    async def works() -> str:
        return str(await call(comes))

    with world.runtime():
        assert form.run(works) == then
        (run,) = headrace.runs.flow_runs()
        (step,) = headrace.runs.task_runs(run)

        assert (step.state.name, step.state.result()) == ("Completed", then)
