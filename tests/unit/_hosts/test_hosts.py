"""The hosts where they differ from each other: waits on a loop's thread, coroutines from sync code, signals."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import signal
import threading
from typing import Any

import pytest

import headrace
from headrace import flow, task
from headrace._hosts.signals import terminations
from headrace._runtime import thread_host

WORD: contextvars.ContextVar[str] = contextvars.ContextVar("word", default="none")


@task(retries=1, retry_delay_seconds=0.001)
def flaky(calls: list[int]) -> int:
    calls.append(1)
    if len(calls) == 1:
        raise ValueError
    return len(calls)


def test_a_sync_retry_delay_on_a_loops_thread_says_that_it_blocks(caplog: pytest.LogCaptureFixture) -> None:
    @flow
    async def pipeline() -> int:
        return flaky([])

    assert headrace.run(pipeline()) == 2
    assert "A retry delay of 0.001 s blocks the event loop on this thread" in caplog.text


def test_a_sync_retry_delay_elsewhere_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert flaky([]) == 2
    assert "blocks the event loop" not in caplog.text


async def context_word() -> str:
    await asyncio.sleep(0)
    return WORD.get()


@pytest.mark.parametrize("on_loop", [False, True])
def test_a_coroutine_answers_a_sync_life_in_the_callers_context(on_loop: bool) -> None:
    def ask() -> Any:
        life = thread_host.answer(context_word())
        try:
            life.send(None)
        except StopIteration as end:
            return end.value
        raise AssertionError("it suspended")

    async def ask_on_loop() -> Any:
        return ask()

    token = WORD.set("mine")
    try:
        assert (asyncio.run(ask_on_loop()) if on_loop else ask()) == "mine"
    finally:
        WORD.reset(token)


def test_sigterm_is_watched_only_while_a_run_lives() -> None:
    seen: list[Any] = []

    @flow
    def pipeline() -> None:
        seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    pipeline()

    assert before is signal.SIG_DFL
    assert seen == [terminations.arrived]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_handler_of_the_users_is_left_alone() -> None:
    def mine(_number: int, _frame: Any) -> None: ...

    seen: list[Any] = []

    @flow
    def pipeline() -> None:
        seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.signal(signal.SIGTERM, mine)
    try:
        pipeline()
        assert seen == [mine]
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_run_on_another_thread_touches_no_signal() -> None:
    seen: list[Any] = []

    @flow
    def pipeline() -> None:
        seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=pipeline)
    thread.start()
    thread.join()

    assert seen == [signal.SIG_DFL]


def test_a_body_with_a_timeout_runs_on_a_daemon_thread_named_for_its_run() -> None:
    @task(timeout_seconds=60, task_run_name="this run")
    def where() -> tuple[str, bool]:
        thread = threading.current_thread()
        return thread.name, thread.daemon

    assert where() == ("headrace this run", True)
    assert where.fn() == (threading.main_thread().name, False)


def test_a_sync_body_without_one_runs_in_its_callers_thread() -> None:
    @task
    def where() -> int:
        return threading.get_ident()

    assert where() == threading.get_ident()


def test_the_end_of_a_run_leaves_no_thread_but_the_back_office() -> None:
    @flow(timeout_seconds=60)
    def pipeline() -> None:
        logging.getLogger("headrace").debug("at work")

    pipeline()
    before = set(threading.enumerate())
    pipeline()

    for thread in set(threading.enumerate()) - before:
        thread.join(1)
        assert not thread.is_alive() or thread.name == "headrace back office"
