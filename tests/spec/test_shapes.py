"""What can be decorated: functions, methods of every kind, callables, lambdas, partials; with parentheses or not."""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

import headrace
from headrace import Flow, Task, flow, task
from headrace.errors import OptionTypeError, ParameterBindError, ReservedArgumentError
from tests.spec.forms import Record


def double(x: int, y: int = 0) -> int:
    """Double."""
    return x * 2 + y


async def double_async(x: int, y: int = 0) -> int:
    return x * 2 + y


class Doubler:
    def __call__(self, x: int, y: int = 0) -> int:
        return x * 2 + y


class AsyncDoubler:
    async def __call__(self, x: int, y: int = 0) -> int:
        return x * 2 + y

    async def method(self, x: int, y: int = 0) -> int:
        return x * 2 + y


SYNC: list[Any] = [
    double,
    lambda x, y=0: x * 2 + y,  # pyright: ignore[reportUnknownLambdaType]
    functools.partial(double, y=0),
    functools.partial(functools.partial(double), y=0),
    Doubler(),
    Doubler().__call__,
]
ASYNC: list[Any] = [
    double_async,
    functools.partial(double_async, y=0),
    AsyncDoubler(),
    AsyncDoubler().method,
    functools.partial(AsyncDoubler().method, y=0),
]


@pytest.mark.parametrize("fn", SYNC)
@pytest.mark.parametrize("decorate", [task, task(), flow, flow()])
def test_a_sync_callable_gives_its_value(decorate: Any, fn: Any) -> None:
    decorated = decorate(fn)

    assert (decorated.isasync, decorated.isgenerator) == (False, False)
    assert decorated(3, y=1) == 7


@pytest.mark.parametrize("fn", ASYNC)
@pytest.mark.parametrize("decorate", [task, task(), flow, flow()])
def test_an_async_callable_gives_a_coroutine(decorate: Any, fn: Any) -> None:
    decorated = decorate(fn)

    assert decorated.isasync
    life = decorated(3, y=1)
    assert inspect.iscoroutine(life)
    assert headrace.run(life) == 7


@pytest.mark.parametrize("decorate", [task, flow])
def test_the_undecorated_function_is_there(decorate: Any, record: Record) -> None:
    assert decorate(double).fn is double
    assert decorate(double).fn(2) == 4
    assert record.flow_runs() + record.task_runs() == []


@pytest.mark.parametrize("decorate", [task, flow])
def test_a_decorated_function_looks_like_the_function(decorate: Any) -> None:
    decorated = decorate(double)

    assert (decorated.__name__, decorated.__doc__, decorated.__module__) == ("double", "Double.", __name__)
    assert decorated.__wrapped__ is double
    assert inspect.signature(decorated) == inspect.signature(double)


def test_a_builtin_can_be_a_task(record: Record) -> None:
    assert task(len)([1, 2]) == 2
    assert record.task_run().task_name == "len"


# -- methods ------------------------------------------------------------------------------------------------


class Worker:
    """One method of each kind, in each order of decorators."""

    def __init__(self, factor: int = 1) -> None:
        self.factor = factor

    @task
    def scale(self, x: int) -> int:
        return x * self.factor

    @task
    async def scale_async(self, x: int) -> int:
        return x * self.factor

    @flow(name="whole")
    def whole(self, x: int) -> int:
        return self.scale(x) + 1

    @task
    @classmethod
    def task_over_class(cls, x: int) -> str:
        return f"{cls.__name__} {x}"

    @classmethod
    @task
    def class_over_task(cls, x: int) -> str:
        return f"{cls.__name__} {x}"

    @task
    @staticmethod
    def task_over_static(x: int) -> int:
        return x + 1

    @staticmethod
    @task
    def static_over_task(x: int) -> int:
        return x + 1

    @flow
    @classmethod
    def flow_over_class(cls, x: int) -> str:
        return f"{cls.__name__} {x}"

    @staticmethod
    @flow
    def static_over_flow(x: int) -> int:
        return x + 1


class Heir(Worker): ...


def test_methods_are_bound_to_their_object() -> None:
    assert Worker(3).scale(2) == 6
    assert headrace.run(Worker(3).scale_async(2)) == 6
    assert Worker(3).whole(2) == 7
    assert Worker.scale(Worker(5), 2) == 10


@pytest.mark.parametrize("name", ["task_over_class", "class_over_task", "flow_over_class"])
@pytest.mark.parametrize(("owner", "text"), [(Worker, "Worker 1"), (Heir, "Heir 1"), (Heir(), "Heir 1")])
def test_class_methods_are_bound_to_the_class_they_are_asked_of(name: str, owner: Any, text: str) -> None:
    assert getattr(owner, name)(1) == text


@pytest.mark.parametrize("name", ["task_over_static", "static_over_task", "static_over_flow"])
@pytest.mark.parametrize("owner", [Worker, Worker(), Heir()])
def test_static_methods_are_bound_to_nothing(name: str, owner: Any) -> None:
    assert getattr(owner, name)(1) == 2


def test_methods_may_be_called_with_keywords_states_and_options() -> None:
    worker = Worker(3)

    assert worker.scale(x=2) == 6
    assert worker.scale(2, return_state=True).result() == 6
    assert worker.scale.with_options(name="other")(2) == 6
    assert worker.scale.with_options(name="other").name == "other"
    renamed: Any = Worker.task_over_class.with_options(name="other")
    assert renamed(1) == "Worker 1"
    assert Worker.scale.name == worker.scale.name == "scale"


def test_wrong_arguments_of_a_method_are_explained() -> None:
    wrongly: Any = Worker().scale
    with pytest.raises(ParameterBindError, match=r"The task 'scale' cannot be called like this: missing.*'x'"):
        wrongly()


def test_two_threads_that_call_a_method_of_two_objects_never_meet() -> None:
    """The bug seen elsewhere: what a method is bound to was kept on the one function object."""
    both_in = threading.Barrier(2, timeout=10)
    found: dict[int, set[int]] = {1: set(), 2: set()}

    class Slow:
        def __init__(self, number: int) -> None:
            self.number = number

        @task
        def who(self) -> int:
            both_in.wait()
            return self.number

    def work(slow: Slow) -> None:
        for _ in range(20):
            bound = slow.who
            both_in.wait()
            found[slow.number].add(bound())

    threads = [threading.Thread(target=work, args=(Slow(number),)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == {1: {1}, 2: {2}}


def test_a_bound_method_can_be_kept_and_handed_on() -> None:
    kept = Worker(4).scale

    assert list(map(kept, [1, 2])) == [4, 8]
    assert isinstance(kept, Task)


def test_a_flow_object_on_an_instance_is_not_bound() -> None:
    class Holder:
        def __init__(self) -> None:
            self.step: Any = task(double)

    assert Holder().step(2) == 4


# -- what cannot be -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [5, "text", [double], property(lambda self: 1)])
@pytest.mark.parametrize(("decorate", "sign"), [(task, "@task"), (flow, "@flow"), (task(name="x"), "@task")])
def test_what_cannot_be_called_is_refused(decorate: Any, sign: str, wrong: Any) -> None:
    with pytest.raises(OptionTypeError, match=f"{sign} decorates something that can be called, not"):
        decorate(wrong)


@pytest.mark.parametrize(("inner", "first"), [(task, "task"), (flow, "flow")])
@pytest.mark.parametrize(("outer", "second"), [(task, "task"), (flow, "flow")])
def test_a_flow_or_task_is_not_decorated_again(inner: Any, first: str, outer: Any, second: str) -> None:
    with pytest.raises(OptionTypeError, match=rf"is a {first} already and cannot be made a {second}.*\.with_options"):
        outer(inner(double))


def test_the_names_that_calls_need_cannot_be_parameters() -> None:
    def waits(wait_for: int) -> None: ...

    def states(*, return_state: bool) -> None: ...

    for fn, name in ((waits, "wait_for"), (states, "return_state")):
        decorate: Any
        for decorate, what in ((task, "task"), (flow, "flow")):
            with pytest.raises(
                ReservedArgumentError, match=f"The {what} '{fn.__name__}' has a parameter named {name!r}"
            ):
                decorate(fn)


@pytest.mark.parametrize(
    ("args", "kwargs", "reason"),
    [
        ((), {}, "missing a required argument: 'x'"),
        ((1, 2, 3), {}, "too many positional arguments"),
        ((1,), {"z": 3}, "got an unexpected keyword argument 'z'"),
        ((1,), {"x": 3}, "multiple values for argument 'x'"),
    ],
)
@pytest.mark.parametrize("decorate", [task, flow])
@pytest.mark.parametrize("fn", [double, double_async])
def test_arguments_that_do_not_fit_are_named_with_the_signature(
    decorate: Any, fn: Any, args: Any, kwargs: Any, reason: str
) -> None:
    decorated = decorate(fn)

    with pytest.raises(ParameterBindError) as caught:
        headrace.run(decorated(*args, **kwargs))

    assert reason in str(caught.value)
    assert f"Its signature is {decorated.name}(x: 'int', y: 'int' = 0) -> 'int'" in str(caught.value)


def test_a_type_error_inside_the_body_is_the_users_own(record: Record) -> None:
    wrongly: Any = double

    @task
    def calls_wrongly(x: int) -> Any:
        return wrongly()

    with pytest.raises(TypeError, match="double") as caught:
        calls_wrongly(1)
    assert type(caught.value) is TypeError


def test_the_objects_say_what_they_are() -> None:
    assert repr(task(double)) == "<task 'double'>"
    assert repr(flow(name="My Flow")(double)) == "<flow 'My Flow'>"
    assert isinstance(flow(double), Flow)


def test_frameworks_can_tell_that_an_async_flow_is_to_be_awaited() -> None:
    """Starlette and FastAPI ask before they call; a coroutine taken for a value would never run."""

    @flow
    async def awaited() -> None: ...

    @flow
    def called() -> None: ...

    @task
    async def items() -> AsyncIterator[int]:
        yield 1

    ask = inspect.iscoroutinefunction if sys.version_info >= (3, 12) else asyncio.iscoroutinefunction
    assert (ask(awaited), ask(called), ask(items)) == (True, False, False)
