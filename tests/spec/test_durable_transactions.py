"""Transactions of durable flows go on with their run: what is on record of them counts as if it had just been done."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from headrace import runtime, testing
from headrace.cache_policies import INPUTS
from headrace.testing.crashes import WHEN, crashed
from headrace.transactions import CommitMode, get_transaction
from tests.spec.durable_crashes import STORES, World, doubling, path, resume
from tests.spec.forms import Form, call
from tests.spec.test_transactions import Block


@pytest.fixture(params=STORES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    return World(str(request.param), tmp_path)


def doing(world: World, form: Form, name: str, *, fails: bool = False, **options: Any) -> Any:
    """Give a task that notes its name, and has hooks that do."""

    async def body(x: int = 0) -> int:
        world.visit(name)
        if fails:
            raise ValueError(name)
        return x

    def hook(what: str) -> Any:
        async def told(_transaction: Any) -> None:
            world.visit(f"{what} {name}")

        return form.fn(told)

    return form.task(name=name, on_commit=[hook("commit")], on_rollback=[hook("undo")], **options)(body)


# -- what had been done before the crash ------------------------------------------------------------------------------


def test_steps_before_a_crash_are_undone_the_last_first_where_the_block_fails(form: Form, world: World) -> None:
    a, b, c = doing(world, form, "a"), doing(world, form, "b"), doing(world, form, "c", fails=True)

    @form.flow(durable=True)
    async def works() -> None:
        async with Block(form):
            await call(a)
            await call(b)
            await call(c)

    run_id = world.crashes(form, works, at="c")
    assert world.seen() == ["a", "b", "c"]

    with pytest.raises(ValueError, match="c"):
        world.resumes(form, run_id)
    assert world.seen() == ["c", "undo b", "undo a"]
    assert [path(task) for task in world.task_runs()] == [
        ["Running", "Completed", "RolledBack"],
        ["Running", "Completed", "RolledBack"],
        ["Running", "Failed"],
    ]


def test_steps_before_a_crash_are_committed_where_the_block_ends_well(form: Form, world: World) -> None:
    a, b = doing(world, form, "a"), doing(world, form, "b")

    @form.flow(durable=True)
    async def works() -> list[int]:
        async with Block(form):
            return [await call(a, 1), await call(b, 2)]

    run_id = world.crashes(form, works, at="b")
    world.seen()

    assert world.resumes(form, run_id) == [1, 2]
    assert world.seen() == ["b", "commit a", "commit b"]
    assert [path(task) for task in world.task_runs()] == [["Running", "Completed"]] * 2


def test_a_step_that_failed_before_a_crash_undoes_the_others(form: Form, world: World) -> None:
    """A crash between the failure and the hooks: what is on record is enough."""
    a, b = doing(world, form, "a"), doing(world, form, "b", fails=True)

    @form.flow(durable=True)
    async def works() -> None:
        async with Block(form):
            await call(a)
            try:
                await call(b)
            finally:
                world.visit("failed")

    run_id = world.crashes(form, works, at="failed")
    world.seen()

    with pytest.raises(ValueError, match="b"):
        world.resumes(form, run_id)
    assert world.seen() == ["failed", "undo a"]


def test_what_a_task_had_called_before_a_crash_is_undone_with_it(form: Form, world: World) -> None:
    a = doing(world, form, "a")

    @form.task()
    async def outer() -> None:
        await call(a)
        world.visit("outer")
        raise ValueError("outer")

    @form.flow(durable=True)
    async def works() -> None:
        async with Block(form):
            await call(outer)

    run_id = world.crashes(form, works, at="outer")
    world.seen()

    with pytest.raises(ValueError, match="outer"):
        world.resumes(form, run_id)
    assert world.seen() == ["outer", "undo a"]


def test_submitted_steps_before_a_crash_are_undone(form: Form, world: World) -> None:
    a, b = doing(world, form, "a"), doing(world, form, "b", fails=True)

    @form.flow(durable=True)
    async def works() -> None:
        async with Block(form):
            futures = [a.submit(x) for x in range(2)]
            for future in futures:
                await form.got(future)
            await call(b)

    run_id = world.crashes(form, works, at="b")
    assert world.seen() == ["a", "a", "b"]

    with pytest.raises(ValueError, match="b"):
        world.resumes(form, run_id)
    assert world.seen() == ["b", "undo a", "undo a"]


def test_hooks_get_what_the_flow_sets_and_not_what_a_step_had_set_before_the_crash(form: Form, world: World) -> None:
    got: list[Any] = []

    @form.task()
    async def reserve() -> int:
        own = get_transaction()
        assert own is not None
        own.set("seat", 41)
        return 41

    def cancel(work: Any) -> None:
        got.append((work.get("customer"), work.get("reserved"), work.get("seat", None)))

    reserve.on_rollback(cancel)
    last = doubling(world, form, name="last")

    @form.flow(durable=True)
    async def works() -> None:
        async with Block(form) as block:
            block.set("customer", "Ada")
            block.set("reserved", await call(reserve))
            await call(last, 9)
            block.rollback()

    world.survives(form, works, at="last 9")

    assert got == [("Ada", 41, None)]


# -- what had been over before the crash ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [CommitMode.LAZY, CommitMode.EAGER])
def test_what_was_committed_before_a_crash_stays_so(form: Form, world: World, mode: CommitMode) -> None:
    a, last = doing(world, form, "a"), doing(world, form, "last", fails=True)

    @form.flow(durable=True)
    async def works() -> None:
        async with Block(form, commit_mode=mode):
            await call(a)
        await call(last)

    run_id = world.crashes(form, works, at="last")
    assert world.seen() == ["a", "commit a", "last"]

    with pytest.raises(ValueError, match="last"):
        world.resumes(form, run_id)
    assert world.seen() == ["last"]
    assert path(world.task_runs()[0]) == ["Running", "Completed"]


def test_what_was_committed_before_the_end_of_its_block_is_not_undone_after_a_crash(form: Form, world: World) -> None:
    a, b, c = doing(world, form, "a"), doing(world, form, "b"), doing(world, form, "c", fails=True)

    @form.flow(durable=True)
    async def works() -> None:
        async with Block(form) as block:
            await call(a)
            assert block.commit()
            await call(b)
            await call(c)

    run_id = world.crashes(form, works, at="c")
    assert world.seen() == ["a", "commit a", "b", "commit b", "c"]

    with pytest.raises(ValueError, match="c"):
        world.resumes(form, run_id)
    assert world.seen() == ["c"]


def test_what_was_undone_before_a_crash_is_not_undone_again(form: Form, world: World) -> None:
    a, b, last = doing(world, form, "a"), doing(world, form, "b", fails=True), doubling(world, form, name="last")

    @form.flow(durable=True)
    async def works() -> int:
        with contextlib.suppress(ValueError):
            async with Block(form):
                await call(a)
                await call(b)
        value: int = await call(last, 9)
        return value

    run_id = world.crashes(form, works, at="last 9")
    assert world.seen() == ["a", "b", "undo a", "last 9"]

    assert world.resumes(form, run_id) == 18
    assert world.seen() == ["last 9"]


def test_what_is_undone_after_a_crash_is_on_record_for_the_next(form: Form, world: World) -> None:
    """With the value that it had returned: the flow goes the same way again."""
    a, b, last = doing(world, form, "a"), doing(world, form, "b", fails=True), doubling(world, form, name="last")

    @form.flow(durable=True)
    async def works() -> int:
        value = 0
        with contextlib.suppress(ValueError):
            async with Block(form):
                value = await call(a, 7)
                await call(b)
        return value + int(await call(last, 9))

    run_id = world.crashes(form, works, at="b")
    world.crashes_again(form, run_id, at="last 9")
    assert world.seen() == ["a", "b", "b", "undo a", "last 9"]

    assert world.resumes(form, run_id) == 25
    assert world.seen() == ["last 9"]
    assert path(world.task_runs()[0]) == ["Running", "Completed", "RolledBack"]


def test_a_step_that_was_found_in_the_cache_takes_no_part_after_a_crash(form: Form, world: World) -> None:
    a, last = doing(world, form, "a", cache_policy=INPUTS), doubling(world, form, name="last")

    @form.flow(durable=True)
    async def works() -> None:
        await call(a)
        async with Block(form):
            await call(a)
            await call(last, 9)

    run_id = world.crashes(form, works, at="last 9")
    assert world.seen() == ["a", "commit a", "last 9"]

    world.resumes(form, run_id)
    assert world.seen() == ["last 9"]


# -- amid the hooks ---------------------------------------------------------------------------------------------------


def test_hooks_are_called_again_where_a_crash_came_amid_them(form: Form, world: World) -> None:
    a, b = doing(world, form, "a"), doing(world, form, "b")

    @form.flow(durable=True)
    async def works(good: bool) -> None:
        async with Block(form) as block:
            await call(a)
            await call(b)
            if not good:
                block.rollback()

    run_id = world.crashes(form, works, True, at="commit b")
    assert world.seen() == ["a", "b", "commit a", "commit b"]
    world.resumes(form, run_id)
    assert world.seen() == ["commit a", "commit b"]

    run_id = world.crashes(form, works, False, at="undo a")
    assert world.seen() == ["a", "b", "undo b", "undo a"]
    world.resumes(form, run_id)
    assert world.seen() in (["undo b", "undo a"], ["undo a"])  # that b was may have come to be recorded before


@pytest.mark.parametrize("good", [True, False])
def test_wherever_it_crashes_a_block_ends_one_way_and_before_the_next_step(form: Form, good: bool) -> None:
    """What counts is not undone, what is undone was not committed, and each hook is called, in order, at least once."""
    said: list[str] = []

    def step(name: str) -> Any:
        async def body() -> str:
            said.append(name)
            if name == "c" and not good:
                raise ValueError(name)
            return name

        def commit(_work: Any) -> None:
            said.append(f"commit {name}")

        def undo(_work: Any) -> None:
            said.append(f"undo {name}")

        return form.task(name=name, on_commit=[commit], on_rollback=[undo])(body)

    a, b, c, last = step("a"), step("b"), step("c"), step("last")

    @form.flow(durable=True)
    async def works() -> str:
        with contextlib.suppress(ValueError):
            async with Block(form):
                await call(a)
                await call(b)
                await call(c)
        value: str = await call(last)
        return value

    hooks = ["commit a", "commit b", "commit c"] if good else ["undo b", "undo a"]
    points = 0
    for at in range(1, 50):
        for when in WHEN:
            said.clear()
            store = crashed(works, lambda: form.run(works), ("returns", "last"), at, when)
            points += store.died
            end = said.index("last")
            called = [one for one in said[:end] if " " in one]
            assert list(dict.fromkeys(called)) == hooks, (at, when, said)
            assert set(said[end:]) == {"last", "commit last"}, (at, when, said)
    assert points > 8


# -- again ------------------------------------------------------------------------------------------------------------


def test_another_attempt_of_a_flow_does_again_what_was_undone(form: Form, world: World) -> None:
    a, before, last = doing(world, form, "a"), doubling(world, form), doubling(world, form, name="last")

    @form.flow(durable=True, retries=1)
    async def works() -> int:
        value: int = await call(before, 1)
        async with Block(form):
            await call(a)
            if runtime.flow_run.run_count == 1:
                raise ConnectionError
        return value + int(await call(last, 9))

    run_id = world.crashes(form, works, at="last 9")
    assert world.seen() == ["step 1", "a", "undo a", "a", "commit a", "last 9"]

    assert world.resumes(form, run_id) == 20
    assert world.seen() == ["last 9"]


def test_another_attempt_of_a_flow_keeps_what_was_committed(form: Form, world: World) -> None:
    a = doing(world, form, "a")

    @form.flow(durable=True, retries=1)
    async def works() -> None:
        async with Block(form):
            await call(a)
        if runtime.flow_run.run_count == 1:
            raise ConnectionError

    with world.runtime():
        form.run(works)

    assert world.seen() == ["a", "commit a"]


def test_going_through_a_history_calls_no_hooks(form: Form, world: World) -> None:
    a, b = doing(world, form, "a"), doing(world, form, "b")

    @form.flow(durable=True)
    async def works() -> None:
        async with Block(form):
            await call(a)
            await call(b)

    run_id = world.crashes(form, works, at="b")
    world.seen()

    with world.runtime():
        assert testing.replay(run_id, works).outcome == "goes on"
        assert world.seen() == []
        resume(form, run_id)
        world.seen()
        assert testing.replay(run_id, works).outcome == "same"
    assert world.seen() == []
