"""What people coming from elsewhere look for and do not find: refused by its name, with what to do today."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
import subprocess
import sys
from typing import Any

import pytest

import headrace
from headrace import Flow, Task, flow, task
from headrace._model.later import ATTRIBUTES, NAMES, OPTIONS
from headrace._model.options import FlowOptions, TaskOptions, checks
from headrace.errors import OptionTypeError


@task
def step(x: int) -> int:
    """Give x."""
    return x


@flow
def whole(x: int) -> int:
    return step(x)


def imported(name: str) -> None:
    exec(f"from headrace import {name}", {})


# -- options ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_of_a_later_time_is_refused_by_name_with_what_to_do_today(option: str) -> None:
    decorate: Any
    for decorate, sign in ((task, "@task"), (flow, "@flow")):
        with pytest.raises(OptionTypeError) as caught:
            decorate(**{option: None})(len)
        kind = sign[1:]
        assert str(caught.value) == f"{sign} has no option {option!r} (given for {kind} 'len') yet. {OPTIONS[option]}"


def test_an_option_of_a_later_time_is_refused_by_a_copy_as_well() -> None:
    copied: Any = step.with_options
    with pytest.raises(OptionTypeError, match=r"'viz_return_value' .* yet\. Flows are not drawn"):
        copied(viz_return_value=1)


def test_nothing_that_is_there_is_said_to_come_later() -> None:
    there = {name for one in (Flow, Task) for name in dir(one)}

    assert not OPTIONS.keys() & (checks(TaskOptions).keys() | checks(FlowOptions).keys())
    assert not ATTRIBUTES.keys() & there
    assert not NAMES.keys() & set(headrace.__all__)


# -- attributes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ATTRIBUTES)
@pytest.mark.parametrize("one", [step, whole])
def test_an_attribute_of_a_later_time_says_what_to_do_today(one: Any, name: str) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(one, name)

    assert str(caught.value) == f"{one.kind.title()}s have no {name} yet. {ATTRIBUTES[name]}"
    assert not hasattr(one, name)


def test_a_call_of_a_method_of_a_later_time_says_what_to_do_today() -> None:
    anything: Any = step
    with pytest.raises(AttributeError, match=r"^Tasks have no delay yet\. There are no workers\. Call the task in a"):
        anything.delay(1)


def test_a_bound_method_says_the_same() -> None:
    class Client:
        @task
        def get(self) -> None: ...

    bound: Any = Client().get
    with pytest.raises(AttributeError, match="Tasks have no serve yet"):
        _ = bound.serve


@pytest.mark.parametrize("name", ["colour", "__wrapped_by__", "__deepcopy__", "_is_coroutine_mark"])
def test_an_unknown_attribute_is_pythons_own_error(name: str) -> None:
    with pytest.raises(AttributeError) as caught:
        getattr(step, name)

    assert str(caught.value) == f"'Task' object has no attribute '{name}'"
    assert (caught.value.name, caught.value.obj) == (name, step)


def test_a_half_made_object_has_no_attribute_instead_of_an_endless_search() -> None:
    with pytest.raises(AttributeError, match="no attribute 'spec'"):
        _ = object.__new__(Task).spec


def test_pickle_copy_and_inspect_see_what_they_saw() -> None:
    assert pickle.loads(pickle.dumps(step)) is step  # noqa: S301 - our own bytes
    assert copy.copy(step) is step
    assert copy.deepcopy(whole) is whole
    assert inspect.unwrap(step) is step.fn
    assert str(inspect.signature(step)) == "(x: 'int') -> 'int'"
    assert inspect.getdoc(step) == "Give x."
    assert not inspect.iscoroutinefunction(step)
    assert "delay" not in {name for name, _ in inspect.getmembers(step)}


# -- names of the package -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_a_later_time_says_what_to_do_today(name: str) -> None:
    with pytest.raises(AttributeError) as asked:
        getattr(headrace, name)
    with pytest.raises(ImportError) as brought:
        imported(name)

    assert str(asked.value) == f"module 'headrace' has no attribute {name!r} yet. {NAMES[name]}"
    assert str(brought.value) == f"cannot import name {name!r} from 'headrace' yet. {NAMES[name]}"
    assert not hasattr(headrace, name)


def test_a_mistyped_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(AttributeError, match=r"^module 'headrace' has no attribute 'flwo'; did you mean 'flow'\?$"):
        _ = headrace.flwo
    with pytest.raises(ImportError, match=r"^cannot import name 'taks' from 'headrace'; did you mean 'task'\?$"):
        imported("taks")
    with pytest.raises(ImportError, match=r"^cannot import name 'zzz' from 'headrace'\.$"):
        imported("zzz")


@pytest.mark.parametrize("name", ["__wrapped__", "__file_name__", "_private"])
def test_a_name_with_an_underscore_is_pythons_own_error(name: str) -> None:
    with pytest.raises(AttributeError, match=f"^module 'headrace' has no attribute '{name}'$"):
        getattr(headrace, name)


def test_modules_are_imported_by_name_as_ever() -> None:
    program = (
        "from headrace import context, states, tasks, testing\n"
        "import headrace, doctest, inspect\n"
        "assert not hasattr(headrace, 'errands')\n"
        "inspect.getmembers(headrace)\n"
        "assert doctest.testmod(headrace).failed == 0\n"
        "print(context.__name__, states.__name__, tasks.__name__, testing.__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.stdout == "headrace.context headrace.states headrace.tasks headrace.testing\n", done.stderr


def test_a_module_that_is_there_but_not_imported_is_not_said_to_be_mistyped() -> None:
    assert importlib.import_module("headrace.sync")
    program = "import headrace\ntry:\n    headrace.sync\nexcept AttributeError as error:\n    print(error)\n"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.stdout == "module 'headrace' has no attribute 'sync'\n", done.stderr
