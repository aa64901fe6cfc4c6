"""Exceptions: the user's own object, with the user's frames, and what happens to odd ones."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import headrace
from headrace import flow, task
from tests.spec.forms import Form, Record, call

Lines = Callable[[], list[str]]
OURS = str(Path(headrace.__file__).parent)


def frames(error: BaseException) -> list[str]:
    """The functions of the traceback, outermost first; ours are marked."""
    found = traceback.extract_tb(error.__traceback__)
    return [f"ours:{frame.name}" if frame.filename.startswith(OURS) else frame.name for frame in found]


def test_the_object_raised_is_the_object_caught(form: Form, kind: str) -> None:
    error = ValueError("the one")
    error.add_note("a note")
    cause = KeyError("why")

    @form.decorate(kind, retries=1)
    async def fails() -> None:
        raise error from cause

    with pytest.raises(ValueError, match="the one") as caught:
        form.run(fails)

    assert caught.value is error
    assert error.__cause__ is cause
    assert error.__notes__ == ["a note"]


def test_the_context_of_an_exception_is_kept(form: Form, kind: str) -> None:
    @form.decorate(kind)
    async def fails() -> None:
        try:
            _ = 1 / 0
        except ZeroDivisionError:
            raise ValueError("second") from None

    with pytest.raises(ValueError, match="second") as caught:
        form.run(fails)

    assert isinstance(caught.value.__context__, ZeroDivisionError)
    assert caught.value.__suppress_context__


def test_a_traceback_holds_each_users_frame_once_and_few_of_ours() -> None:
    @task(retries=1)
    def leaf() -> None:
        raise ValueError("here")

    @flow
    def pipeline() -> None:
        leaf()

    with pytest.raises(ValueError, match="here") as caught:
        pipeline()
    seen = frames(caught.value)

    theirs = [name for name in seen if not name.startswith("ours:")]
    assert theirs == ["test_a_traceback_holds_each_users_frame_once_and_few_of_ours", "pipeline", "leaf"]
    assert len(seen) - len(theirs) <= 6


async def test_the_traceback_of_an_async_task_is_as_short() -> None:
    @task(retries=1)
    async def leaf() -> None:
        raise ValueError("here")

    @flow
    async def pipeline() -> None:
        await leaf()

    with pytest.raises(ValueError, match="here") as caught:
        await pipeline()
    seen = frames(caught.value)

    theirs = [name for name in seen if not name.startswith("ours:")]
    assert theirs == ["test_the_traceback_of_an_async_task_is_as_short", "pipeline", "leaf"]
    assert len(seen) - len(theirs) <= 2


def test_a_failure_is_shown_once_with_the_users_frames_first(caplog: pytest.LogCaptureFixture) -> None:
    @task
    def leaf() -> None:
        raise ValueError("here")

    @flow
    def pipeline() -> None:
        leaf()

    with pytest.raises(ValueError, match="here"):
        pipeline()

    shown = [record for record in caplog.records if record.exc_info]
    (record,) = shown
    assert record.exc_info is not None
    assert record.exc_info[2] is not None
    assert record.exc_info[2].tb_frame.f_code.co_name == "leaf"
    text = logging.Formatter().formatException(record.exc_info)
    assert text.splitlines()[1].startswith(f'  File "{__file__}"')


def test_a_failure_is_kept_with_its_run(form: Form, record: Record) -> None:
    @form.task(task_run_name="leaf")
    async def leaf() -> None:
        raise ValueError("here")

    with pytest.raises(ValueError, match="here"):
        form.run(leaf)

    (line,) = record.lines()
    assert (line.level, line.run_id) == (logging.ERROR, record.task_run().id)
    assert line.message.startswith("Failed with an exception\nTraceback (most recent call last):")
    assert line.message.endswith("ValueError: here")


def test_two_failures_are_both_shown(form: Form, said: Lines) -> None:
    @form.task(task_run_name="leaf")
    async def leaf(number: int) -> None:
        raise ValueError(number)

    @form.flow(flow_run_name="f")
    async def pipeline() -> None:
        for number in (1, 2):
            try:
                await call(leaf, number)
            except ValueError:
                continue
        raise LookupError

    with pytest.raises(LookupError):
        form.run(pipeline)

    assert [line for line in said() if "Failed with" in line] == [
        "ERROR | Task run 'leaf' - Failed with an exception",
        "ERROR | Task run 'leaf' - Failed with an exception",
        "ERROR | Flow run 'f' - Failed with an exception",
    ]


class Mute(Exception):
    def __str__(self) -> str:
        raise LookupError("no words")

    __repr__ = __str__


class Unpicklable(Exception):
    def __init__(self, first: str, second: str) -> None:
        super().__init__(first + second)
        self.hold: Any = lambda: None  # pyright: ignore[reportUnknownLambdaType]

    def __reduce__(self) -> Any:
        raise TypeError("cannot be pickled")


class Endless(Exception):
    def __str__(self) -> str:
        return "x" * 1_000_000


@pytest.mark.parametrize("error", [Mute(), Unpicklable("a", "b"), Endless(), ExceptionGroup("g", [ValueError()])])
def test_an_odd_exception_comes_out_as_itself_and_is_recorded(
    form: Form, kind: str, record: Record, error: Exception
) -> None:
    @form.decorate(kind, retries=1)
    async def fails() -> None:
        raise error

    async def caught() -> Exception | None:
        # Caught before it leaves the loop: asyncio.run itself cannot cope with an exception that has no words.
        try:
            await call(fails)
        except Exception as found:
            return found
        return None

    assert form.run(form.fn(caught)) is error
    (run,) = record.flow_runs() or record.task_runs()
    assert run.state.name == "Failed"
    assert run.state.message is not None
    assert len(run.state.message) < 10_000
    assert type(error).__name__ in run.state.message


def test_an_exception_without_words_is_named(form: Form) -> None:
    @form.flow()
    async def fails() -> None:
        raise Mute

    state = form.run(fails, return_state=True)

    assert state.message == "Flow run encountered an exception: Mute: <its __str__ raises LookupError>"
    assert "Mute" in repr(state)


def test_a_stop_iteration_of_a_sync_body_comes_out_as_itself(kind: str, record: Record) -> None:
    """`next()` on an empty iterator, once told as 'coroutine raised StopIteration'."""
    decorate: Any = task if kind == "task" else flow

    @decorate(retries=1)  # type: ignore[untyped-decorator]
    def takes_first() -> int:
        return next(iter(list[int]()))

    with pytest.raises(StopIteration):
        takes_first()

    (run,) = record.flow_runs() or record.task_runs()
    assert run.state.message is not None
    assert run.state.message.endswith("StopIteration")
    assert isinstance(takes_first(return_state=True).data, StopIteration)


def test_an_exception_handed_on_by_state_keeps_its_traceback(form: Form) -> None:
    @form.task()
    async def leaf() -> None:
        raise ValueError("here")

    @form.flow()
    async def pipeline() -> None:
        state = await call(leaf, return_state=True)
        state.result()

    with pytest.raises(ValueError, match="here") as caught:
        form.run(pipeline)

    assert frames(caught.value)[-1] == "leaf"


def test_a_coroutine_that_was_forgotten_is_named_for_its_function() -> None:
    @task
    async def forgotten() -> None: ...

    with pytest.warns(RuntimeWarning, match=r"forgotten' was never awaited"):
        forgotten()  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]
