"""The reference leaves nothing out: each option, setting, error and state stands in a table of its page."""

from __future__ import annotations

import inspect
import re
from typing import Any, cast, get_type_hints

import attrs
import pytest

from headrace import Flow, Runtime, Task, aio, errors, futures, runtime, states, task_runners
from headrace._model.annotations import Annotation
from headrace._model.options import FlowOptions, RunOptions, TaskOptions
from headrace._model.states import StateType
from headrace.settings import Settings
from headrace.streams import DEFAULTS
from tests.docs.pages import ROOT

REFERENCE = ROOT / "docs" / "reference"
SHARED = get_type_hints(RunOptions).keys()
SUBMITTING = "futures-and-runners.md"


def section(page: str, heading: str) -> str:
    """The text of *page* under *heading*, as far as the next heading; all of it where no heading is given."""
    text = (REFERENCE / page).read_text(encoding="utf-8")
    return text if not heading else text.partition(f"\n{heading}\n")[2].partition("\n#")[0]


def rows(page: str, heading: str = "") -> set[str]:
    """What stands in code signs in the first column of the tables there."""
    first = re.findall(r"^\| (`[^|]+) \|", section(page, heading), re.MULTILINE)
    return {word for cell in first for word in re.findall(r"`([^`]+)`", cell)}


def public(kind: type[Any]) -> set[str]:
    """What users may touch of *kind*, where it says so itself; not what it inherits."""
    return {name for name in vars(kind) if not name.startswith("_")}


def spelled(name: str, called: Any) -> str:
    """*name* as a reference writes it: an attribute alone, a function with its parameters and their defaults."""
    if isinstance(called, property):
        return name
    given = [one for one in inspect.signature(called).parameters.values() if one.name != "self"]
    told = (one.name if one.default is one.empty else f"{one.name}={one.default!r}" for one in given)
    return f"{name}({', '.join(told)})"


def constructors() -> set[str]:
    return {name for name in states.__all__ if name[0].isupper()} - {"State", "StateType"}


@pytest.mark.parametrize(
    ("heading", "options"),
    [
        ("### Of flows and tasks", SHARED),
        ("### Of tasks only", get_type_hints(TaskOptions).keys() - SHARED),
        ("### Of flows only", get_type_hints(FlowOptions).keys() - SHARED),
    ],
)
def test_each_option_has_its_row_and_no_row_is_of_an_unknown_option(heading: str, options: set[str]) -> None:
    assert rows("flows-and-tasks.md", heading) == set(options)


def test_each_setting_has_its_row_beside_its_variable() -> None:
    written = re.findall(r"^\| `(\w+)` \| `HEADRACE_(\w+)` \|$", section("settings.md", ""), re.MULTILINE)

    assert sorted(written) == sorted((field.name, field.name.upper()) for field in attrs.fields(Settings))


def test_each_variable_that_is_read_has_its_row_and_no_other() -> None:
    source = (ROOT / "src" / "headrace" / "settings.py").read_text(encoding="utf-8")

    assert {name for name in rows("settings.md") if name.startswith("HEADRACE_")} == set(
        re.findall(r'"(HEADRACE_\w+)"', source)
    )


def test_each_error_has_its_row_and_no_row_is_of_an_unknown_error() -> None:
    assert rows("errors.md") == set(errors.__all__) - {"HeadraceError"}


def test_what_an_error_also_is_stands_in_its_row() -> None:
    written = re.findall(r"^\| `(\w+)` \|(?: `(\w+)`)? \|", section("errors.md", ""), re.MULTILINE)
    bases = {name: [base.__name__ for base in getattr(errors, name).__bases__] for name, _ in written}

    assert {name: base or "HeadraceError" for name, base in written} == {
        name: next((base for base in found if base != "HeadraceError"), "HeadraceError")
        for name, found in bases.items()
    }


def test_each_constructor_of_states_has_its_row_and_no_row_is_of_another() -> None:
    assert rows("states.md", "## Constructors") == constructors()


def test_a_constructor_makes_the_type_and_name_of_its_row() -> None:
    written = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (?:`(\w+)` )?\|", section("states.md", "## Constructors"), re.M)

    assert written
    for constructor, kind, name in written:
        made = getattr(states, constructor)()
        assert (made.type.value, made.name) == (kind, name or kind.title())


def test_each_type_of_state_has_its_row() -> None:
    assert {name for name in rows("states.md") if name in set(StateType)} == set(StateType)


def test_each_predicate_of_a_state_is_named() -> None:
    page = section("states.md", "## State")

    assert not [name for name in dir(states.State) if name.startswith("is_") and f"`{name}()`" not in page]


@pytest.mark.parametrize("subject", ["flow_run", "task_run", "deployment"])
def test_each_attribute_of_the_runtime_context_has_its_row_and_no_row_is_of_another(subject: str) -> None:
    assert rows("runtime-context.md", f"## {subject}") == set(dir(getattr(runtime, subject)))


def test_each_attribute_of_a_future_has_its_row_with_its_defaults() -> None:
    own = {spelled(name, getattr(futures.Future, name)) for name in public(futures.Future)}

    assert rows(SUBMITTING, "## Future") == own | {"name", "state"}


def test_each_way_to_wait_for_a_list_of_futures_has_its_row() -> None:
    own = {spelled(name, getattr(futures.FutureList, name)) for name in public(futures.FutureList) - {"promises"}}

    assert rows(SUBMITTING, "## FutureList") == own


def test_each_function_on_futures_has_its_row_and_each_of_its_awaitable_forms_is_named() -> None:
    functions = {name for name in futures.__all__ if inspect.isfunction(getattr(futures, name))}
    text = section(SUBMITTING, "## Functions")

    assert rows(SUBMITTING, "## Functions") == {spelled(name, getattr(futures, name)) for name in functions}
    assert not [name for name in aio.__all__ if f"`{name}`" not in text.partition("`headrace.aio`")[2]]


def test_each_annotation_has_its_row() -> None:
    written = {row.partition("(")[0] for row in rows(SUBMITTING, "## Annotations")}
    kinds: list[type[Any]] = cast("Any", Annotation).__subclasses__()

    assert written == {kind.__name__ for kind in kinds}


def test_each_runner_has_its_row_with_its_defaults() -> None:
    runners = {spelled(name, getattr(task_runners, name)) for name in task_runners.__all__}

    assert rows(SUBMITTING, "## Runners") == runners


def test_each_argument_and_method_of_a_runtime_has_its_row() -> None:
    written = {row.partition("(")[0] for row in rows(SUBMITTING, "## Runtime")}

    assert written == set(inspect.signature(Runtime).parameters) | public(Runtime)


def test_each_keyword_of_submit_map_and_stream_has_its_row_with_its_default() -> None:
    written = rows("flows-and-tasks.md", "## Submit, map, stream")
    keywords = dict(row.split("=") for row in written if "=" in row)

    assert keywords.keys() == DEFAULTS.keys()
    assert [keywords["limit"], keywords["ordered"]] == [str(DEFAULTS["limit"]), str(DEFAULTS["ordered"])]
    assert {row for row in written if "(" in row} == {"submit(...)", "map(...)", "stream(...)"}


@pytest.mark.parametrize("kind", [Flow, Task])
def test_each_attribute_of_flows_and_tasks_is_named(kind: type[Any]) -> None:
    named = set(re.findall(r"`(\w+)[`(]", section("flows-and-tasks.md", "")))

    assert public(kind) - {"kind"} <= named
