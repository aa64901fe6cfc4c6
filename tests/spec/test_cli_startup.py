"""What must not be loaded for the command line to start; what that takes is in the benchmarks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.cli.recorded import environment, record

HEAVY = ("rich", "asyncio", "sqlite3", "aiosqlite", "anyio", "attrs", "orjson", "opentelemetry", "cattrs", "pygments")
ONE_RUN = "from headrace import flow\n@flow(name='one')\ndef one(): pass\none()\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("startup") / "home"
    record(ONE_RUN, home)
    return home


def loaded(home: Path, *words: str) -> set[str]:
    """The modules that are loaded once *words* were spoken."""
    code = (
        "import sys\nfrom headrace.cli import headrace\n"
        f"headrace({list(words)!r}, standalone_mode=False)\nprint(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(home), capture_output=True, text=True, check=True
    )
    return set(done.stderr.split())


def test_the_version_is_said_without_loading_what_runs_flows(home: Path) -> None:
    modules = loaded(home, "version")

    assert "click" in modules
    assert modules & set(HEAVY) == set()


@pytest.mark.parametrize("words", [("flow-run", "ls"), ("flow-run", "inspect", "one-id")])
def test_runs_are_shown_without_rich_and_the_tracing_sdk(home: Path, words: tuple[str, ...]) -> None:
    from tests.unit.cli.recorded import Teller

    modules = loaded(home, *[Teller(home).id_of("one") if word == "one-id" else word for word in words])

    assert "sqlite3" in modules
    assert modules & {"rich", "cattrs", "pygments", "opentelemetry.sdk"} == set()
