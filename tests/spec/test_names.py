"""Names, descriptions and versions of flows and tasks, and the names of their runs."""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Callable
from typing import Any

import pytest

from headrace import flow, task
from headrace.errors import InvalidNameError, OptionError, OptionTypeError, RunNameError
from tests.spec.forms import Form, Record, call

TWO_WORDS = re.compile(r"[a-z]+-[a-z]+")
Lines = Callable[[], list[str]]


class Adder:
    """Adds."""

    def __call__(self, x: int) -> int:
        return x + 1


def load_rows(day: str = "monday") -> str:
    """
    Load the rows.

        Of one day.
    """
    return day


def test_a_task_is_named_like_its_function() -> None:
    assert task(load_rows).name == "load_rows"


def test_a_flow_is_named_like_its_function_with_dashes() -> None:
    assert flow(load_rows).name == "load-rows"


@pytest.mark.parametrize("decorate", [task, flow])
def test_a_given_name_is_kept_as_it_is(decorate: Any) -> None:
    assert decorate(name="My Pipeline 2: fast_one")(load_rows).name == "My Pipeline 2: fast_one"


@pytest.mark.parametrize(
    ("fn", "name"),
    [
        (lambda: 1, "unknown-lambda"),
        (functools.partial(load_rows, "tuesday"), "load_rows"),
        (functools.partial(functools.partial(load_rows), "tuesday"), "load_rows"),
        (Adder(), "Adder"),
        (len, "len"),
    ],
)
def test_what_has_no_def_of_its_own_is_named_all_the_same(fn: Any, name: str) -> None:
    decorate: Any
    for decorate, expected in ((task, name), (flow, name.replace("_", "-"))):
        assert decorate(fn).name == expected


@pytest.mark.parametrize("sign", list("/%&><"))
@pytest.mark.parametrize("decorate", [task, flow])
def test_a_name_with_a_sign_of_paths_and_urls_is_refused(decorate: Any, sign: str) -> None:
    with pytest.raises(InvalidNameError, match=re.escape(f"'my{sign}name' holds one of / % & > <")):
        decorate(name=f"my{sign}name")(load_rows)


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_name_is_refused(empty: str) -> None:
    with pytest.raises(OptionError, match="name of task 'load_rows' is empty"):
        task(name=empty)(load_rows)


def test_a_function_given_as_a_name_is_refused_with_a_guess() -> None:
    wrong_flow: Any = flow
    with pytest.raises(OptionTypeError, match=r"name of flow 'load_rows' must be a string.*meant to call it\?"):
        wrong_flow(name=load_rows)(load_rows)


def test_the_description_is_the_docstring_without_its_indentation() -> None:
    assert task(load_rows).description == "Load the rows.\n\n    Of one day."
    assert flow(functools.partial(load_rows, "x")).description == "Load the rows.\n\n    Of one day."


def test_a_given_description_wins_over_the_docstring() -> None:
    assert flow(description="Rows.")(load_rows).description == "Rows."


def test_the_version_of_a_flow_is_recorded_with_its_run(form: Form, record: Record) -> None:
    @form.flow(version="2024.1")
    async def versioned() -> None: ...

    form.run(versioned)

    assert (versioned.version, record.flow_run().flow_version) == ("2024.1", "2024.1")


def test_a_flow_run_is_named_by_two_words(form: Form, record: Record) -> None:
    @form.flow()
    async def pipeline() -> None: ...

    for _ in range(2):
        form.run(pipeline)

    first, second = (run.name for run in record.flow_runs())
    assert TWO_WORDS.fullmatch(first)
    assert TWO_WORDS.fullmatch(second)
    assert first != second


def test_a_task_run_in_a_flow_is_named_by_its_task_and_three_hexadecimal_digits(form: Form, record: Record) -> None:
    @form.task()
    async def fetch() -> None: ...

    @form.flow()
    async def pipeline() -> None:
        for _ in range(11):
            await call(fetch)

    form.run(pipeline)

    names = [run.name for run in record.task_runs()]
    assert len(set(names)) == 11
    assert all(re.fullmatch("fetch-[0-9a-f]{3}", name) for name in names)


def test_a_task_run_outside_flows_is_named_like_its_task(form: Form, record: Record) -> None:
    @form.task()
    async def fetch() -> None: ...

    form.run(fetch)

    assert record.task_run().name == "fetch"


def test_a_run_name_is_made_of_parameters_and_defaults(form: Form, kind: str, record: Record) -> None:
    @form.decorate(kind, **{f"{kind}_run_name": "load {city} of {date:%A} as {shape!r:>6}"})
    async def load(city: str, date: dt.date, shape: str = "a") -> None: ...

    form.run(load, "Oslo", date=dt.date(2024, 5, 20))

    (run,) = record.flow_runs() or record.task_runs()
    assert run.name == "load Oslo of Monday as    'a'"


def test_a_run_name_knows_what_a_signature_gathers(form: Form, kind: str, record: Record) -> None:
    @form.decorate(kind, **{f"{kind}_run_name": "{args[1]} and {extra}"})
    async def load(*args: int, **kwargs: int) -> None: ...

    form.run(load, 1, 2, extra=3)

    (run,) = record.flow_runs() or record.task_runs()
    assert run.name == "2 and 3"


def test_a_run_name_may_come_from_a_callable(form: Form, kind: str, record: Record) -> None:
    @form.decorate(kind, **{f"{kind}_run_name": lambda: "named by a callable"})
    async def load(city: str) -> None: ...

    form.run(load, "Oslo")

    (run,) = record.flow_runs() or record.task_runs()
    assert run.name == "named by a callable"


def test_a_callable_with_a_place_for_them_is_handed_the_parameters(form: Form, kind: str, record: Record) -> None:
    def named(parameters: dict[str, Any]) -> str:
        return f"{parameters['city']} x {parameters['times']}"

    @form.decorate(kind, **{f"{kind}_run_name": named})
    async def load(city: str, times: int = 2) -> None: ...

    form.run(load, "Oslo")

    (run,) = record.flow_runs() or record.task_runs()
    assert run.name == "Oslo x 2"


def test_a_run_name_of_a_method_knows_no_self(record: Record) -> None:
    class Loader:
        @task(task_run_name=lambda parameters: ",".join(parameters))
        def load(self, city: str) -> None: ...

        @flow(flow_run_name=lambda parameters: ",".join(parameters))
        def all(self, city: str) -> None:
            self.load(city)

    Loader().all("Oslo")

    assert record.flow_run().name == "city"
    assert record.task_run().name == "city"
    assert record.flow_run().parameters == {"city": "Oslo"}


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ("{town}", r"_run_name '\{town\}' of \w+ 'load' failed with KeyError: 'town'.*It can use the parameters city"),
        ("{city.mayor}", "failed with AttributeError"),
        ("{city:%d%d}", "failed with ValueError"),
        ("{", "failed with ValueError"),
        (lambda: 1 / 0, "failed with ZeroDivisionError"),
        (lambda: 7, "gave 7; it must give a string"),
    ],
)
def test_a_failing_run_name_fails_the_run_with_a_sentence(
    form: Form, kind: str, record: Record, wanted: Any, sentence: str
) -> None:
    entered: list[str] = []

    @form.decorate(kind, **{f"{kind}_run_name": wanted})
    async def load(city: str) -> None:
        entered.append(city)

    with pytest.raises(RunNameError, match=sentence):
        form.run(load, "Oslo")

    (run,) = record.flow_runs() or record.task_runs()
    assert (run.state.name, entered) == ("Failed", [])


def test_what_is_no_template_and_cannot_be_called_is_refused_at_decoration(kind: str) -> None:
    decorate: Any = task if kind == "task" else flow
    with pytest.raises(OptionTypeError, match=f"{kind}_run_name of {kind} 'load_rows' must be a template string or a"):
        decorate(**{f"{kind}_run_name": 5})(load_rows)


def test_the_first_line_names_the_run_and_the_flow(form: Form, record: Record, said: Lines) -> None:
    @form.flow(name="inner", flow_run_name="low")
    async def inner() -> None: ...

    @form.flow(name="My Pipeline", flow_run_name="high")
    async def outer() -> None:
        await call(inner)

    form.run(outer)

    assert said() == [
        "INFO | headrace.engine - Created flow run 'high' for flow 'My Pipeline'",
        "INFO | headrace.engine - Created subflow run 'low' for flow 'inner'",
        "INFO | Flow run 'low' - Finished in state Completed()",
        "INFO | Flow run 'high' - Finished in state Completed()",
    ]
