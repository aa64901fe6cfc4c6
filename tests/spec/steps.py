"""Tasks that are handed what others came to. Known to the tests of arguments and of upstreams."""

from __future__ import annotations

from typing import Any, Final

from tests.spec.forms import Form

BOOM: Final = RuntimeError("boom")


class Steps:
    """Tasks of one form: one that gives its argument, one that fails, and one that tells what it was handed."""

    def __init__(self, inner: Form) -> None:
        self.handed: list[Any] = []

        async def one(x: Any = 1) -> Any:
            return x

        async def bad() -> None:
            raise BOOM

        async def take(*args: Any, **kwargs: Any) -> int:
            self.handed.append((args, kwargs) if kwargs else args[0] if len(args) == 1 else args)
            return len(self.handed)

        self.one = inner.task(name="one")(one)
        self.bad = inner.task(name="bad")(bad)
        self.take = inner.task(name="take")(take)
