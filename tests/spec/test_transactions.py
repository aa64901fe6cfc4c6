"""Transactions: what tasks in a block do counts together or not at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import headrace
from headrace import flow, task, transaction
from headrace.cache_policies import INPUTS
from headrace.errors import OptionTypeError, RunningLoopError, TransactionError
from headrace.transactions import CommitMode, IsolationLevel, Transaction, TransactionState, get_transaction
from tests.spec.forms import Form, Record, call
from tests.spec.keeping import Counted

Said = Callable[[], list[str]]


class Steps:
    """Tasks of one form that tell what they and their hooks do."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.story: list[str] = []
        self.transactions: list[Any] = []

    def task(self, name: str, *, fails: bool = False, hooks: bool = True, **options: Any) -> Any:
        """Make a task that does, commits and undoes *name*."""

        async def body(x: Any = None) -> Any:
            self.story.append(name)
            if fails:
                raise ValueError(name)
            return x

        made = self.form.task(name=name, **options)(body)
        if hooks:
            made.on_commit(self.hook(f"commit {name}"))
            made.on_rollback(self.hook(f"undo {name}"))
        return made

    def hook(self, name: str, fails: bool = False) -> Callable[[Any], Any]:
        """Make a hook of the same form."""

        async def told(work: Any) -> None:
            self.story.append(name)
            self.transactions.append(work)
            if fails:
                raise OSError(name)

        hook = self.form.fn(told)
        hook.__name__ = name.replace(" ", "_")
        return hook


@pytest.fixture
def steps(form: Form, record: Record) -> Steps:
    assert record
    return Steps(form)


class Block:
    """A transaction entered as code of the form does it."""

    def __init__(self, form: Form, *args: Any, **kwargs: Any) -> None:
        self.form = form
        self.made = transaction(*args, **kwargs)

    async def __aenter__(self) -> Transaction:
        return await self.made.__aenter__() if self.form.is_async else self.made.__enter__()

    async def __aexit__(self, *error: Any) -> None:
        if self.form.is_async:
            await self.made.__aexit__(*error)
        else:
            self.made.__exit__(*error)


def test_a_block_that_ends_well_commits_in_order(steps: Steps, form: Form) -> None:
    first, second = steps.task("first"), steps.task("second")

    async def body() -> str:
        async with Block(form) as block:
            await call(first)
            await call(second)
            assert block.is_active()
        return block.state.value

    assert form.in_flow(body) == "COMMITTED"
    assert steps.story == ["first", "second", "commit first", "commit second"]


def test_a_block_that_raises_undoes_what_was_done_the_last_first(steps: Steps, form: Form, record: Record) -> None:
    first, second, third = steps.task("first"), steps.task("second"), steps.task("third", fails=True)

    async def body() -> None:
        async with Block(form):
            await call(first)
            await call(second)
            await call(third)

    with pytest.raises(ValueError, match="third"):
        form.in_flow(body)

    assert steps.story == ["first", "second", "third", "undo second", "undo first"]
    assert {run.task_name: record.path(run)[-1] for run in record.task_runs()} == {
        "first": "RolledBack",
        "second": "RolledBack",
        "third": "Failed",
    }
    assert all(run.state.message for run in record.task_runs())


def test_a_task_without_hooks_is_recorded_as_rolled_back_too(steps: Steps, form: Form, record: Record) -> None:
    plain, failing = steps.task("plain", hooks=False), steps.task("failing", fails=True, hooks=False)

    async def body() -> None:
        async with Block(form):
            await call(plain)
            await call(failing)

    with pytest.raises(ValueError, match="failing"):
        form.in_flow(body)

    assert [record.path(run) for run in record.task_runs()] == [
        ["Running", "Completed", "RolledBack"],
        ["Running", "Failed"],
    ]


def test_a_task_outside_of_blocks_commits_at_its_end(steps: Steps, form: Form) -> None:
    form.run(steps.task("alone"))

    assert steps.story == ["alone", "commit alone"]


def test_a_failure_that_is_caught_in_the_block_undoes_nothing_else(steps: Steps, form: Form) -> None:
    first, failing = steps.task("first"), steps.task("failing", fails=True)

    async def body() -> None:
        async with Block(form):
            await call(first)
            with pytest.raises(ValueError, match="failing"):
                await call(failing)

    form.in_flow(body)

    assert steps.story == ["first", "failing", "commit first"]


def test_a_hook_that_fails_to_undo_stops_no_other(steps: Steps, form: Form, said: Said) -> None:
    first, second = steps.task("first"), steps.task("second", hooks=False)
    second.on_rollback(steps.hook("bad", fails=True))

    async def body() -> None:
        async with Block(form):
            await call(first)
            await call(second)
            raise KeyError("why")

    with pytest.raises(KeyError, match="why"):
        form.in_flow(body)

    assert steps.story == ["first", "second", "bad", "undo first"]
    assert "ERROR | Task run 'second-002' - Rollback hook 'bad' failed; the others are called" in said()
    assert "INFO | Task run 'first-001' - Running rollback hook 'undo_first'" in said()


def test_a_commit_hook_that_fails_rolls_all_back(steps: Steps, form: Form, said: Said) -> None:
    first, second = steps.task("first", cache_policy=INPUTS), steps.task("second")
    second.on_commit(steps.hook("bad", fails=True))

    async def body() -> str:
        async with Block(form) as block:
            await call(first, 1)
            await call(second)
        return block.state.value

    assert form.in_flow(body) == "ROLLED_BACK"
    assert steps.story == ["first", "second", "commit first", "commit second", "bad", "undo second", "undo first"]
    assert any("The transaction could not be committed, and is rolled back" in line for line in said())

    form.run(first, 1)
    assert steps.story[-2:] == ["first", "commit first"]  # its result was not stored


def test_a_result_that_was_found_has_nothing_to_commit_or_undo(steps: Steps, form: Form, record: Record) -> None:
    first = steps.task("first", cache_policy=INPUTS)

    async def body(fails: bool) -> None:
        async with Block(form):
            await call(first, 1)
            if fails:
                raise KeyError("why")

    main = form.flow()(body)
    form.run(main, False)
    form.run(main, False)
    with pytest.raises(KeyError):
        form.run(main, True)

    assert steps.story == ["first", "commit first"]
    assert [record.path(run)[-1] for run in record.task_runs()] == ["Completed", "Cached", "Cached"]


def test_a_task_whose_own_commit_fails_ends_as_rolled_back(form: Form, record: Record, said: Said) -> None:
    story: list[str] = []

    def bad(_work: Any) -> None:
        raise OSError("no")

    @form.task(on_commit=[bad], on_rollback=[lambda _work: story.append("undone")])  # pyright: ignore[reportUnknownLambdaType]
    async def alone(x: int) -> int:
        return x

    state = form.run(alone, 3, return_state=True)

    assert (state.name, state.result(), story) == ("RolledBack", 3, ["undone"])
    assert record.path(record.task_run()) == ["Running", "RolledBack"]
    assert "INFO | Task run 'alone' - Finished in state RolledBack" in "\n".join(said())


def test_results_are_stored_when_the_outermost_block_commits(steps: Steps, form: Form) -> None:
    counted = Counted(form, 1, cache_policy=INPUTS)

    async def fails() -> None:
        async with Block(form):
            async with Block(form):
                await call(counted.task, 1)
                await call(counted.task, 1)  # known within
            raise KeyError("why")

    async def works() -> None:
        async with Block(form), Block(form):
            await call(counted.task, 1)

    with pytest.raises(KeyError):
        form.in_flow(fails)
    assert len(counted.calls) == 1
    form.in_flow(works)
    assert len(counted.calls) == 2
    form.in_flow(works)
    assert len(counted.calls) == 2
    assert steps


def test_an_inner_block_waits_for_the_outer_one_unless_it_is_eager(steps: Steps, form: Form) -> None:
    lazy, eager = steps.task("lazy"), steps.task("eager")

    async def body() -> None:
        async with Block(form):
            async with Block(form):
                await call(lazy)
            steps.story.append("after lazy")
            async with Block(form, commit_mode=CommitMode.EAGER):
                await call(eager)
            steps.story.append("after eager")

    form.in_flow(body)

    assert steps.story == ["lazy", "after lazy", "eager", "commit eager", "after eager", "commit lazy"]


def test_a_block_that_is_off_commits_only_when_told(steps: Steps, form: Form) -> None:
    first, second = steps.task("first"), steps.task("second")

    async def body() -> tuple[bool, bool]:
        async with Block(form, commit_mode=CommitMode.OFF) as told:
            await call(first)
            done = told.commit()
        async with Block(form, commit_mode=CommitMode.OFF) as untold:
            await call(second)
        return done, untold.is_rolled_back()

    assert form.in_flow(body) == (True, True)
    assert steps.story == ["first", "commit first", "second", "undo second"]


def test_a_block_may_be_rolled_back_by_hand(steps: Steps, form: Form) -> None:
    first = steps.task("first")

    async def body() -> str:
        async with Block(form) as block:
            await call(first)
            block.rollback()
        return block.state.value

    assert form.in_flow(body) == "ROLLED_BACK"
    assert steps.story == ["first", "undo first"]


def test_hooks_see_what_was_set_in_the_blocks_around_as_copies(steps: Steps, form: Form) -> None:
    first = steps.task("first")

    async def body() -> None:
        async with Block(form) as outer:
            outer.set("rows", [1])
            outer.get("rows").append(2)
            async with Block(form) as block:
                block.set("path", "/there")
                await call(first)

    form.in_flow(body)

    (work,) = steps.transactions
    assert (work.get("rows"), work.get("path"), work.get("nothing", 3)) == ([1], "/there", 3)
    with pytest.raises(TransactionError, match="Nothing was set as 'nothing'"):
        work.get("nothing")


def test_a_task_knows_its_transaction(form: Form, record: Record) -> None:
    seen: list[Any] = []

    @form.task(on_commit=[seen.append])
    async def inside() -> None:
        seen.append(get_transaction())

    form.run(inside)

    assert seen[0] is seen[1]
    assert seen[0].state is TransactionState.COMMITTED
    assert get_transaction() is None
    assert record


# -- keys --------------------------------------------------------------------------------------------------------


def test_a_block_with_a_key_keeps_its_value_and_says_later_that_it_is_there(form: Form, record: Record) -> None:
    async def body(value: Any) -> Any:
        async with Block(form, key="report") as block:
            if block.is_committed():
                return "known", block.read()
            block.stage(value)
        return "new", block.read()

    main = form.flow()(body)

    assert [form.run(main, x) for x in ({"a": (1, 2)}, 5)] == [("new", {"a": (1, 2)}), ("known", {"a": (1, 2)})]
    assert record


def test_a_block_with_a_key_can_be_written_over(form: Form, record: Record) -> None:
    async def body(value: Any) -> Any:
        async with Block(form, key="report", overwrite=True) as block:
            block.stage(value)
        async with Block(form, key="report") as block:
            return block.read()

    main = form.flow()(body)

    assert [form.run(main, x) for x in (1, 2)] == [1, 2]
    assert record


def test_tasks_in_a_block_that_was_known_commit_by_themselves(steps: Steps, form: Form) -> None:
    first = steps.task("first")

    async def body() -> None:
        async with Block(form, key="k", isolation_level=IsolationLevel.SERIALIZABLE) as block:
            if not block.is_committed():
                block.stage(1)
            await call(first)

    form.in_flow(body)
    form.in_flow(body)
    form.in_flow(body)

    assert steps.story == ["first", "commit first"] * 3


def test_a_value_staged_in_a_block_that_fails_is_not_kept(form: Form, record: Record) -> None:
    undone: list[Any] = []

    async def body() -> None:
        async with Block(form, key="k") as block:
            block.stage(1, on_rollback_hooks=[lambda work: undone.append(work.key)])
            raise KeyError("why")

    async def later() -> bool:
        async with Block(form, key="k") as block:
            return block.is_committed()

    with pytest.raises(KeyError):
        form.in_flow(body)
    assert (undone, form.in_flow(later)) == (["k"], False)
    assert record


@pytest.mark.usefixtures("record")
def test_what_cannot_be_is_refused() -> None:
    made: Any = transaction
    with pytest.raises(OptionTypeError, match="key of a transaction is a text that is not empty, not 3"):
        made(3)
    with pytest.raises(OptionTypeError, match="A commit_mode is one of EAGER, LAZY, OFF, not 'soon'"):
        made(commit_mode="soon")
    with transaction() as block:
        pass
    with pytest.raises(TransactionError, match="The transaction was committed, and takes nothing more"):
        block.stage(1)
    with pytest.raises(TransactionError, match="was used before"), block:
        pass
    with transaction() as empty, pytest.raises(TransactionError, match="has no value"):
        empty.read()


@pytest.mark.usefixtures("record")
def test_a_block_with_a_key_does_not_block_a_loop() -> None:
    @flow
    async def main() -> None:
        with transaction("k"):
            pass

    with pytest.raises(RunningLoopError, match="async with transaction"):
        headrace.run(main())


@pytest.mark.usefixtures("record")
def test_a_plain_with_works_in_async_code_where_there_is_no_key() -> None:
    story: list[str] = []

    @task(on_rollback=[lambda _: story.append("undone")])
    async def step() -> None:
        story.append("done")

    @flow
    async def main() -> None:
        with transaction():
            await step()
            raise KeyError("why")

    with pytest.raises(KeyError):
        headrace.run(main())
    assert story == ["done", "undone"]


def test_a_cancelled_block_is_rolled_back(record: Record) -> None:
    import asyncio

    story: list[str] = []
    begun = asyncio.Event()

    @task(on_rollback=[lambda _: story.append("undone")])
    async def step() -> None:
        story.append("done")

    @flow
    async def main() -> None:
        async with transaction():
            await step()
            begun.set()
            await asyncio.get_running_loop().create_future()

    async def cancelled() -> None:
        running = asyncio.create_task(main())
        await begun.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(cancelled())

    assert story == ["done", "undone"]
    assert [record.path(run)[-1] for run in record.task_runs()] == ["RolledBack"]
