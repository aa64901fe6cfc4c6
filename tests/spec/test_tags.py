"""Tags: of tasks, of blocks of code, and which runs end up with which."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from headrace import tags, task
from headrace.errors import OptionTypeError
from tests.spec.forms import Form, Record, call


def test_a_run_has_the_tags_of_its_task_and_of_the_blocks_around_it(form: Form, record: Record) -> None:
    @form.task(tags=["own", "both"])
    async def fetch() -> None: ...

    @form.flow()
    async def pipeline() -> None:
        await call(fetch)
        with tags("both", "outer"), tags("inner") as all_of_them:
            await call(fetch)
        await call(fetch)
        assert all_of_them == {"both", "outer", "inner"}

    form.run(pipeline)

    assert [run.tags for run in record.task_runs()] == [
        ("both", "own"),
        ("both", "inner", "outer", "own"),
        ("both", "own"),
    ]


def test_tags_around_a_flow_are_those_of_all_runs_below_it(form: Form, record: Record) -> None:
    @form.task()
    async def leaf() -> None: ...

    @form.flow()
    async def inner() -> None:
        await call(leaf)

    @form.flow()
    async def outer() -> None:
        with tags("b"):
            await call(inner)

    with tags("a"):
        form.run(outer)

    assert [(run.flow_name, run.tags) for run in record.flow_runs()] == [("outer", ("a",)), ("inner", ("a", "b"))]
    assert record.task_run().tags == ("a", "b")


def test_a_block_that_raises_takes_its_tags_away(form: Form, record: Record) -> None:
    @form.task()
    async def fetch() -> None: ...

    with pytest.raises(ZeroDivisionError), tags("a"):
        _ = 1 / 0
    form.run(fetch)

    assert record.task_run().tags == ()


def test_another_thread_has_tags_of_its_own(record: Record) -> None:
    @task
    def fetch() -> None: ...

    with tags("mine"):
        thread = threading.Thread(target=fetch)
        thread.start()
        thread.join()

    assert record.task_run().tags == ()


def test_hooks_see_the_tags_of_the_run(form: Form, record: Record) -> None:
    seen: list[tuple[str, ...]] = []

    def hook(_task: Any, run: Any, _state: Any) -> None:
        seen.append(run.tags)

    @form.task(tags={"b", "a"}, on_completion=[hook])
    async def fetch() -> None: ...

    form.run(fetch)

    assert seen == [("a", "b")]
    assert fetch.tags == {"a", "b"}


def test_a_tag_that_is_no_string_is_refused() -> None:
    wrong: Any = 7
    with pytest.raises(OptionTypeError, match=r"A tag must be a string, not 7 \(int\)"), tags("a", wrong):
        pass


@pytest.mark.parametrize("wrong", ["abc", 5, [1]])
def test_tags_of_a_task_are_a_list_of_strings(wrong: Any) -> None:
    with pytest.raises(OptionTypeError, match="tags"):
        task(tags=wrong)(len)
