"""The harness: a runtime of a test's own that leaves nothing behind, and what it shows of what was recorded."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from pathlib import Path

import pytest

import headrace.testing
import headrace.testing.utilities
from headrace import _runtime, flow, get_run_logger, task
from headrace._model.records import FlowRun
from headrace.testing import Harness, headrace_test_harness


@task
def add(a: int, b: int) -> int:
    get_run_logger().info("adding %d and %d", a, b)
    return a + b


@flow
def inner() -> int:
    return add(3, 4)


@flow
def outer() -> int:
    get_run_logger().warning("outer speaks")
    return add(1, 2) + inner()


def test_it_shows_what_was_recorded_in_the_order_of_the_calls() -> None:
    with headrace_test_harness() as harness:
        outer()
        inner()

        first, second, third = harness.flow_runs()
        assert [run.flow_name for run in (first, second, third)] == ["outer", "inner", "inner"]
        assert second.parent_id == first.id
        assert third.parent_id is None
        assert [run.name for run in harness.task_runs(first)] == ["add-001"]
        assert [run.flow_run_id for run in harness.task_runs()] == [first.id, second.id, third.id]
        assert harness.flow_runs("Failed") == []


def test_it_shows_the_lines_of_a_flow_run_and_of_one_task_run() -> None:
    with headrace_test_harness() as harness:
        outer()

        (run, _) = harness.flow_runs()
        assert [line.message for line in harness.logs(run)] == ["outer speaks", "adding 1 and 2"]
        assert [line.message for line in harness.logs(harness.task_runs(run.id)[0])] == ["adding 1 and 2"]


def test_it_draws_the_runs_as_a_tree() -> None:
    with headrace_test_harness(counting=True) as harness:
        outer()
        add(5, 6)
        first, second = (run.name for run in harness.flow_runs())

    assert harness.tree().splitlines() == [
        "add Completed",
        f"outer '{first}' Completed",
        "├─ add-001 Completed",
        f"└─ inner '{second}' Completed",
        "   └─ add-001 Completed",
    ]


def test_runs_in_progress_are_seen_as_far_as_they_have_come() -> None:
    with headrace_test_harness() as harness:

        @flow
        def looking() -> tuple[str, list[str]]:
            add(1, 2)
            return harness.flow_runs()[0].state.name, [run.state.name for run in harness.task_runs()]

        assert looking() == ("Running", ["Completed"])


def test_a_record_may_be_read_after_the_block() -> None:
    with headrace_test_harness() as harness:
        inner()

    assert [run.state.name for run in harness.flow_runs()] == ["Completed"]


def test_blocks_nest_and_each_sees_its_own() -> None:
    with headrace_test_harness() as outside:
        inner()
        with headrace_test_harness() as inside:
            outer()
        inner()

    assert [run.flow_name for run in outside.flow_runs()] == ["inner", "inner"]
    assert [run.flow_name for run in inside.flow_runs()] == ["outer", "inner"]


def test_blocks_that_end_out_of_order_leave_the_open_one_in_force() -> None:
    before = _runtime.replace(None)
    _runtime.replace(before)
    environment = dict(os.environ)
    first, second = headrace_test_harness(), headrace_test_harness()
    one, two = first.__enter__(), second.__enter__()

    first.__exit__(None, None, None)
    inner()
    assert os.environ["HEADRACE_HOME"] == str(two.home)
    second.__exit__(None, None, None)

    assert dict(os.environ) == environment
    assert (len(one.flow_runs()), len(two.flow_runs())) == (0, 1)
    assert _runtime.replace(before) is before


def test_runs_of_other_threads_are_recorded_too() -> None:
    with headrace_test_harness() as harness:
        threads = [threading.Thread(target=outer) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert len(harness.flow_runs("Completed")) == 8


async def test_it_works_inside_a_running_loop() -> None:
    @flow
    async def asynchronous() -> str:
        await asyncio.sleep(0)
        return "value"

    with headrace_test_harness() as harness:
        assert await asynchronous() == "value"
        assert [run.flow_name for run in harness.flow_runs()] == ["asynchronous"]


def test_it_decorates_sync_and_async_tests() -> None:
    homes: list[str] = []

    @headrace_test_harness()
    def synchronous() -> None:
        homes.append(os.environ["HEADRACE_HOME"])

    @headrace_test_harness()
    async def asynchronous() -> None:
        await asyncio.sleep(0)
        homes.append(os.environ["HEADRACE_HOME"])

    synchronous()
    asyncio.run(asynchronous())

    assert len({os.environ["HEADRACE_HOME"], *homes}) == 3


def test_home_and_database_are_set_for_the_block_and_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_HOME", "kept")
    monkeypatch.delenv("HEADRACE_DATABASE_URL", raising=False)

    with headrace_test_harness() as harness:
        home = Path(os.environ["HEADRACE_HOME"])
        assert (home, home.is_dir()) == (harness.home, True)
        assert os.environ["HEADRACE_DATABASE_URL"] == "memory:"

    assert not home.exists()
    assert os.environ["HEADRACE_HOME"] == "kept"
    assert "HEADRACE_DATABASE_URL" not in os.environ


def test_a_block_that_fails_is_left_like_any_other() -> None:
    outside = _runtime.current()
    with pytest.raises(KeyboardInterrupt), headrace_test_harness():
        raise KeyboardInterrupt

    assert _runtime.current() is outside


def test_caplog_sees_the_lines_of_runs(caplog: pytest.LogCaptureFixture) -> None:
    with headrace_test_harness():
        outer()

    assert "adding 1 and 2" in caplog.text
    assert "Finished in state Completed()" in caplog.text


def test_a_level_that_caplog_has_set_stays(caplog: pytest.LogCaptureFixture) -> None:
    with headrace_test_harness():
        outer()
    caplog.clear()
    with caplog.at_level(logging.ERROR, "headrace"), headrace_test_harness():
        outer()
    assert caplog.text == ""


def test_a_level_of_the_environment_counts_for_the_block_only(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with headrace_test_harness():
        pass
    with monkeypatch.context() as patch, headrace_test_harness():
        patch.setenv("HEADRACE_LOG_LEVEL", "OFF")
        with headrace_test_harness():
            outer()
        assert caplog.text == ""
        outer()

    assert "outer speaks" in caplog.text


def test_counting_ids_are_the_same_in_every_run() -> None:
    seen: list[list[tuple[str, str]]] = []
    for _ in range(2):
        with headrace_test_harness(counting=True) as harness:
            outer()
            flows, tasks = harness.flow_runs(), harness.task_runs()
            seen.append([(run.id, run.name) for run in flows] + [(run.id, run.name) for run in tasks])

    assert seen[0] == seen[1]
    assert [run_id for run_id, _ in seen[0]] == [
        "00000001-0000-4000-8000-000000000000",
        "00000002-0000-4000-8000-000000000000",
        "00000001-0000-4000-8000-000000000001",
        "00000002-0000-4000-8000-000000000001",
    ]


def test_ids_count_within_the_block_only() -> None:
    with headrace_test_harness() as harness:
        for _ in range(2):
            with headrace.testing.counting_ids():
                inner()
            harness_counted(harness)
        inner()
        drawn = harness.flow_runs()[-1].id

    assert not drawn.startswith("0000000")


def harness_counted(harness: Harness) -> None:
    """Check the counted run, and forget it: the next one bears the same id."""
    runs: list[FlowRun] = harness.flow_runs()
    assert [run.id for run in runs] == ["00000001-0000-4000-8000-000000000000"]


def test_it_stands_where_people_look_for_it() -> None:
    assert headrace.testing.utilities.headrace_test_harness is headrace.testing.headrace_test_harness
    with pytest.raises(AttributeError, match="no attribute 'prefect_test_harness'; it has CrashFound, Harness"):
        _ = headrace.testing.prefect_test_harness
