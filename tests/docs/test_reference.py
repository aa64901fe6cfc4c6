"""The reference leaves nothing out: each option, setting, error and state stands in a table of its page."""

from __future__ import annotations

import re
from typing import get_type_hints

import attrs
import pytest

from headrace import errors, runtime, states
from headrace._model.options import FlowOptions, RunOptions, TaskOptions
from headrace._model.states import StateType
from headrace.settings import Settings
from tests.docs.pages import ROOT

REFERENCE = ROOT / "docs" / "reference"
SHARED = get_type_hints(RunOptions).keys()


def section(page: str, heading: str) -> str:
    """The text of *page* under *heading*, as far as the next heading; all of it where no heading is given."""
    text = (REFERENCE / page).read_text(encoding="utf-8")
    return text if not heading else text.partition(f"\n{heading}\n")[2].partition("\n#")[0]


def rows(page: str, heading: str = "") -> set[str]:
    """What stands in code signs in the first column of the tables there."""
    first = re.findall(r"^\| (`[^|]+) \|", section(page, heading), re.MULTILINE)
    return {word for cell in first for word in re.findall(r"`([^`]+)`", cell)}


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
