"""Large maps for the tests of their traces: a flow that maps a task, whatever becomes of its items."""

from __future__ import annotations

from typing import Any, Final

import headrace
from tests.spec.forms import Form

FEW: Final = 3  # the limit that such tests set
SLOWEST: Final = 10  # how many of the rest a trace shows


def mapped(form: Form, step: Any, items: int) -> Any:
    """Make a flow that maps *step* over so many items, whatever becomes of them."""

    @form.flow()
    async def work() -> None:
        if form.is_async:
            await settled(step.map(range(items)))
        else:
            step.map(range(items)).wait()

    return work


async def settled(futures: Any) -> None:
    """Wait for futures, whatever becomes of them."""
    async for _ in headrace.futures.as_completed(list(futures)):
        pass
