"""What the first line of every program must not load, and what a run may not load before it is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import headrace

UNLOADED = [
    "aiofiles",
    "aiosqlite",
    "anyio",
    "asyncio",
    "cattrs",
    "click",
    "concurrent.futures",
    "dataclasses",
    "decimal",
    "email",
    "headrace._office",
    "headrace._stores",
    "headrace._telemetry",
    "headrace.cli",
    "headrace.settings",
    "headrace.testing",
    "http",
    "json",
    "multiprocessing",
    "opentelemetry",
    "orjson",
    "pathlib",
    "pydantic",
    "random",
    "rich",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "tempfile",
    "urllib",
    "uuid",
]
FIRST_LINE = "from headrace import flow, task"
SYNC_RUN = f"""
{FIRST_LINE}

@task
def step(x: int) -> int:
    return x

@flow
def pipeline(x: int) -> int:
    return step(x)

pipeline(1)
"""
CONVERTING_RUN = SYNC_RUN.replace("pipeline(1)", "pipeline('1')")


def loaded(folder: Path, program: str) -> set[str]:
    """The modules in a process of its own after *program*."""
    text = f"{program}\nimport sys\nfound = sorted(sys.modules)\nimport json\nprint(json.dumps(found))"
    source = str(Path(headrace.__file__).parents[1])
    env = {**os.environ, "HEADRACE_HOME": str(folder), "PYTHONPATH": source, "HEADRACE_LOG_LEVEL": "OFF"}
    done = subprocess.run([sys.executable, "-c", text], env=env, capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def found(modules: set[str], unwanted: list[str]) -> list[str]:
    return sorted(name for name in unwanted if name in modules)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What Python itself has loaded here before any program."""
    return loaded(tmp_path_factory.mktemp("bare"), "")


def test_the_first_line_loads_nothing_that_only_some_programs_need(tmp_path: Path, bare: set[str]) -> None:
    assert found(loaded(tmp_path, FIRST_LINE) - bare, UNLOADED) == []


def test_the_first_line_adds_few_modules(tmp_path: Path, bare: set[str]) -> None:
    added = loaded(tmp_path, FIRST_LINE) - bare

    # Seven are for `submit`, `map` and `stream` alone, and take 5 of the 90 ms: tasks have them as methods. What
    # keeps results is not among them, but for its errors and ports.
    assert len([name for name in added if name.startswith("headrace")]) <= 59
    assert len(added) <= 137, sorted(added)


def test_a_plain_sync_run_loads_no_loop_library_no_tracing_and_no_converter(tmp_path: Path, bare: set[str]) -> None:
    unwanted = ["anyio", "cattrs", "click", "opentelemetry", "pydantic", "rich", "headrace.cli", "headrace.testing"]

    assert found(loaded(tmp_path, SYNC_RUN) - bare, unwanted) == []


def test_the_converter_comes_with_the_first_value_that_does_not_fit(tmp_path: Path, bare: set[str]) -> None:
    modules = loaded(tmp_path, CONVERTING_RUN) - bare

    assert "cattrs" in modules
    assert found(modules, ["pydantic", "opentelemetry", "rich"]) == []


def test_the_package_itself_loads_nothing_of_ours(tmp_path: Path, bare: set[str]) -> None:
    added = loaded(tmp_path, "import headrace") - bare

    assert [name for name in added if name.startswith("headrace.")] == []
    assert found(added, UNLOADED) == []
