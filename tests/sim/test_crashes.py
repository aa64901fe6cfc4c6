"""
Flows drawn by seeds, crashed at a commit drawn by the seed, and resumed: they come to what plain Python says.

200 seeds, or with CHAOS=long, as `nox -s chaos -- long` sets it, 10,000. Seeds that failed once are kept, and always
tried.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from typing import Any

import pytest

from headrace.testing.crashes import WHEN, crashed
from tests.sim.programs import meaning, program, runs

SEEDS = 10_000 if os.environ.get("CHAOS") == "long" else 200
SHARES = 4
KEPT: tuple[int, ...] = ()


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def crash(seed: int) -> bool:
    """Crash the program of *seed* somewhere, and resume it; tell whether it really crashed."""
    nodes = program(seed)
    expected = ("returns", meaning(nodes))
    drawn = random.Random(-seed - 1)
    at, when = drawn.randrange(1, 30), drawn.choice(WHEN)
    while True:
        store = crashed(runs, lambda: asyncio.run(runs(nodes)), expected, at, when)
        if store.died or at == 1:
            return store.died
        at = max(1, at // 2)  # it has fewer commits


@pytest.mark.parametrize("share", range(SHARES))
def test_a_flow_that_crashed_anywhere_comes_to_what_it_means(share: int) -> None:
    seeds = [*KEPT[share::SHARES], *range(share, SEEDS, SHARES)]

    died = sum(crash(seed) for seed in seeds)

    assert died == len(seeds)
    print(f"{died} seeds, as many crashes")
