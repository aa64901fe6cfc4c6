"""How many frames of ours stand between the line that calls and the body that is called: a debugger steps them all."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import headrace
from headrace import flow, task

OURS = str(Path(headrace.__file__).parent)
MOST = 4


def between() -> int:
    """Count the frames of ours between the caller and the next frame that is not ours."""
    frame: FrameType | None = sys._getframe(2)
    count = 0
    while frame is not None and frame.f_code.co_filename.startswith(OURS):
        count += 1
        frame = frame.f_back
    return count


def body() -> int:
    return between()


async def body_async() -> int:
    return between()


async def body_waiting() -> int:
    await asyncio.sleep(0)
    return between()


@pytest.mark.parametrize("decorate", [task, flow])
def test_a_sync_body_is_four_frames_away(decorate: Callable[[Any], Any]) -> None:
    assert decorate(body)() == MOST


@pytest.mark.parametrize("decorate", [task, flow])
@pytest.mark.parametrize("fn", [body_async, body_waiting])
def test_an_async_body_is_at_most_as_far_away(decorate: Callable[[Any], Any], fn: Any) -> None:
    async def caller() -> int:
        found: int = await decorate(fn)()
        return found

    assert asyncio.run(caller()) <= MOST


def test_a_method_is_no_further_away() -> None:
    class Worker:
        @task
        def work(self) -> int:
            return between()

    assert Worker().work() <= MOST


@pytest.mark.parametrize(
    ("options", "more"),
    [
        ({"name": "n", "task_run_name": "r", "on_completion": [print]}, 0),
        ({"tags": ["t"]}, 1),  # there may be a limit of that name
        ({"retries": 1}, 1),
        ({"log_prints": True}, 1),
        ({"on_running": [print]}, 1),
        ({"retries": 1, "log_prints": True}, 2),
    ],
)
def test_an_option_that_needs_a_step_of_its_own_is_one_frame_more(options: dict[str, Any], more: int) -> None:
    """What wraps each attempt has to stand around the body; what happens before or after it costs no frame."""
    assert task(**options)(body)() == MOST + more


@pytest.mark.parametrize(("fn", "most"), [(body_async, 3), (body_waiting, 4)])
def test_a_submitted_async_body_is_no_further_from_the_loop(fn: Any, most: int) -> None:
    submitted: Any = task(fn)

    @flow
    async def submits() -> int:
        found: int = await submitted.submit()
        return found

    assert asyncio.run(submits()) <= most


def test_a_submitted_sync_body_is_seven_frames_from_its_threads_start() -> None:
    @flow
    def submits() -> int:
        return task(body).submit().result()

    assert submits() <= MOST + 3


def test_arguments_and_keywords_of_the_call_change_nothing() -> None:
    @task
    def take(x: int, *, y: int) -> int:
        return between() + 0 * (x + y)

    assert take(1, y=2) <= MOST
    assert take(1, y=2, wait_for=[]) <= MOST + 1


def test_a_generators_body_is_near_too() -> None:
    @task
    def items() -> Iterator[int]:
        yield between()

    @task
    async def items_async() -> AsyncIterator[int]:
        yield between()

    async def first() -> int:
        return await anext(aiter(items_async()))

    assert next(items()) <= 2 * MOST
    assert asyncio.run(first()) <= MOST
