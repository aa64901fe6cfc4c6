"""The shape of our own house; and that each check notices a breach, by showing it a house that has one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.budget.shape import FILE_LINES, House

ROOT = Path(__file__).parents[2]
OURS = House(ROOT / "src" / "headrace")
SIGN = '"""A room."""\n'


def built(folder: Path, **files: str) -> House:
    """A house called `inn`; `_model__ids` becomes _model/ids.py."""
    for name, text in {"__init__": SIGN, **files}.items():
        path = folder / "inn" / (name.replace("__", "/") if not name.startswith("__") else name)
        path = path.with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return House(folder / "inn")


def test_our_files_are_short() -> None:
    assert OURS.large_files() + OURS.large_median() == []


@pytest.mark.parametrize("folder", ["tests", "benchmarks", "examples"])
def test_the_files_around_the_house_are_short_too(folder: str) -> None:
    files = (ROOT / folder).rglob("*.py")

    assert [path for path in files if len(path.read_text("utf-8").splitlines()) > FILE_LINES] == []


def test_our_functions_fit_on_a_screen() -> None:
    assert OURS.long_functions() == []


def test_no_module_of_ours_imports_itself_by_a_detour() -> None:
    assert OURS.rings() == []


def test_our_imports_inside_functions_stand_at_the_named_doors() -> None:
    assert OURS.hidden_imports() == []


def test_no_room_of_ours_enters_by_the_front_door() -> None:
    assert OURS.front_door_users() == []


def test_every_module_of_ours_says_what_lives_there() -> None:
    assert OURS.signless_doors() == []


def test_our_model_never_asks_the_clock() -> None:
    assert OURS.clocks_in_the_model() == []


def test_a_large_file_is_noticed(tmp_path: Path) -> None:
    assert len(built(tmp_path, a=SIGN + "x = 1\n" * FILE_LINES).large_files()) == 1


def test_a_house_of_middling_files_is_noticed(tmp_path: Path) -> None:
    house = built(tmp_path, **dict.fromkeys("abc", SIGN + "x = 1\n" * 200))

    assert house.large_median() == ["the median file has 201 lines, 140 at most"]


def test_a_long_function_is_noticed(tmp_path: Path) -> None:
    house = built(tmp_path, a="async def f():\n" + "    x = 1\n" * 60)

    assert house.long_functions() == ["inn.a.f: 61 lines, 60 at most"]


@pytest.mark.parametrize(
    "second",
    [
        "from inn import a\n",
        "import inn.a\n",
        "from inn.a import x\n",
        "from . import a\n",
        "from .a import x\n",
        "def f():\n    from inn.a import x\n",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from inn.a import x\n",
    ],
)
def test_a_ring_is_noticed_however_it_is_closed(tmp_path: Path, second: str) -> None:
    house = built(tmp_path, a="from inn import b\n", b=second)

    assert len(house.rings()) == 1


def test_a_hidden_import_is_noticed_except_at_a_door(tmp_path: Path) -> None:
    hidden = "def f():\n    from inn import a\n"

    house = built(tmp_path, a=SIGN, b=hidden, _runtime=hidden, cli__run=hidden)

    assert house.hidden_imports() == ["inn.b.f imports inn.a inside the function"]


def test_a_room_that_enters_by_the_front_door_is_noticed(tmp_path: Path) -> None:
    house = built(tmp_path, _engine__life="from inn import flow\n", cli__run="from inn import flow\n")

    assert [line.split()[0] for line in house.front_door_users()] == ["inn._engine.life"]


def test_a_module_without_a_sign_is_noticed(tmp_path: Path) -> None:
    assert len(built(tmp_path, a="x = 1\n").signless_doors()) == 1


def test_a_clock_in_the_model_is_noticed_and_elsewhere_allowed(tmp_path: Path) -> None:
    clock = "import datetime\nx = datetime.datetime.now()\n"

    house = built(tmp_path, _model__states=clock, _hosts__loop=clock)

    assert [line.split()[0] for line in house.clocks_in_the_model()] == ["inn._model.states:2"]


def test_a_folder_without_a_house_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no Python files"):
        House(tmp_path)
