"""Both airports pipelines, run once each, and the examples' own modules within reach of the tests."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.examples.running import ROOT, Finished, run_example

# A script finds the modules beside it; so must its tests.
sys.path.insert(0, str(ROOT / "examples"))


@pytest.fixture(scope="session")
def run_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Finished]:
    """Run a script the first time it is asked for; later askers get the same finished run."""
    finished: dict[str, Finished] = {}

    def run(script: str) -> Finished:
        if script not in finished:
            finished[script] = run_example(script, tmp_path_factory.mktemp(Path(script).stem))
        return finished[script]

    return run


@pytest.fixture(params=["airports.py", "airports_async.py"])
def finished(request: pytest.FixtureRequest, run_once: Callable[[str], Finished]) -> Finished:
    """The sync pipeline and the async one, finished."""
    return run_once(request.param)
