"""Corners where one thing meets another: what users do that nobody plans for, each named for what they would see."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from headrace import flow, task
from headrace._model.records import FlowRun
from headrace.errors import FlowRunTimeoutError, RunNameError, TaskRunTimeoutError
from headrace.testing import virtual_time
from tests.spec.forms import Form, Record

Lines = Callable[[], list[str]]


@dataclass(frozen=True)
class Frozen(Exception):
    """An exception that cannot be assigned to."""

    code: int


def test_an_exception_that_cannot_be_assigned_to_comes_back_as_itself(form: Form) -> None:
    raised = Frozen(3)

    @form.task(retries=1)
    async def refuse() -> None:
        raise raised

    with pytest.raises(Frozen) as caught:
        form.run(refuse)

    assert caught.value is raised


def test_no_frame_of_ours_is_in_a_traceback_of_ctrl_c() -> None:
    @flow
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        interrupted()

    assert [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)][-1] == "interrupted"
    assert not [frame for frame in traceback.extract_tb(caught.value.__traceback__) if "src/headrace" in frame.filename]


def test_a_coroutine_closed_in_another_context_ends_its_run_quietly(record: Record) -> None:
    @flow
    async def waits() -> None:
        await asyncio.sleep(60)

    async def main() -> None:
        coroutine = waits()
        contextvars.copy_context().run(coroutine.send, None)
        coroutine.close()

    asyncio.run(main())
    asyncio.run(record.store.flow_runs())

    @flow
    def after() -> None: ...

    after()
    assert [run.state.name for run in record.flow_runs()] == ["Crashed", "Completed"]


class Closed(Mapping[str, int]):
    """A mapping that can no longer be looked into, as a closed shelf."""

    def __getitem__(self, key: str) -> int:
        raise ValueError("it is closed")

    def __iter__(self) -> Iterator[str]:
        raise ValueError("it is closed")

    def __len__(self) -> int:
        raise ValueError("it is closed")

    def __repr__(self) -> str:
        return "<closed>"


def test_a_parameter_that_cannot_be_looked_into_is_recorded_as_its_repr(form: Form, record: Record) -> None:
    @form.flow()
    async def takes(x: Any) -> None: ...

    form.run(takes, Closed())

    assert record.flow_run().parameters == {"x": "<closed>"}


def test_a_parameter_made_of_fields_is_recorded_by_its_fields(form: Form, record: Record) -> None:
    @dataclass
    class Job:
        path: Path
        sizes: list[int]

    @form.flow()
    async def takes(job: Any) -> None: ...

    form.run(takes, Job(Path("a/b"), list(range(1_000))))

    job = record.flow_run().parameters["job"]
    assert job["path"] == "a/b"
    assert job["sizes"][-1] == "… (cut: 1,000 items)"


def test_self_is_no_parameter_of_a_bound_hook_either(record: Record) -> None:
    class Loader:
        @flow
        def go(self, k: int) -> int:
            return k

    seen: list[Any] = []
    bound = Loader().go

    @bound.on_running
    def look(_flow: object, run: FlowRun, _state: object) -> None:
        seen.append(run.parameters)

    assert bound(4) == 4
    assert seen == [{"k": 4}]


def test_a_template_that_fails_is_a_sentence_without_a_frame_of_ours(form: Form) -> None:
    @form.flow(flow_run_name="{nobody}")
    async def named(x: int) -> None: ...

    with pytest.raises(RunNameError, match="It can use the parameters x") as caught:
        form.run(named, 1)

    shown = "".join(traceback.format_exception(caught.value))
    assert "_engine" not in shown
    assert "direct cause" not in shown


@pytest.mark.parametrize("wanted", ["", "   "])
def test_an_empty_run_name_is_none(form: Form, record: Record, wanted: str) -> None:
    @form.flow(flow_run_name="{x}")
    async def named(x: str) -> None: ...

    form.run(named, wanted)

    assert record.flow_run().name.count("-") == 1


def test_a_long_run_name_is_cut(form: Form, record: Record) -> None:
    @form.flow(flow_run_name="{x}")
    async def named(x: str) -> None: ...

    form.run(named, "n" * 100_000)

    assert len(record.flow_run().name) < 300


def test_two_failures_side_by_side_are_each_shown_once(record: Record, said: Lines) -> None:
    @task
    async def fails(x: int) -> None:
        raise ValueError(x)

    @flow
    async def both() -> None:
        results = await asyncio.gather(fails(1), fails(2), return_exceptions=True)
        assert isinstance(results[0], ValueError)
        raise results[0]

    with pytest.raises(ValueError, match="1"):
        asyncio.run(both())

    assert len([line for line in said() if line.endswith("Failed with an exception")]) == 2


def test_only_the_run_whose_time_was_up_is_timed_out(record: Record) -> None:
    @task(timeout_seconds=1)
    async def slow() -> None:
        await asyncio.sleep(60)

    @flow(timeout_seconds=3600)
    async def patient() -> None:
        await slow()

    with virtual_time(), pytest.raises(TaskRunTimeoutError):
        asyncio.run(patient())

    assert record.flow_run().state.name == "Failed"
    assert [run.state.name for run in record.task_runs()] == ["TimedOut"]


def test_an_async_body_that_blocks_past_its_time_has_timed_out(record: Record) -> None:
    @flow(timeout_seconds=0.001)
    async def blocks() -> str:
        time.sleep(0.005)  # noqa: ASYNC251 - the mistake this is about
        return "late"

    with pytest.raises(FlowRunTimeoutError):
        asyncio.run(blocks())


def test_a_parameter_may_be_called_self() -> None:
    @task
    def named(self: int) -> int:
        return self

    assert named(self=1) == 1


def test_a_script_named_like_a_standard_module_meets_a_sentence(tmp_path: Path) -> None:
    script = tmp_path / "nt.py"
    script.write_text("from headrace import flow\n@flow\ndef f(): pass\nf()\n", encoding="utf-8")

    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, check=False)

    assert "Headrace was starting" in done.stderr
