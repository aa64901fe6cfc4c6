"""ProcessPoolTaskRunner: bodies of submitted tasks run in worker processes, and mean what they mean in threads."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import headrace
from headrace import allow_failure, flow, quote, task, unmapped
from headrace._hosts import children
from headrace.errors import (
    NotPicklable,
    OptionError,
    OptionTypeError,
    ParameterBindError,
    SubmissionError,
    UpstreamTaskError,
)
from headrace.task_runners import ConcurrentTaskRunner, ProcessPoolTaskRunner
from headrace.testing import virtual_time
from tests.spec import bodies
from tests.spec.forms import Record
from tests.spec.processing import Ledger, alive, in_processes, in_processes_together, kept, none_kept, workers


@pytest.fixture(scope="module", autouse=True)
def some_workers() -> Iterator[None]:
    with kept():
        yield


# -- where things run --------------------------------------------------------------------------------------------------


def test_bodies_of_submitted_tasks_run_in_at_most_so_many_other_processes() -> None:
    found = in_processes(lambda: [future.result()[0] for future in [bodies.where.submit() for _ in range(8)]])

    assert os.getpid() not in found
    assert 1 <= len(set(found)) <= 2


@pytest.mark.parametrize("body", [bodies.where, bodies.where_later], ids=["sync", "async"])
def test_a_body_runs_on_the_main_thread_of_its_process(body: Any) -> None:
    pid, thread = in_processes(lambda: body.submit().result())

    assert pid != os.getpid()
    assert thread == "MainThread"


def test_workers_are_used_again() -> None:
    before = in_processes(lambda: bodies.where.submit().result())[0]
    after = in_processes(lambda: bodies.where.submit().result())[0]

    assert {before, after} <= {worker.pid for worker in workers()}


def test_what_a_flow_calls_directly_runs_in_its_own_process() -> None:
    assert in_processes(bodies.where)[0] == os.getpid()


def test_submitted_flows_run_in_the_flows_own_process() -> None:
    @flow
    def where() -> int:
        return os.getpid()

    assert in_processes(lambda: where.submit().result()) == os.getpid()


async def test_async_flows_await_what_runs_in_processes() -> None:
    @flow(task_runner=ProcessPoolTaskRunner(max_workers=2))
    async def pipeline() -> list[int]:
        return [await bodies.square.submit(3), *await bodies.square_later.map([1, 2])]

    assert await pipeline() == [9, 1, 4]


def test_maps_keep_their_order() -> None:
    assert in_processes(lambda: bodies.square.map(range(40)).result()) == [number**2 for number in range(40)]


def test_streams_go_through_processes() -> None:
    assert sorted(in_processes(lambda: list(bodies.square.stream(range(10), limit=4)))) == [n**2 for n in range(10)]


@pytest.mark.parametrize(
    ("body", "argument", "wanted"),
    [
        (bodies.Factory(3).times, 2, 6),
        (bodies.Factory.named, 2, "Factory 2"),
        (bodies.Factory.plain, 2, -2),
        (bodies.cube, 2, 8),
        (bodies.add_ten, 2, 12),
        (bodies.renamed, 2, 4),
        (bodies.of_plain.with_options(name="power"), 2, 32),
    ],
    ids=["method", "classmethod", "staticmethod", "partial", "instance", "with_options", "plain function"],
)
def test_a_task_of_any_form_runs_in_a_process(body: Any, argument: int, wanted: Any) -> None:
    more = (5,) if body.name == "power" else ()

    assert in_processes(lambda: body.submit(argument, *more).result()) == wanted


# -- arguments and results ---------------------------------------------------------------------------------------------


def test_futures_and_states_among_arguments_are_their_results() -> None:
    def act() -> Any:
        two = bodies.square.submit(2)
        state = bodies.square(3, return_state=True)
        return bodies.given.submit(two, [two, {"deep": state}], later=(two, 1)).result()

    assert in_processes(act) == ((4, [4, {"deep": 9}]), {"later": (4, 1)})


def test_annotated_arguments_mean_what_they_mean_elsewhere() -> None:
    def act() -> Any:
        failed = bodies.fail.submit("no")
        return bodies.given.submit(allow_failure(failed), quote([1, 2]), unmapped("x")).result()

    (error, quoted, plain), _ = in_processes(act)
    assert isinstance(error, ValueError)
    assert not error
    assert (str(error), quoted, plain) == ("no", [1, 2], "x")


def test_a_failed_upstream_keeps_the_body_from_running() -> None:
    def act() -> Any:
        return bodies.given.submit(bodies.fail.submit("no")).result()

    with pytest.raises(UpstreamTaskError, match="was not started"):
        in_processes(act)


def test_equal_objects_stay_one_object_on_the_way() -> None:
    def act() -> Any:
        one: list[int] = []
        return bodies.given.submit(one, one).result()

    (first, second), _ = in_processes(act)
    assert first is second


def test_arguments_are_those_of_the_moment_of_submission() -> None:
    def act() -> Any:
        numbers = [1, 2]
        future = bodies.total.submit(numbers)
        numbers.append(100)
        return future.result()

    assert in_processes(act) == 3


def test_arguments_are_pickled_once() -> None:
    Counted.times = 0

    assert in_processes(lambda: bodies.given.submit(Counted()).result()[0]) == ("counted",)
    assert Counted.times == 1


class Counted:
    """Counts how often it is pickled."""

    times = 0

    def __reduce__(self) -> tuple[Any, ...]:
        Counted.times += 1
        return str, ("counted",)


def test_arguments_and_results_of_a_hundred_megabytes_pass() -> None:
    large = 100_000_000

    assert in_processes(lambda: bodies.size.submit(bytes(large)).result()) == large
    assert in_processes(lambda: len(bodies.zeros.submit(large).result())) == large


def test_arguments_that_do_not_fit_are_said_as_ever() -> None:
    with pytest.raises(ParameterBindError, match="missing a required argument"):
        in_processes(lambda: bodies.total.submit().result())


# -- what cannot be handed over ----------------------------------------------------------------------------------------


def refused(act: Any) -> str:
    """Give the sentence with which *act* is refused in a flow, where nothing must have begun."""

    @flow(task_runner=ProcessPoolTaskRunner(max_workers=2))
    def pipeline() -> str:
        with pytest.raises(NotPicklable) as caught:
            act()
        return str(caught.value)

    before = workers()
    sentence = pipeline()
    assert workers() == before
    return sentence


def test_an_argument_that_cannot_be_pickled_is_named_at_submit(record: Record) -> None:
    lock = threading.Lock()

    sentence = refused(lambda: bodies.total.submit([1], extra=lock))

    assert sentence.startswith("Argument extra=<unlocked _thread.lock object")
    assert "of task 'total' cannot be handed to another process: TypeError: cannot pickle " in sentence
    assert sentence.endswith("or run the task in threads: task_runner=ThreadPoolTaskRunner().")
    assert record.task_runs() == []


def test_a_lambda_among_arguments_is_named() -> None:
    sentence = refused(lambda: bodies.given.submit(1, lambda: 2))

    assert sentence.startswith("Argument args=(1, <function")
    assert "it is a lambda, which other processes cannot find by name" in sentence


def test_a_task_that_other_processes_cannot_find_is_refused() -> None:
    @task
    def inner() -> None: ...

    assert "inner is defined inside a function, where other processes cannot find it" in refused(inner.submit)
    assert "it is a lambda" in refused(bodies.nameless.submit)


def test_a_task_of_an_interactive_session_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    session = types.ModuleType("__main__")
    exec("from headrace import task\n@task\ndef typed() -> int:\n    return 1\n", session.__dict__)
    monkeypatch.setitem(sys.modules, "__main__", session)

    assert "is defined in a session or a package's __main__" in refused(session.typed.submit)


def test_a_future_that_nobody_looks_for_is_refused() -> None:
    def act() -> Any:
        return bodies.given.submit(Box(bodies.wait_long.submit(os.devnull)))

    with pytest.raises(NotPicklable, match="a future is hidden in it"):
        in_processes_together(act)


class Box:
    """A class of a user's own, in which no future is looked for."""

    def __init__(self, held: Any) -> None:
        self.held = held


def test_a_map_is_refused_for_its_first_call(record: Record) -> None:
    assert refused(lambda: bodies.given.map([threading.Lock(), 1])).startswith("Argument args=(<unlocked")
    assert refused(lambda: bodies.total.map([[1]], extra=unmapped(threading.Lock()))).startswith("Argument extra=")
    assert record.task_runs() == []


def test_a_map_is_refused_for_an_item_of_another_type_further_down(record: Record) -> None:
    sentence = refused(lambda: bodies.given.map([1, 2, threading.Lock()]))

    assert sentence.startswith("Item 2 of argument 1, <unlocked _thread.lock object")
    assert record.task_runs() == []


def test_an_item_that_only_its_turn_brings_to_light_costs_its_own_call() -> None:
    def act() -> Any:
        states = bodies.given.map([[1], [threading.Lock()], [3]], return_state=True)
        return [state.name for state in states], states[1].data

    names, error = in_processes(act)
    assert names == ["Completed", "Failed", "Completed"]
    assert isinstance(error, NotPicklable)


def test_a_result_that_cannot_be_pickled_is_that_tasks_failure() -> None:
    with pytest.raises(NotPicklable, match=r"What Task run 'return_generator-\w+' returned, <generator .* Return data"):
        in_processes(lambda: bodies.return_generator.submit().result())


def test_a_result_that_cannot_be_made_again_is_that_tasks_failure() -> None:
    with pytest.raises(NotPicklable, match=r"LookupError: there is no such thing here.* made again"):
        in_processes(lambda: bodies.return_never_again.submit().result())


def test_an_argument_that_cannot_be_made_again_is_that_tasks_failure() -> None:
    with pytest.raises(NotPicklable, match=r"The call of Task run .* LookupError: there is no such thing here"):
        in_processes(lambda: bodies.given.submit(bodies.NeverAgain()).result())


# -- options and surroundings ------------------------------------------------------------------------------------------


def test_max_workers_is_checked() -> None:
    with pytest.raises(OptionError, match="max_workers of a task runner is 0; it must be 1 or more"):
        ProcessPoolTaskRunner(max_workers=0)
    with pytest.raises(OptionTypeError, match="max_workers of a task runner must be a whole number"):
        ProcessPoolTaskRunner(max_workers="4")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_there_are_as_many_workers_as_cpus_to_use_by_default() -> None:
    assert ProcessPoolTaskRunner().max_workers == len(os.sched_getaffinity(0))
    assert repr(ProcessPoolTaskRunner(3)) == "ProcessPoolTaskRunner(max_workers=3)"


def test_the_class_stands_for_the_runner_without_arguments() -> None:
    @flow(task_runner=ProcessPoolTaskRunner)
    def pipeline() -> int:
        return bodies.square.submit(4).result()

    assert pipeline() == 16


def test_a_subflow_has_a_runner_of_its_own() -> None:
    @flow(task_runner=ConcurrentTaskRunner())
    def inner() -> int:
        return bodies.where.submit().result()[0]

    def act() -> list[int]:
        return [inner(), bodies.where.submit().result()[0]]

    found = in_processes(act)
    assert found[0] == os.getpid() != found[1]


def test_a_flow_that_only_calls_directly_starts_no_process() -> None:
    before = workers()

    assert in_processes(lambda: bodies.square(3)) == 9
    assert workers() == before


def test_virtual_time_waits_for_worker_processes() -> None:
    with virtual_time():
        began = time.monotonic()
        flaky = bodies.fail.with_options(retries=1, retry_delay_seconds=3600)
        ended = in_processes(lambda: str(flaky.submit("no", return_state=True)))

    assert ended == "Failed('Task run encountered an exception: ValueError: no')"
    assert time.monotonic() - began < 600


def test_workers_are_ended_with_the_last_flow_that_uses_them() -> None:
    with none_kept():
        assert in_processes(lambda: (bodies.where.submit().result(), len(workers()))[1]) == 1
        assert not workers()


def test_workers_stay_while_another_flow_goes_on() -> None:
    def act() -> set[int]:
        first = bodies.where.submit().result()[0]
        return {first, in_processes(bodies.where.submit)[0], bodies.where.submit().result()[0]}

    with none_kept():
        assert len(in_processes(act)) == 1
        assert not workers()


def test_workers_stay_while_a_runtime_that_uses_processes_is_open(record: Record) -> None:
    with none_kept():
        with headrace.Runtime(task_runner=ProcessPoolTaskRunner(max_workers=1)) as runtime:
            found = {in_processes(bodies.where.submit)[0] for _ in range(2)}
            found.add(runtime.submit(bodies.where).result()[0])
            assert found == {worker.pid for worker in workers()}
        assert not workers()


def test_bodies_may_start_processes_of_their_own() -> None:
    assert in_processes(lambda: bodies.start_processes.submit(1.5).result()) == 1.5


def test_bodies_may_fork() -> None:
    assert in_processes(lambda: [bodies.fork.submit(number).result() for number in range(4)]) == [0, 1, 4, 9]


def test_a_body_that_closes_its_output_harms_nobody() -> None:
    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def pipeline() -> int:
        bodies.close_stdout.submit().result()
        worker = bodies.where.submit().result()[0]
        next(one for one in workers() if one.pid == worker).kill()  # its stdout stays closed
        return bodies.square.submit(2).result()

    assert pipeline() == 4


def test_a_worker_that_does_not_end_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(children, "ENDING", 0.1)
    ledger = Ledger(tmp_path / "ledger")
    with none_kept():
        assert in_processes(lambda: bodies.leave_a_thread.submit(str(ledger)).result()) == 1

    assert not alive(ledger.pid())
    assert "did not end within 0.1 s and was killed" in caplog.text


def test_a_daemon_of_multiprocessing_is_told_that_it_may_start_no_process() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        sentence = pool.apply(bodies.square_in_process, (3,))

    assert sentence.startswith("A worker process did not start: AssertionError: daemonic processes are not allowed")


def test_submission_by_a_body_in_a_worker_is_refused() -> None:
    with pytest.raises(SubmissionError, match=r"square.submit\(\) was called in a worker process, away from"):
        in_processes(lambda: bodies.submit_another.submit().result())
