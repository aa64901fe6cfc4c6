"""Hooks: which states call which, in what order, with what, and that they never change a run."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import pytest

import headrace
from headrace import State, flow, task
from headrace.errors import OptionTypeError
from headrace.states import Cancelled, Crashed, Failed
from headrace.testing import virtual_time
from tests.spec.forms import Form, Record, call

Lines = Callable[[], list[str]]
NAMES = ("on_running", "on_completion", "on_failure", "on_cancellation", "on_crashed")


class Heard:
    """Hooks that write down what they are told."""

    def __init__(self) -> None:
        self.story: list[str] = []

    def of(self, kind: str) -> dict[str, list[Any]]:
        """Give a list of one hook for each option that *kind* knows."""
        names = NAMES if kind == "flow" else NAMES[:3]
        return {name: [functools.partial(self.hear, name)] for name in names}

    def hear(self, option: str, _public: Any, _run: Any, state: State[Any]) -> None:
        self.story.append(f"{option} {state.name}")


def test_a_completed_run_calls_running_then_completion(form: Form, kind: str) -> None:
    heard = Heard()

    @form.decorate(kind, **heard.of(kind))
    async def body() -> None:
        heard.story.append("body")

    form.run(body)

    assert heard.story == ["on_running Running", "body", "on_completion Completed"]


def test_each_attempt_calls_running_and_only_the_last_failure_calls_failure(form: Form, kind: str) -> None:
    heard = Heard()

    @form.decorate(kind, retries=2, **heard.of(kind))
    async def body() -> None:
        raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        form.run(body)

    assert heard.story == ["on_running Running", "on_running Retrying", "on_running Retrying", "on_failure Failed"]


def test_a_timeout_calls_failure(kind: str) -> None:
    heard = Heard()

    @Form("async").decorate(kind, timeout_seconds=0.001, **heard.of(kind))
    async def body() -> None:
        await asyncio.sleep(10)

    with pytest.raises(TimeoutError):
        headrace.run(body())

    assert heard.story == ["on_running Running", "on_failure TimedOut"]


@pytest.mark.parametrize(
    ("state", "last"),
    [
        (Failed(message="f"), "on_failure Failed"),
        (Failed(name="Odd"), "on_failure Odd"),
        (Cancelled(), "on_cancellation Cancelled"),
        (Crashed(), "on_crashed Crashed"),
    ],
)
def test_a_returned_state_calls_the_hooks_of_its_type(form: Form, state: State[Any], last: str) -> None:
    heard = Heard()

    @form.flow(**heard.of("flow"))
    async def body() -> Any:
        return state

    form.run(body, return_state=True)

    assert heard.story == ["on_running Running", last]


@pytest.mark.parametrize(
    ("stop", "last"),
    [
        (KeyboardInterrupt(), "on_cancellation Cancelled"),
        (SystemExit(3), "on_crashed Crashed"),
        (asyncio.CancelledError(), "on_cancellation Cancelled"),
    ],
)
def test_an_interruption_calls_cancellation_or_crashed(stop: BaseException, last: str) -> None:
    heard = Heard()

    @Form("sync").flow(**heard.of("flow"))
    async def body() -> None:
        raise stop

    with pytest.raises(type(stop)):
        body()

    assert heard.story == ["on_running Running", last]


def test_wrong_parameters_call_failure_but_not_running(form: Form) -> None:
    heard = Heard()

    @form.flow(**heard.of("flow"))
    async def body(x: int) -> None: ...

    with pytest.raises(TypeError):
        form.run(body, "no number")

    assert heard.story == ["on_failure Failed"]


def test_a_hook_is_handed_the_object_the_run_and_the_state(form: Form, kind: str, record: Record) -> None:
    handed: list[tuple[Any, Any, State[Any]]] = []

    def hook(public: Any, run: Any, state: State[Any]) -> None:
        handed.append((public, run, state))

    @form.decorate(kind, name="mine", on_completion=[hook], on_running=[hook], **{f"{kind}_run_name": "of {x}"})
    async def body(x: int) -> int:
        return x * 2

    form.run(body, 21)

    (stored,) = record.flow_runs() or record.task_runs()
    (_, before, running), (public, run, state) = handed
    assert public is body
    assert (run.id, run.name, run.state) == (stored.id, "of 21", state)
    assert (state.result(), state.is_completed()) == (42, True)
    assert (running.name, before.end_time) == ("Running", None)
    assert run.start_time == stored.start_time
    assert run.end_time == stored.end_time
    assert state.timestamp == stored.end_time
    if kind == "flow":
        assert run.parameters == {"x": 21}
        assert run.flow_name == "mine"


def test_hooks_are_called_in_order_those_of_decorators_last(form: Form, kind: str) -> None:
    story: list[int] = []

    def noting(number: int) -> Any:
        def note(*_: Any) -> None:
            story.append(number)

        return note

    hooks = [noting(1), noting(2)]

    @form.decorate(kind, on_completion=hooks)
    async def body() -> None: ...

    def third(*_: Any) -> None:
        story.append(3)

    assert body.on_completion(third) is third

    hooks.append(noting(99))
    form.run(body)

    assert story == [1, 2, 3]


@pytest.mark.parametrize("option", NAMES)
def test_every_hook_can_be_added_by_a_decorator(form: Form, option: str) -> None:
    heard: list[str] = []
    ends: dict[str, Any] = {"on_failure": Failed(), "on_cancellation": Cancelled(), "on_crashed": Crashed()}

    @form.flow()
    async def body() -> Any:
        return ends.get(option)

    form.run(body, return_state=True)

    @getattr(body, option)  # type: ignore[untyped-decorator]
    def hook(_flow: Any, _run: Any, state: State[Any]) -> None:
        heard.append(state.name)

    form.run(body, return_state=True)
    assert len(heard) == 1
    assert hook


def test_a_hook_of_a_method_is_heard_by_all_instances() -> None:
    heard: list[str] = []

    class Worker:
        @task
        def work(self) -> None: ...

    def hear(_task: Any, _run: Any, state: State[Any]) -> None:
        heard.append(state.name)

    Worker().work.on_running(hear)
    Worker().work.on_completion(hear)
    Worker().work()

    assert heard == ["Running", "Completed"]


def test_async_hooks_and_partials_and_objects_are_hooks_too(form: Form, kind: str) -> None:
    story: list[str] = []

    async def slowly(_public: Any, _run: Any, state: State[Any]) -> None:
        await asyncio.sleep(0)
        story.append(f"async {state.name}")

    def three(_public: Any, _run: Any, _state: Any, more: str = "by default") -> None:
        story.append(more)

    class Notifier:
        def __call__(self, _public: Any, _run: Any, _state: Any) -> None:
            story.append("object")

        async def later(self, _public: Any, _run: Any, _state: Any) -> None:
            await asyncio.sleep(0)
            story.append("async method")

    hooks = [slowly, three, functools.partial(three, more="partial"), Notifier(), Notifier().later]

    @form.decorate(kind, on_completion=hooks)
    async def body() -> None: ...

    form.run(body)

    assert story == ["async Completed", "by default", "partial", "object", "async method"]


def test_an_async_hook_of_a_sync_task_inside_a_running_loop_is_heard() -> None:
    heard: list[str] = []

    async def hook(_task: Any, _run: Any, _state: Any) -> None:
        await asyncio.sleep(0)
        heard.append("heard")

    @task(on_completion=[hook])
    def leaf() -> None: ...

    @flow
    async def pipeline() -> None:
        leaf()

    headrace.run(pipeline())

    assert heard == ["heard"]


@pytest.mark.parametrize("option", ["on_running", "on_completion"])
def test_a_hook_that_raises_is_logged_and_changes_nothing(
    form: Form, kind: str, record: Record, said: Lines, caplog: pytest.LogCaptureFixture, option: str
) -> None:
    story: list[str] = []

    def broken(*_: Any) -> None:
        raise LookupError("broken hook")

    def following(*_: Any) -> None:
        story.append("next")

    @form.decorate(kind, **{option: [broken, following]})
    async def body() -> int:
        return 5

    assert form.run(body) == 5
    assert story == ["next"]
    assert any(line.startswith("ERROR") and line.endswith("Hook 'broken' failed; the run goes on") for line in said())
    assert "LookupError: broken hook" in caplog.text
    (run,) = record.flow_runs() or record.task_runs()
    assert run.state.name == "Completed"


def test_a_failure_hook_that_raises_does_not_hide_the_first_error(form: Form, kind: str) -> None:
    async def broken(*_: Any) -> None:
        raise LookupError("broken hook")

    @form.decorate(kind, on_failure=[broken])
    async def body() -> None:
        raise ValueError("the first")

    with pytest.raises(ValueError, match="the first") as caught:
        form.run(body)
    assert caught.value.__context__ is None


def test_hooks_say_when_they_run_before_the_end_is_said(form: Form, said: Lines) -> None:
    def notify(*_: Any) -> None: ...

    @form.flow(on_completion=[notify], flow_run_name="f")
    async def body() -> None: ...

    form.run(body)

    assert said()[1:] == [
        "INFO | Flow run 'f' - Running hook 'notify' in response to entering state 'Completed'",
        "INFO | Flow run 'f' - Hook 'notify' finished",
        "INFO | Flow run 'f' - Finished in state Completed()",
    ]


def test_a_hook_may_run_tasks_and_log_as_its_run(form: Form, record: Record, said: Lines) -> None:
    @form.task(task_run_name="tell")
    async def tell(what: str) -> None: ...

    async def notify(_flow: Any, _run: Any, state: State[Any]) -> None:
        headrace.get_run_logger().info("notifying")
        await call(tell, state.name)

    @form.flow(on_completion=[form.fn(notify)], flow_run_name="f")
    async def body() -> None: ...

    form.run(body)

    assert "INFO | Flow run 'f' - notifying" in said()
    assert record.task_run().flow_run_id == record.flow_run().id


def test_hooks_print_as_their_run_does(form: Form, said: Lines) -> None:
    def shout(flow: Any, _run: Any, state: State[Any]) -> None:
        print(f"Flow {flow.name} failed: {state.message}")

    @form.flow(name="pipe", on_failure=[shout], log_prints=True, flow_run_name="f")
    async def body() -> None:
        raise ValueError("boom")

    with pytest.raises(ValueError, match="boom"):
        form.run(body)

    wanted = "INFO | Flow run 'f' - Flow pipe failed: Flow run encountered an exception: ValueError: boom"
    assert wanted in said()


def test_cancellation_hooks_may_wait_though_their_run_is_cancelled() -> None:
    heard: list[str] = []

    async def tidy(_flow: Any, _run: Any, state: State[Any]) -> None:
        await asyncio.sleep(5)
        heard.append(state.name)

    @flow(on_cancellation=[tidy])
    async def inner() -> None:
        await asyncio.sleep(3_600)

    @flow(timeout_seconds=60)
    async def outer() -> None:
        await inner()

    with virtual_time(), pytest.raises(TimeoutError):
        headrace.run(outer())

    assert heard == ["Cancelled"]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (print, r"must be a list of callables, as in on_failure=\[notify\]"),
        ("notify", "must be a list of callables"),
        (["notify"], "a hook in on_failure of .* must be callable, not 'notify'"),
        (5, "must be a list of callables"),
    ],
)
@pytest.mark.parametrize("decorate", [task, flow])
def test_what_is_no_list_of_hooks_is_refused(decorate: Any, wrong: Any, sentence: str) -> None:
    with pytest.raises(OptionTypeError, match=sentence):
        decorate(on_failure=wrong)(len)


def test_what_cannot_be_called_is_no_hook() -> None:
    with pytest.raises(OptionTypeError, match="on_failure of task 'len' takes something that can be called, not 'x'"):
        task(len).on_failure("x")  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("option", ["on_cancellation", "on_crashed"])
def test_tasks_have_no_hooks_for_what_ends_flows(option: str) -> None:
    decorate: Any = task
    with pytest.raises(OptionTypeError, match=f"@task has no option '{option}'"):
        decorate(**{option: []})(len)
