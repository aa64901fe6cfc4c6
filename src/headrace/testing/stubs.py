"""Stubs: what tasks give in a test, in place of what they do."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from headrace._decorated import TASKS, Decorated
from headrace.errors import OptionError, OptionTypeError, nearest, short


@contextmanager
def stubbed(steps: Mapping[Any, Any]) -> Generator[None]:
    """
    Have tasks do something else inside the block.

    Args:
        steps: What each task does instead: by the task itself, its name, or its path, `module.function`. A function is
            called with the arguments of the call, and may be async where the task is; an exception is raised; any other
            value is returned.

    Raises:
        OptionError: There is no such task, or several have the name.
        OptionTypeError: A key is neither a task nor a text.
    """
    before: list[tuple[Any, Any]] = []
    try:
        for key, given in steps.items():
            task = found(key)
            before.append((task, task.spec.fn))
            task.spec.fn = stub(task, given)
            task.compile()
        yield
    finally:
        for task, fn in reversed(before):
            task.spec.fn = fn
            task.compile()


def found(key: Any) -> Any:
    """Give the task that *key* is, or names."""
    if isinstance(key, Decorated) and key.kind == "task":
        return key.spec.public
    if not isinstance(key, str):
        raise OptionTypeError(f"A stub is given by a task, or the name or path of one, not by {short(key)}.")
    known = [task for task in list(TASKS.values()) if key in {task.spec.name, task.spec.function_name}]
    if not known:
        names = sorted({task.spec.name for task in list(TASKS.values())})
        raise OptionError(f"There is no task {key!r}{nearest(key, names)}")
    if len(known) > 1:
        paths = ", ".join(sorted({task.spec.function_name for task in known}))
        raise OptionError(f"There are {len(known)} tasks {key!r}: {paths}. Give the path of one, or the task.")
    return known[0]


def stub(task: Any, given: Any) -> Any:
    """Give what stands for the function of *task*."""
    if isinstance(given, BaseException):

        def act(*_args: Any, **_kwargs: Any) -> Any:
            raise given
    elif callable(given):
        act = given
    else:

        def act(*_args: Any, **_kwargs: Any) -> Any:
            return given

    if not task.spec.is_async:
        return act

    async def awaited(*args: Any, **kwargs: Any) -> Any:
        came = act(*args, **kwargs)
        return await came if hasattr(came, "__await__") else came

    return awaited
