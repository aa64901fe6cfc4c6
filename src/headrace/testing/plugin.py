"""
The pytest plugin: fixtures, and nothing at start. It is loaded in every test run where Headrace is installed.

The testing kit, and with it the engine, is imported when a test asks for a fixture.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

from headrace import testing

if TYPE_CHECKING:
    from headrace.testing.harness import Harness
    from headrace.testing.virtual import VirtualTime


@pytest.fixture
def headrace_harness() -> Generator[Harness, None, None]:
    """Runs in memory with a home of their own, and what was recorded of them."""
    with testing.headrace_test_harness() as harness:
        yield harness


@pytest.fixture
def headrace_virtual_time() -> Generator[VirtualTime, None, None]:
    """Retry delays, time-outs and asyncio's timers that pass at once, and the clock that they go by."""
    with testing.virtual_time() as clock:
        yield clock
