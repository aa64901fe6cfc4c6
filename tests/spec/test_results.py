"""Kept results: where the value of a run lies, in which form, and how it is had again by who was not there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import orjson
import pytest

import headrace
from headrace import aio, flow, runs, task
from headrace._runtime import Runtime
from headrace.cache_policies import INPUTS
from headrace.errors import (
    CorruptResult,
    MissingResult,
    ResultNotFound,
    RunningLoopError,
    RunNotFound,
    SerializationError,
    UntrustedResult,
)
from headrace.testing import headrace_test_harness
from tests.chaos.processes import database
from tests.spec.forms import Form, call
from tests.spec.keeping import NUMBER, Counted, runtime_at


@attrs.define
class Point:
    """A value that JSON does not know."""

    x: int
    y: tuple[int, ...] = ()


LARGE = {"rows": ["x" * 100] * 1_000}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def runtime(home: Path) -> Iterator[Runtime]:
    with runtime_at(home) as made:
        yield made


def files(home: Path) -> list[str]:
    """List the files in which results lie, as paths within the storage."""
    folder = home / "results"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.usefixtures("runtime")
class TestAKeptResult:
    @pytest.mark.parametrize("value", [{"a": [1, 2.5, None]}, "text", b"bytes", None, Point(1, (2,)), {1, 2}, LARGE])
    def test_is_given_by_the_state_of_a_run_read_later(self, form: Form, value: Any, home: Path) -> None:
        @form.task(persist_result=True)
        async def step() -> Any:
            return value

        async def body() -> Any:
            return await call(step)

        form.in_flow(body, persist_result=True)

        with runtime_at(home):
            (run,) = runs.flow_runs()
            (task_run,) = runs.task_runs(run)
            assert (run.state.result(), task_run.state.result()) == (value, value)
            assert type(run.state.result()) is type(value)

    def test_lies_in_the_database_where_it_is_small_and_beside_it_where_it_is_large(
        self, form: Form, home: Path
    ) -> None:
        small = Counted(form, {"a": 1}, cache_policy=INPUTS)
        large = Counted(form, LARGE, cache_key_fn=lambda _context, _parameters: "large")

        small(1)
        assert files(home) == []
        large(1)
        assert len(files(home)) == 1
        assert large(2) == LARGE
        assert len(large.calls) == 1

    def test_of_a_run_outside_of_flows_is_kept_too(self, form: Form, home: Path) -> None:
        kept = Counted(form, 5, persist_result=True)

        state = kept(1, return_state=True)

        with runtime_at(home):
            (run,) = runs.task_runs(state.task_run_id or "")
            assert run.state.result() == 5


@pytest.mark.usefixtures("runtime")
class TestAResultThatIsNotThere:
    def test_says_that_it_was_not_kept(self, form: Form) -> None:
        async def body() -> int:
            return 1

        form.in_flow(body)

        (run,) = runs.flow_runs()
        with pytest.raises(MissingResult, match=r"was not kept with its record: persist_result=True was not given"):
            run.state.result()

    def test_says_that_it_was_cleared(self, form: Form, runtime: Runtime) -> None:
        run = kept_run(form, 1)

        headrace.run(runtime.store.results.forget([found(runtime, run)]))

        with pytest.raises(MissingResult, match="was cleared from the cache, or never got there"):
            run.state.result()

    def test_says_that_another_run_replaced_it(self, form: Form) -> None:
        counted = Counted(form, NUMBER, cache_key_fn=lambda _context, _parameters: "k", refresh_cache=True)

        async def body() -> None:
            await call(counted.task, 1)

        first, second = (form.in_flow(body), form.in_flow(body))
        assert first is second is None

        newer, older = (runs.task_runs(run)[0] for run in runs.flow_runs())
        assert newer.state.result() == 2
        with pytest.raises(MissingResult, match=f"was replaced: run {newer.id} computed it anew"):
            older.state.result()

    def test_says_that_its_file_is_gone(self, form: Form, home: Path) -> None:
        run = kept_run(form, LARGE)
        for path in (home / "results").rglob("*.*"):
            path.unlink(missing_ok=True)
        for path in (home / "results").rglob("*"):
            if path.is_file():
                path.unlink()

        with pytest.raises(ResultNotFound, match="It was deleted or moved"):
            run.state.result()

    def test_says_that_its_file_was_damaged(self, form: Form, home: Path) -> None:
        run = kept_run(form, LARGE)
        (path,) = [path for path in (home / "results").rglob("*") if path.is_file()]
        whole = path.read_bytes()

        path.write_bytes(whole[:-1])
        with pytest.raises(CorruptResult, match="it is shorter than what was stored"):
            run.state.result()
        path.write_bytes(whole + b" ")
        with pytest.raises(CorruptResult, match="it is longer than what was stored"):
            run.state.result()
        path.write_bytes(whole[:-2] + b"!!")
        with pytest.raises(CorruptResult, match="its bytes are not those that were stored"):
            run.state.result()


def kept_run(form: Form, value: Any) -> Any:
    """Run a flow whose result is kept, and read it."""

    async def body() -> Any:
        return value

    form.in_flow(body, persist_result=True)
    return runs.flow_runs()[0]


def found(runtime: Runtime, run: Any) -> Any:
    """Give what the store holds of *run*'s result."""
    result = runtime.store.results.look(run.result_key)
    assert result is not None
    return result


# -- damage costs a computation, never a wrong value ----------------------------------------------------------


@pytest.mark.parametrize("damage", ["gone", "cut", "changed", "foreign"])
def test_a_cached_result_that_was_damaged_is_computed_anew_and_mended(
    form: Form, home: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    large = Counted(form, lambda x: {**LARGE, "x": x}, cache_policy=INPUTS)
    with runtime_at(home):
        large(1)
        (path,) = [path for path in (home / "results").rglob("*") if path.is_file()]
        whole = path.read_bytes()
        if damage == "gone":
            path.unlink()
        else:
            path.write_bytes({"cut": whole[:100], "changed": b"{" + whole[1:-1] + b" ", "foreign": b"hello"}[damage])

        assert large(1) == {**LARGE, "x": 1}
        assert large(1) == {**LARGE, "x": 1}
        assert len(large.calls) == 2
        assert "Computes its result anew: " in caplog.text


def test_a_cached_result_in_a_form_that_nobody_knows_is_computed_anew(form: Form, runtime: Runtime) -> None:
    counted = Counted(form, 1, cache_key_fn=lambda _context, _parameters: "k", cache_result_in_memory=False)
    counted(1)
    runtime.office.close()
    with runtime_at(Path(runtime.settings.home)):
        with database(Path(runtime.settings.home) / "headrace.db") as connection:
            connection.execute("UPDATE result SET codec = 'martian'")

        assert counted(1) == 1
        assert len(counted.calls) == 2


@pytest.mark.usefixtures("runtime")
def test_what_cannot_be_stored_is_given_all_the_same_and_said(form: Form, caplog: pytest.LogCaptureFixture) -> None:
    import threading

    counted = Counted(form, lambda _: threading.Lock(), cache_policy=INPUTS)

    assert isinstance(counted(1), type(threading.Lock()))
    assert isinstance(counted(1), type(threading.Lock()))
    assert len(counted.calls) == 2
    assert caplog.text.count("Its result is not kept: ") == 2


@pytest.mark.usefixtures("runtime")
def test_a_state_that_a_task_returns_is_not_kept(form: Form) -> None:
    from headrace.states import Completed

    counted = Counted(form, lambda _: Completed(data=1, message="well"), cache_policy=INPUTS)

    assert [counted(1), counted(1)] == [1, 1]
    assert len(counted.calls) == 2


@pytest.mark.usefixtures("runtime")
def test_what_is_not_recorded_leaves_no_file(form: Form, home: Path) -> None:
    large = Counted(form, LARGE, cache_policy=INPUTS)
    small = Counted(form, 1, cache_policy=INPUTS)

    async def body() -> None:
        for counted in (large, small):
            await call(counted.task, 1)
            await call(counted.task, 1)

    form.in_flow(body, durability="off")

    assert (len(large.calls), len(small.calls)) == (2, 1)
    assert files(home) == []


# -- where and how --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("runtime")
class TestOptions:
    def test_name_a_folder_in_which_even_small_results_lie(self, form: Form, tmp_path: Path) -> None:
        counted = Counted(form, {"a": 1}, cache_policy=INPUTS, result_storage=tmp_path / "mine")

        assert [counted(1), counted(1)] == [{"a": 1}] * 2
        assert len(counted.calls) == 1
        assert len([path for path in (tmp_path / "mine").rglob("*") if path.is_file()]) == 1

    def test_of_a_flow_hold_for_its_tasks(self, form: Form, tmp_path: Path) -> None:
        plain = Counted(form, {"a": 1})

        async def body() -> int:
            await call(plain.task, 1)
            await call(plain.task, 1)
            return len(plain.calls)

        assert form.in_flow(body, result_storage=str(tmp_path / "mine"), result_serializer="pickle") == 1
        written = [path.read_bytes() for path in (tmp_path / "mine").rglob("*") if path.is_file()]
        assert len(written) == 2
        assert all(data.find(b"\x80\x05") >= 0 for data in written)

    def test_give_the_file_a_name_that_people_can_read(self, form: Form, tmp_path: Path) -> None:
        @form.task(
            result_storage=tmp_path, result_storage_key="{flow_run.flow_name}/{task_run.task_name}-{parameters[x]}.json"
        )
        async def report(x: int) -> dict[str, int]:
            return {"x": x}

        async def body() -> None:
            await call(report, 3)

        form.in_flow(body, name="daily")

        assert orjson.loads((tmp_path / "daily" / "report-3.json").read_bytes()) == {"x": 3}

    def test_name_what_is_not_there_and_cost_the_keeping_only(
        self, form: Form, caplog: pytest.LogCaptureFixture
    ) -> None:
        @form.task(result_storage_key="{parameters[nobody]}")
        async def step(x: int) -> int:
            return x

        assert form.run(step, 1) == 1
        assert "Its result is not kept: result_storage_key '{parameters[nobody]}' of task 'step' failed" in caplog.text

    def test_name_a_serializer(self, form: Form, tmp_path: Path) -> None:
        @form.task(result_storage=tmp_path, result_storage_key="x", result_serializer="compressed/json")
        async def step() -> list[int]:
            return [1] * 10_000

        form.run(step)

        assert (tmp_path / "x").stat().st_size < 1_000

    def test_name_a_serializer_of_ones_own(self, form: Form, home: Path) -> None:
        class Reversed:
            name = "reversed"
            safe = True

            def dumps(self, value: Any) -> bytes:
                return str(value).encode()[::-1]

            def loads(self, data: bytes) -> Any:
                return int(data[::-1])

        counted = Counted(form, 123, cache_policy=INPUTS, result_serializer=Reversed(), cache_result_in_memory=False)

        assert [counted(1), counted(1)] == [123, 123]
        assert len(counted.calls) == 1
        assert home

    def test_ask_for_json_of_what_is_none(self, form: Form, caplog: pytest.LogCaptureFixture) -> None:
        counted = Counted(form, {1, 2}, cache_policy=INPUTS, result_serializer="json")

        assert counted(1) == {1, 2}
        assert "Its result is not kept: " in caplog.text

    def test_name_a_serializer_that_there_is_not(self, form: Form, caplog: pytest.LogCaptureFixture) -> None:
        counted = Counted(form, 1, cache_policy=INPUTS, result_serializer="jsn")

        assert counted(1) == 1
        assert "jsn" in caplog.text


def test_a_key_storage_holds_keys_in_place_of_the_database(form: Form, tmp_path: Path) -> None:
    counted = Counted(form, {"a": 1}, cache_policy=INPUTS.configure(key_storage=tmp_path / "keys"))

    for name in ("one", "two"):
        with runtime_at(tmp_path / name):
            assert counted(1) == {"a": 1}
    assert len(counted.calls) == 1
    assert len([path for path in (tmp_path / "keys").rglob("*") if path.is_file()]) == 1


@pytest.mark.usefixtures("runtime")
def test_a_key_storage_that_there_is_not_costs_the_caching_only(form: Form, caplog: pytest.LogCaptureFixture) -> None:
    counted = Counted(form, 1, cache_policy=INPUTS.configure(key_storage="nosuch://there"))

    assert [counted(1), counted(1)] == [1, 1]
    assert len(counted.calls) == 2
    assert "No cache key could be made" in caplog.text


def test_a_pickle_is_not_loaded_from_a_storage_that_is_not_trusted(form: Form, tmp_path: Path) -> None:
    counted = Counted(form, {1, 2}, cache_policy=INPUTS.configure(key_storage=tmp_path / "keys"))

    with runtime_at(tmp_path / "one", trust_results=False):
        counted(1)
    with runtime_at(tmp_path / "two", trust_results=False):
        assert counted(1) == {1, 2}
        assert len(counted.calls) == 2
    with runtime_at(tmp_path / "three", trust_results=True):
        assert counted(1) == {1, 2}
        assert len(counted.calls) == 2


def test_a_large_pickle_in_a_folder_that_is_not_trusted_says_so(form: Form, tmp_path: Path) -> None:
    with runtime_at(tmp_path, trust_results=False):
        run = kept_run(form, {f"{number:0100d}" for number in range(1_000)})
        with pytest.raises(UntrustedResult, match="mark the storage as trusted"):
            run.state.result()


# -- from elsewhere -------------------------------------------------------------------------------------------

WRITES = """
from headrace import flow, task
from headrace.cache_policies import INPUTS

@task(cache_policy=INPUTS)
def square(x):
    print("computing", x)
    return {"square": x * x}

@flow(persist_result=True)
def main():
    return [square(2), square(3), square(2)]

if __name__ == "__main__":
    print(main())
"""


def test_another_process_finds_what_this_one_computed(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(WRITES)

    def run(seed: str) -> str:
        environment = {**os.environ, "HEADRACE_HOME": str(tmp_path), "PYTHONHASHSEED": seed}
        return subprocess.run(
            [sys.executable, str(program)], env=environment, capture_output=True, text=True, check=True
        ).stdout

    value = [{"square": 4}, {"square": 9}, {"square": 4}]
    assert run("1") == f"computing 2\ncomputing 3\n{value}\n"
    assert run("2") == f"{value}\n"
    with runtime_at(tmp_path):
        assert [one.state.result() for one in runs.flow_runs()] == [value, value]


async def test_async_code_reads_the_record_by_await(tmp_path: Path) -> None:
    with runtime_at(tmp_path):

        @flow(persist_result=True)
        async def main() -> int:
            return 1

        await main()

        (run,) = await aio.flow_runs()
        assert (await aio.flow_run(run.id[:8])).state.result() == 1
        assert await aio.task_runs(run) == []
        with pytest.raises(RunningLoopError, match=r"await headrace\.aio\.flow_runs"):
            runs.flow_runs()
        with pytest.raises(RunNotFound):
            await aio.flow_run("ffffffff-")


def test_the_harness_gives_kept_results() -> None:
    @task(persist_result=True)
    def step() -> int:
        return 3

    with headrace_test_harness() as harness:
        step()
        assert [run.state.result() for run in harness.task_runs()] == [3]


def test_an_error_of_a_codec_is_the_runs_to_say(form: Form, tmp_path: Path) -> None:
    class Fickle:
        name = "fickle"
        safe = True

        def dumps(self, value: Any) -> bytes:
            return str(value).encode()

        def loads(self, _data: bytes) -> Any:
            raise ZeroDivisionError

    with runtime_at(tmp_path):

        async def body() -> int:
            return 1

        form.in_flow(body, persist_result=True, result_serializer=Fickle())
        (run,) = runs.flow_runs()
        with pytest.raises(SerializationError, match="fickle"):
            run.state.result()
