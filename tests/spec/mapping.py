"""Tasks to map with, and a map in a flow of its own. Knows how to call, not what to expect."""

from __future__ import annotations

from typing import Any

from tests.spec.forms import Form


class Tasks:
    """Tasks of one form to map with."""

    def __init__(self, inner: Form) -> None:
        async def give(*args: Any, **kwargs: Any) -> Any:
            return (*args, *kwargs.items())

        async def one(x: Any) -> Any:
            return x

        async def odd(x: int) -> int:
            if x % 2 == 0:
                raise ValueError(x)
            return x

        self.give = inner.task(name="give")(give)
        self.one = inner.task(name="one")(one)
        self.odd = inner.task(name="odd")(odd)


def mapped(form: Form, callee: Any, *args: Any, **kwargs: Any) -> Any:
    """Give the results of a map in a flow of its own."""

    async def body() -> Any:
        return await form.got(callee.map(*args, **kwargs))

    return form.in_flow(body)
