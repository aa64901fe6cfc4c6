"""Caching: a call whose result is known is not run; which calls are the same is the policy's to say."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from headrace import flow, task
from headrace._runtime import Runtime
from headrace.cache_policies import (
    DEFAULT,
    FLOW_PARAMETERS,
    INPUTS,
    NO_CACHE,
    NONE,
    RUN_ID,
    TASK_SOURCE,
    CacheKeyFnPolicy,
    CachePolicy,
)
from headrace.context import TaskRunContext
from headrace.errors import OptionError, OptionTypeError
from headrace.tasks import task_input_hash
from headrace.testing import virtual_time
from tests.spec.forms import Form, Record, call
from tests.spec.keeping import NUMBER, STORES, Counted, runtime_at, runtime_on

Said = Callable[[], list[str]]


@pytest.fixture(params=STORES)
def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Runtime]:
    """Run the test on each kind of store."""
    with runtime_on(request.param, tmp_path, request) as made:
        yield made


@pytest.mark.usefixtures("runtime")
class TestACachedTask:
    def test_runs_once_for_equal_arguments(self, form: Form) -> None:
        double = Counted(form, lambda x: [x, x], cache_policy=INPUTS)

        assert [double(1), double(x=1), double(1, None), double(2)] == [[1, 1], [1, 1], [1, 1], [2, 2]]
        assert double.calls == [(1, None), (2, None)]

    def test_tells_types_apart(self, form: Form) -> None:
        same = Counted(form, lambda x: type(x).__name__, cache_policy=INPUTS)

        assert [same(x) for x in (1, 1.0, True, "1", (1,), [1])] == ["int", "float", "bool", "str", "tuple", "list"]

    def test_gives_a_value_of_its_own_each_time(self, form: Form) -> None:
        fresh = Counted(form, lambda _: {"rows": [1]}, cache_policy=INPUTS)

        for _ in range(3):
            value = fresh(0)
            assert value == {"rows": [1]}
            value["rows"].append(2)
        assert len(fresh.calls) == 1

    def test_ends_as_cached_and_calls_its_completion_hooks(self, form: Form) -> None:
        heard: list[str] = []
        quick = Counted(
            form,
            7,
            cache_policy=INPUTS,
            on_completion=[lambda _task, _run, state: heard.append(state.name)],
            on_running=[lambda _task, _run, _state: heard.append("Running")],
        )

        states = [quick(1, return_state=True) for _ in range(2)]

        assert [(state.name, state.type.value, state.result()) for state in states] == [
            ("Completed", "COMPLETED", 7),
            ("Cached", "COMPLETED", 7),
        ]
        assert heard == ["Running", "Completed", "Cached"]

    def test_does_not_keep_what_it_raises(self, form: Form) -> None:
        tries: list[int] = []

        async def unlucky(x: int) -> int:
            tries.append(x)
            if len(tries) == 1:
                raise ConnectionError("not now")
            return x

        cached = form.task(cache_policy=INPUTS)(unlucky)
        with pytest.raises(ConnectionError):
            form.run(cached, 5)

        assert [form.run(cached, 5), form.run(cached, 5)] == [5, 5]
        assert tries == [5, 5]

    def test_is_looked_for_once_though_it_is_retried(self, form: Form) -> None:
        tries: list[int] = []

        async def unlucky(x: int) -> int:
            tries.append(x)
            if len(tries) < 3:
                raise ConnectionError("not now")
            return x

        cached = form.task(cache_policy=INPUTS, retries=2)(unlucky)

        assert [form.run(cached, 5), form.run(cached, 5)] == [5, 5]
        assert len(tries) == 3

    def test_is_computed_anew_where_it_is_refreshed(self, form: Form) -> None:
        count = Counted(form, NUMBER, cache_policy=INPUTS)
        again = count.task.with_options(refresh_cache=True)

        assert [count(1), count(1), form.run(again, 1), count(1)] == [1, 1, 2, 2]

    def test_expires(self, form: Form) -> None:
        with virtual_time() as clock:
            hourly = Counted(form, NUMBER, cache_policy=INPUTS, cache_expiration=timedelta(hours=1))

            assert [hourly(1), hourly(1)] == [1, 1]
            clock.advance(3_599)
            assert hourly(1) == 1
            clock.advance(2)
            assert [hourly(1), hourly(1)] == [2, 2]

    def test_is_found_within_maps_and_by_futures(self, form: Form) -> None:
        double = Counted(form, lambda x: x * 2, cache_policy=INPUTS)

        async def body() -> list[Any]:
            first = await form.got(double.task.map([1, 2, 3]))
            second = await form.got(double.task.map([3, 2, 1]))
            return [first, second, await form.got(double.task.submit(2))]

        assert form.in_flow(body) == [[2, 4, 6], [6, 4, 2], 4]
        assert sorted(double.calls) == [(1, None), (2, None), (3, None)]

    def test_waits_for_futures_among_its_arguments_before_it_makes_its_key(self, form: Form) -> None:
        double = Counted(form, lambda x: x * 2, cache_policy=INPUTS)

        async def body() -> list[Any]:
            one = double.task.submit(1)
            return [await form.got(double.task.submit(one)), await call(double.task, 2)]

        assert form.in_flow(body) == [4, 4]
        assert sorted(double.calls) == [(1, None), (2, None)]


# -- which calls are the same ---------------------------------------------------------------------------------


def keys_of(policy: CachePolicy, form: Form, *calls: tuple[Any, ...], runs: int = 1) -> list[int]:
    """Give how often the body ran after each of *calls*, all in one flow run; for *runs* flow runs in a row."""
    counted = Counted(form, 0, cache_policy=policy)
    seen: list[int] = []

    @form.flow()
    async def main(_given: int = 0) -> None:
        for args in calls:
            await call(counted.task, *args)
            seen.append(len(counted.calls))

    for _ in range(runs):
        form.run(main)
    return seen


@pytest.mark.usefixtures("record")
class TestAPolicy:
    def test_of_inputs_counts_all_arguments(self, form: Form) -> None:
        assert keys_of(INPUTS, form, (1, 2), (1, 2), (1, 3), (2, 2), (1, 2)) == [1, 1, 2, 3, 3]

    def test_of_inputs_may_leave_one_out(self, form: Form) -> None:
        assert keys_of(INPUTS - "y", form, (1, 2), (1, 3), (2, 2)) == [1, 1, 2]
        assert keys_of((INPUTS + TASK_SOURCE) - "y", form, (1, 2), (1, 3), (2, 2)) == [1, 1, 2]

    def test_of_the_run_counts_the_flow_run(self, form: Form) -> None:
        assert keys_of(RUN_ID, form, (1,), (2,), runs=2) == [1, 1, 2, 2]
        assert keys_of(DEFAULT, form, (1,), (1,), (2,), runs=2) == [1, 1, 2, 3, 3, 4]

    def test_of_the_flows_parameters_counts_those(self, form: Form) -> None:
        counted = Counted(form, 0, cache_policy=FLOW_PARAMETERS)

        @form.flow()
        async def main(day: str) -> int:
            await call(counted.task, day)
            await call(counted.task, "whatever")
            return len(counted.calls)

        assert [form.run(main, day) for day in ("mon", "mon", "tue")] == [1, 1, 2]

    def test_of_nothing_caches_nothing(self, form: Form) -> None:
        assert NONE is NO_CACHE
        assert keys_of(NO_CACHE, form, (1,), (1,)) == [1, 2]
        assert keys_of(NO_CACHE + INPUTS, form, (1,), (1,)) == [1, 1]
        assert keys_of(INPUTS + NO_CACHE, form, (2,), (2,)) == [1, 1]

    def test_of_ones_own_sees_context_arguments_and_parameters(self, form: Form) -> None:
        seen: list[Any] = []

        class ByDay(CachePolicy):
            def compute_key(
                self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **_: Any
            ) -> str | None:
                seen.append((task_ctx.task.name, inputs, flow_parameters))
                return str(inputs["x"])

        assert keys_of(ByDay(), form, (1, 2), (1, 3)) == [1, 1]
        assert seen[0] == ("counted", {"x": 1, "y": 2}, {"_given": 0})

    def test_adds_up_flat_and_keeps_where_and_how(self) -> None:
        policy: Any = INPUTS
        stored = INPUTS.configure(key_storage="/somewhere")

        both = stored + TASK_SOURCE + INPUTS

        assert (both.key_storage, INPUTS.key_storage) == ("/somewhere", None)
        assert (both - "x").key_storage == "/somewhere"
        with pytest.raises(OptionError, match="different key storages cannot be added"):
            _ = stored + TASK_SOURCE.configure(key_storage="/elsewhere")
        with pytest.raises(OptionTypeError, match="not 3"):
            _ = policy - 3
        with pytest.raises(TypeError):
            _ = policy + "debug"
        with pytest.raises(OptionTypeError, match="SERIALIZABLE, not 'sometimes'"):
            INPUTS.configure(isolation_level="sometimes")
        with pytest.raises(OptionTypeError, match="has no acquire_lock and no release_lock"):
            INPUTS.configure(lock_manager=object())

    def test_by_a_function_gives_the_key_as_it_is(self, form: Form) -> None:
        policy = CacheKeyFnPolicy(lambda _context, parameters: f"day-{parameters['x']}")

        assert keys_of(policy, form, (1, 2), (1, 3), (2, 2)) == [1, 1, 2]
        assert keys_of(CachePolicy.from_cache_key_fn(lambda _context, _parameters: None), form, (1,), (1,)) == [1, 2]


def three(_context: Any, _parameters: dict[str, Any]) -> int:
    """Give what is no key."""
    return 3


gives_three: Any = three


@pytest.mark.usefixtures("record")
class TestCacheKeyFn:
    def test_of_the_inputs_counts_task_and_arguments(self, form: Form) -> None:
        one = Counted(form, "one", cache_key_fn=task_input_hash, cache_expiration=timedelta(hours=1))
        other = Counted(form, "other", cache_key_fn=task_input_hash, name="other")

        assert [one(1), one(1), one(2), other(1)] == ["one", "one", "one", "one"]
        assert len(one.calls) == 2
        assert other.calls == []  # the same function, under another name

    def test_shares_results_between_tasks_with_one_key(self, form: Form) -> None:
        one = Counted(form, "one", cache_key_fn=lambda _context, _parameters: "shared")
        other = Counted(form, "other", cache_key_fn=lambda _context, _parameters: "shared")

        assert [one(1), other(2)] == ["one", "one"]

    def test_that_raises_or_gives_no_text_costs_the_caching_and_nothing_else(self, form: Form, said: Said) -> None:
        broken = Counted(form, 1, cache_key_fn=lambda _context, parameters: parameters["nobody"])
        numbers = Counted(form, 1, cache_key_fn=gives_three)

        assert [broken(1), broken(1), numbers(1)] == [1, 1, 1]
        assert len(broken.calls) == 2
        assert [line for line in said() if line.startswith("ERROR")] == [
            "ERROR | Task run 'counted' - No cache key could be made; the run goes on, and is not cached"
        ] * 3

    def test_goes_before_a_policy_and_says_so(self, form: Form, said: Said) -> None:
        both = Counted(form, 1, cache_policy=NO_CACHE, cache_key_fn=lambda _context, _parameters: "k")

        assert [both(1), both(2)] == [1, 1]
        assert len(both.calls) == 1
        assert (
            "WARNING | headrace.engine - Task 'counted' has both cache_policy and cache_key_fn; cache_key_fn is used"
            in said()
        )


@pytest.mark.usefixtures("record")
class TestAnArgumentThatCannotBeHashed:
    def test_is_named_once_with_how_to_leave_it_out(self, form: Form, said: Said) -> None:
        import threading

        counted = Counted(form, 1, cache_policy=INPUTS)

        assert [counted(1, {"guard": threading.Lock()}) for _ in range(2)] == [1, 1]
        assert len(counted.calls) == 2
        (line,) = [line for line in said() if line.startswith("WARNING")]
        assert "Is not cached: The argument of task 'counted' \"y['guard']\" cannot be part of a cache key" in line
        assert "cache_policy=INPUTS - 'y'" in line

    def test_can_be_left_out(self, form: Form) -> None:
        import threading

        counted = Counted(form, 1, cache_policy=INPUTS - "y")

        assert [counted(1, threading.Lock()) for _ in range(2)] == [1, 1]
        assert len(counted.calls) == 1


# -- what is asked for -----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("record")
class TestPersistResult:
    def test_means_the_default_policy(self, form: Form) -> None:
        kept = Counted(form, 1, persist_result=True)

        async def body() -> int:
            for _ in range(3):
                await call(kept.task, 1)
            return len(kept.calls)

        assert [form.in_flow(body), form.in_flow(body)] == [1, 2]

    def test_of_a_flow_holds_for_its_tasks(self, form: Form) -> None:
        plain = Counted(form, 1)

        async def body() -> int:
            for _ in range(3):
                await call(plain.task, 1)
            return len(plain.calls)

        assert [form.in_flow(body), form.in_flow(body, persist_result=True), form.in_flow(body)] == [3, 4, 7]

    def test_of_false_turns_caching_off_and_says_so(self, form: Form, said: Said) -> None:
        off = Counted(form, 1, persist_result=False, cache_policy=INPUTS)

        assert [off(1), off(1)] == [1, 1]
        assert len(off.calls) == 2
        assert "WARNING | headrace.engine - Task 'counted' is not cached: persist_result is False" in said()

    def test_is_what_keeps_a_retried_flow_from_computing_twice(self, form: Form) -> None:
        kept = Counted(form, 1, persist_result=True)
        tries: list[int] = []

        async def body() -> None:
            await call(kept.task, 1)
            tries.append(1)
            if len(tries) < 3:
                raise ConnectionError

        form.in_flow(body, retries=2)

        assert (len(kept.calls), len(tries)) == (1, 3)


def test_a_generator_cannot_be_cached(form: Form) -> None:
    def numbers() -> Iterator[int]:
        yield 1

    with pytest.raises(OptionError, match="task 'numbers' is a generator, and what it yields is not kept"):
        task(cache_policy=INPUTS)(numbers)
    with pytest.raises(OptionError, match="Leave out persist_result, or have it return a list"):
        flow(persist_result=True)(numbers)
    assert form


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"cache_policy": "inputs"}, "cache_policy of task 'f' must be a cache policy, as in headrace.cache_policies"),
        ({"cache_policy": CachePolicy}, "must be a cache policy"),
        ({"cache_expiration": 0}, "cache_expiration of task 'f' is 0; it must be more than 0"),
        ({"cache_expiration": timedelta(-1)}, "must be a finite number of seconds, 0 or more"),
        ({"cache_key_fn": "x"}, "cache_key_fn of task 'f' must be callable"),
        ({"persist_result": 1}, "persist_result of task 'f' must be True or False"),
        ({"result_storage": 3}, "result_storage of task 'f' must be a folder, a URL or a result storage"),
        ({"result_storage": ""}, "result_storage of task 'f' is empty"),
        ({"result_serializer": 3}, "must be the name of a serializer such as 'json', or one with dumps and loads"),
        ({"result_storage_key": " "}, "result_storage_key of task 'f' is empty"),
        ({"on_rollback": 3}, "on_rollback of task 'f' must be a list of callables"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], sentence: str) -> None:
    def f() -> None: ...

    decorate: Any = task
    with pytest.raises((OptionError, OptionTypeError), match=sentence):
        decorate(**options)(f)


@pytest.mark.usefixtures("record")
@pytest.mark.parametrize(("policy", "given"), [(INPUTS, [1, 1]), (INPUTS + TASK_SOURCE, [1, 2])])
def test_two_versions_of_the_code_share_a_key_unless_the_source_is_part_of_it(
    policy: CachePolicy, given: list[int], tmp_path: Path
) -> None:
    def version(number: int) -> Any:
        path = tmp_path / f"version{number}.py"
        path.write_text(f"def answer():\n    return {number}\n")
        space: dict[str, Any] = {"__name__": "program"}
        exec(compile(path.read_text(), str(path), "exec"), space)
        return task(cache_policy=policy)(space["answer"])

    assert [version(number)() for number in (1, 2)] == given


def test_a_hit_says_what_the_cheat_sheet_shows(record: Record, form: Form, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "headrace")
    cached = Counted(form, 1, cache_key_fn=task_input_hash)

    cached(1)
    cached(1)

    assert "Finished in state Cached(type=COMPLETED)" in caplog.messages
    first, second = record.task_runs()
    assert (first.result_key, first.cached_from) == (second.result_key, None)
    assert second.cached_from == first.id
    assert record.path(second) == ["Running", "Cached"]


@pytest.mark.parametrize("key", ["\0" * 32, "\ud800" * 32, "é" * 32, "k" * 32], ids=["null", "surrogate", "é", "k"])
def test_a_key_as_long_as_ours_of_any_signs_harms_no_record(tmp_path: Path, key: str) -> None:
    @task(cache_key_fn=lambda _context, _parameters: key)
    def step() -> int:
        return 1

    @flow
    def calls() -> int:
        return step() + step()

    with runtime_at(tmp_path) as runtime:
        assert calls() == 2
        runtime.office.close()
        (run,) = asyncio.run(runtime.store.flow_runs())
        found = asyncio.run(runtime.store.task_runs(run.id[:24]))

    assert [(one.task_name, one.state.name) for one in found] == [("step", "Completed"), ("step", "Cached")]
    assert found[1].cached_from == found[0].id
    assert found[0].result_key == found[1].result_key
