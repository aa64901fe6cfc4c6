"""Options as a whole: what is unknown, what contradicts, what a copy keeps."""

from __future__ import annotations

from typing import Any

import pytest

from headrace import flow, task
from headrace.cache_policies import INPUTS
from headrace.errors import OptionError, OptionTypeError
from headrace.task_runners import ConcurrentTaskRunner, ThreadPoolTaskRunner
from tests.spec.forms import Form, Record, call


def body(x: int = 1) -> int:
    """Give x."""
    return x


TASK: dict[str, Any] = {
    "name": "n",
    "description": "d",
    "version": "v",
    "tags": ["t"],
    "task_run_name": "r",
    "retries": 2,
    "retry_delay_seconds": 0,
    "retry_jitter_factor": 0.5,
    "retry_condition_fn": lambda *_: True,  # pyright: ignore[reportUnknownLambdaType]
    "timeout_seconds": 60,
    "step_key": "k",
    "log_prints": True,
    "persist_result": True,
    "result_storage": "memory:",
    "result_serializer": "json",
    "result_storage_key": "k",
    "deterministic": False,
    "cache_result_in_memory": False,
    "cache_policy": INPUTS,
    "cache_key_fn": None,
    "cache_expiration": 60,
    "refresh_cache": False,
    "on_commit": [body],
    "on_rollback": [body],
    "on_running": [body],
    "on_completion": [body],
    "on_failure": [body],
}
OF_TASKS = {
    "tags", "task_run_name", "result_storage_key", "cache_policy", "cache_key_fn", "cache_expiration", "refresh_cache",
    "deterministic", "on_commit", "on_rollback",
}  # fmt: skip
FLOW: dict[str, Any] = {
    **{name: value for name, value in TASK.items() if name not in OF_TASKS},
    "flow_run_name": "r",
    "validate_parameters": False,
    "durability": "off",
    "durable": None,
    "task_runner": ConcurrentTaskRunner(limit=4),
    "on_child_failure": "cancel",
    "on_cancellation": [body],
    "on_crashed": [body],
}


def test_the_options_are_these_and_no_others() -> None:
    decorate: Any
    for decorate, known in ((task, TASK), (flow, FLOW)):
        with pytest.raises(OptionTypeError) as caught:
            decorate(colour="red")(body)
        assert str(caught.value).partition("It takes: ")[2] == f"{', '.join(sorted(known))}."
        assert decorate(**known)(body).name == "n"


@pytest.mark.parametrize(
    ("decorate", "option", "sentence"),
    [
        (task, "retry", r"@task has no option 'retry' \(given for task 'body'\); did you mean 'retries'\?"),
        (flow, "timeout", r"@flow has no option 'timeout' .*; did you mean 'timeout_seconds'\?"),
        (task, "flow_run_name", r"did you mean 'task_run_name'\?"),
        (flow, "tags", r"@flow has no option 'tags'"),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest_name(decorate: Any, option: str, sentence: str) -> None:
    with pytest.raises(OptionTypeError, match=sentence):
        decorate(**{option: None})(body)
    with pytest.raises(OptionTypeError, match=sentence):
        decorate(body).with_options(**{option: 1})


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"durable": True, "durability": "off"}, "durable=True and durability='off' of flow 'body' contradict"),
        ({"durable": False, "durability": "strict"}, "durable=False and durability='strict' of flow 'body' contradict"),
        ({"durability": "sometimes"}, "is 'sometimes'; it must be 'off', 'batched' or 'strict'"),
        ({"durability": ["off"]}, "it must be 'off', 'batched' or 'strict'"),
        ({"durable": "yes"}, "durable of flow 'body' must be True or False, not 'yes'"),
        ({"log_prints": 1}, "log_prints of flow 'body' must be True or False, not 1"),
        ({"validate_parameters": "no"}, "validate_parameters of flow 'body' must be True or False"),
        ({"version": 3}, "version of flow 'body' must be a string, not 3"),
        ({"description": 3}, "description of flow 'body' must be a string, not 3"),
        ({"task_runner": 4}, "task_runner of flow 'body' must be a task runner, as in headrace.task_runners, not 4"),
        ({"on_child_failure": "stop"}, "on_child_failure of flow 'body' is 'stop'; it must be 'wait' or 'cancel'"),
    ],
)
def test_what_contradicts_or_cannot_be_is_refused(options: dict[str, Any], sentence: str) -> None:
    decorate: Any = flow
    with pytest.raises((OptionError, OptionTypeError), match=sentence):
        decorate(**options)(body)


def test_a_task_runner_may_be_given_as_its_class() -> None:
    runner: Any = ConcurrentTaskRunner
    assert isinstance(flow(task_runner=runner)(body).spec.options["task_runner"], ConcurrentTaskRunner)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: ConcurrentTaskRunner(limit=0), "limit of a task runner is 0; it must be 1 or more, or None"),
        (lambda: ThreadPoolTaskRunner(max_workers=-1), "max_workers of a task runner is -1; it must be 1 or more"),
        (lambda: ThreadPoolTaskRunner(True), "max_workers of a task runner must be a whole number or None, not True"),
    ],
)
def test_a_task_runner_refuses_a_number_of_places_that_cannot_be(make: Any, sentence: str) -> None:
    with pytest.raises((OptionError, OptionTypeError), match=sentence):
        make()


def test_a_task_runner_says_how_many_calls_it_runs_at_once() -> None:
    assert [repr(runner) for runner in (ConcurrentTaskRunner(limit=4), ThreadPoolTaskRunner(2))] == [
        "ConcurrentTaskRunner(limit=4)",
        "ThreadPoolTaskRunner(max_workers=2)",
    ]
    assert (ThreadPoolTaskRunner(2).max_workers, ThreadPoolTaskRunner().max_workers) == (2, None)


@pytest.mark.parametrize("given", [{"durable": True, "durability": "strict"}, {"durable": False, "durability": "off"}])
def test_two_words_for_one_thing_may_both_be_given(given: Any) -> None:
    decorate: Any = flow
    assert decorate(**given)(body)() == 1


# -- with_options -------------------------------------------------------------------------------------------


def test_a_copy_keeps_what_is_not_named() -> None:
    copy = task(**TASK)(body).with_options(name="other")

    assert (copy.name, copy.description, copy.version, copy.tags) == ("other", "d", "v", frozenset({"t"}))
    assert (copy.retries, copy.timeout_seconds, copy.fn) == (2, 60.0, body)
    assert copy.spec.options["task_run_name"] == "r"


def test_a_copy_leaves_the_original_alone(form: Form, record: Record) -> None:
    @form.task(name="first", retries=1, tags=["a"])
    async def work() -> None: ...

    copy = work.with_options(name="second", retries=0, tags=["b"])
    form.run(work)
    form.run(copy)

    assert (work.name, work.retries, copy.retries) == ("first", 1, 0)
    assert [(run.task_name, run.tags) for run in record.task_runs()] == [("first", ("a",)), ("second", ("b",))]


def test_none_goes_back_to_the_default() -> None:
    copy = task(**TASK)(body).with_options(**dict.fromkeys(TASK))

    assert (copy.name, copy.description, copy.version, copy.tags) == ("body", "Give x.", None, frozenset())
    assert (copy.retries, copy.timeout_seconds) == (0, None)
    assert not any(copy.spec.hooks.values())
    assert copy.spec.options == {}


def test_empty_tags_take_the_tags_away() -> None:
    assert task(tags=["a"])(body).with_options(tags=[]).tags == frozenset()


def test_a_copy_has_the_hooks_but_not_those_added_later(form: Form) -> None:
    story: list[str] = []

    def noting(word: str) -> Any:
        def note(*_: Any) -> None:
            story.append(word)

        return note

    @form.task(on_completion=[noting("given")])
    async def work() -> None: ...

    work.on_completion(noting("added"))
    copy = work.with_options(name="copy")
    replaced = work.with_options(on_completion=[noting("other")])
    work.on_completion(noting("late"))
    copy.on_completion(noting("of the copy"))

    form.run(copy)
    assert story == ["given", "added", "of the copy"]
    story.clear()
    form.run(replaced)
    assert story == ["other"]
    story.clear()
    form.run(work)
    assert story == ["given", "added", "late"]


def test_a_copy_of_a_copy_remembers_what_was_given() -> None:
    first = flow(name="a", retries=3)(body)

    assert first.with_options(name="b").with_options(retries=None).with_options(version="1").name == "b"
    assert first.with_options(retries=None).retries == 0


def test_a_copys_wrong_options_are_refused_in_its_words() -> None:
    with pytest.raises(OptionError, match="retries of task 'body' is -1"):
        task(body).with_options(retries=-1)


def test_retries_of_zero_are_respected_by_a_copy(form: Form) -> None:
    calls: list[int] = []

    @form.flow(retries=5)
    async def fails() -> None:
        calls.append(1)
        raise ValueError

    form.run(fails.with_options(retries=0), return_state=True)

    assert calls == [1]


@pytest.mark.parametrize(
    ("durability", "levels"), [(None, ["batched", "batched"]), ("off", []), ("strict", ["strict"] * 2)]
)
def test_a_subflow_is_as_durable_as_its_flow(
    form: Form, record: Record, durability: str | None, levels: list[str]
) -> None:
    @form.flow()
    async def inner() -> None: ...

    @form.flow(durability=durability)
    async def outer() -> None:
        await call(inner)

    form.run(outer)

    assert [run.durability for run in record.flow_runs()] == levels
