"""What headrace.runtime says where the environment speaks for it, what it cannot tell, and where it is found."""

from __future__ import annotations

import datetime as dt
import pickle
import subprocess
import sys
from typing import Any, assert_type

import pytest

import headrace
from headrace._model.later import FACTS
from headrace.errors import SettingError
from headrace.runtime import deployment, flow_run, task_run
from tests.spec.forms import Form, Record

SUBJECTS: list[Any] = [flow_run, task_run, deployment]
EVERY_ONE = [(subject, name) for subject in SUBJECTS for name in dir(subject)]
GIVEN: dict[str, tuple[str, Any]] = {
    "tags": ("a, b,c", ["a", "b", "c"]),
    "parameters": ('{"day": "monday"}', {"day": "monday"}),
    "run_count": ("4", 4),
    "scheduled_start_time": ("2026-03-01T08:00:00Z", dt.datetime(2026, 3, 1, 8, tzinfo=dt.UTC)),
}


@pytest.mark.parametrize(("subject", "name"), EVERY_ONE)
def test_each_attribute_can_be_set_from_the_environment(
    subject: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, value = GIVEN.get(name, ("given", "given"))
    monkeypatch.setenv(f"HEADRACE__RUNTIME__{subject.subject.upper()}__{name.upper()}", written)

    assert getattr(subject, name) == value


def test_the_environment_goes_before_what_the_run_says(
    form: Form, record: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str | None] = []

    @form.flow()
    async def whole() -> None:
        seen.append(flow_run.name)
        monkeypatch.setenv("HEADRACE__RUNTIME__FLOW_RUN__NAME", "")
        seen.append(flow_run.name)

    monkeypatch.setenv("HEADRACE__RUNTIME__FLOW_RUN__NAME", "foo")
    form.run(whole)

    assert seen == ["foo", record.flow_run().name]


def test_a_moment_without_a_zone_is_in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE__RUNTIME__FLOW_RUN__SCHEDULED_START_TIME", "2026-03-01 08:00")

    assert flow_run.scheduled_start_time == dt.datetime(2026, 3, 1, 8, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("name", "written", "wanted"),
    [
        ("RUN_COUNT", "twice", "a whole number"),
        ("SCHEDULED_START_TIME", "tomorrow", "a moment such as 2026-03-01T08:00:00Z"),
        ("PARAMETERS", "day=monday", 'a JSON object such as {"day": "monday"}'),
        ("PARAMETERS", "[1]", 'a JSON object such as {"day": "monday"}'),
    ],
)
def test_a_value_of_another_type_is_refused_by_its_variable(
    name: str, written: str, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = f"HEADRACE__RUNTIME__FLOW_RUN__{name}"
    monkeypatch.setenv(variable, written)

    with pytest.raises(SettingError) as caught:
        getattr(flow_run, name.lower())

    assert str(caught.value) == f"{variable} is {written!r}; it must be {wanted}. Change or unset it."


# -- what is not there --------------------------------------------------------------------------------------


def test_an_unknown_attribute_is_answered_with_the_nearest() -> None:
    anything: Any = flow_run

    with pytest.raises(
        AttributeError, match=r"^headrace\.runtime\.flow_run has no 'flowname'; did you mean 'flow_name"
    ):
        _ = anything.flowname
    with pytest.raises(AttributeError, match=r"^headrace\.runtime\.flow_run has no 'zzz'\.$"):
        _ = anything.zzz


@pytest.mark.parametrize("name", FACTS)
def test_what_nothing_can_tell_yet_is_refused_with_what_to_do_today(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"HEADRACE__RUNTIME__FLOW_RUN__{name.upper()}", "given")

    with pytest.raises(AttributeError) as caught:
        getattr(flow_run, name)

    assert str(caught.value) == f"headrace.runtime.flow_run has no {name!r} yet. {FACTS[name]}"


@pytest.mark.parametrize(("subject", "name"), EVERY_ONE)
def test_nothing_can_be_assigned(subject: Any, name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(subject, name, None)


def test_the_three_say_what_they_are_and_cross_processes() -> None:
    assert repr(flow_run) == "<headrace.runtime.flow_run>"
    assert pickle.loads(pickle.dumps(flow_run)).id is None  # noqa: S301 - our own bytes
    assert type(flow_run).flow_version.__doc__ == "The flow's version, where it was given one."


# -- where it is found, and as which types ------------------------------------------------------------------


def test_the_package_gives_the_module_at_its_first_touch() -> None:
    program = (
        "import sys, headrace\n"
        "assert 'headrace.runtime' not in sys.modules\n"
        "print(headrace.runtime.flow_run.id, headrace.runtime is sys.modules['headrace.runtime'])\n"
        "from headrace import runtime\n"
        "print(runtime is headrace.runtime, 'runtime' in dir(headrace))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.stdout == "None True\nTrue True\n", done.stderr


def test_checkers_know_the_types() -> None:
    assert_type(headrace.runtime.flow_run.id, str | None)
    assert_type(flow_run.tags, list[str])
    assert_type(flow_run.scheduled_start_time, dt.datetime | None)
    assert_type(task_run.parameters, dict[str, Any])
    assert_type(task_run.run_count, int | None)
    assert_type(deployment.name, str | None)
