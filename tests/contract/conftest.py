"""Fixtures of the contracts: each test runs once for each that has to keep it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from headrace._ports import Store
from tests.contract.stores import STORES


@pytest.fixture(params=sorted(STORES))
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """Give an empty store that is open."""
    made = STORES[request.param](tmp_path, lambda: request.getfixturevalue("postgresql"))
    await made.open()
    yield made
    await made.close()
