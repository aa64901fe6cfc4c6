"""`headrace.run`: what reaches the blocking caller."""

from __future__ import annotations

import pytest

from headrace import flow, run


@flow(durability="off")
async def failing() -> None:
    raise ValueError("no")


def test_an_exception_arrives_without_a_context_of_ours() -> None:
    """Tracebacks once began with 'RuntimeError: no running event loop', which was nobody's concern."""
    with pytest.raises(ValueError, match="no") as caught:
        run(failing())

    assert caught.value.__context__ is None
