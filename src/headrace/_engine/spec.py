"""Spec: a decorated function and its settled options, as lives read them. Made at decoration, never changed after."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs

from headrace._model.options import HOOKS, KEEPING, Hook
from headrace._model.policy import RetryPolicy

Shape = Literal["call", "generator"]


@attrs.define(slots=False, eq=False)
class Spec:
    """
    One flow or task.

    Attributes:
        public: The Flow or Task object that hooks are handed.
        is_async: Whether the function is a coroutine function or an async generator function.
        policy: None where there are no retries.
        timeout: Seconds; None where there is none.
        bound: How many first parameters are the instance or class of a method.
        kinds: The annotations, resolved at the first call that validates.
        said: What its author was told once.
        keeps: Of a flow: what becomes of results below it, where its options say so.
    """

    kind: Literal["flow", "task"]
    name: str
    fn: Callable[..., Any]
    public: Any
    is_async: bool
    shape: Shape
    policy: RetryPolicy | None
    timeout: float | None
    options: Mapping[str, Any]
    hooks: dict[str, list[Hook]] = attrs.Factory(lambda: {hook: [] for hook in HOOKS})
    tags: frozenset[str] = frozenset()
    version: str | None = None
    bound: int = 0
    kinds: dict[str, Any] | None = None
    keeps: Any = None
    said: set[str] = attrs.Factory(set[str])

    @functools.cached_property
    def signature(self) -> inspect.Signature:
        """The function's signature."""
        return inspect.signature(self.fn)

    @functools.cached_property
    def plain(self) -> dict[str, Any] | None:
        """The defaults by name, of any kind where there is none; None unless all can be given by place and by name."""
        parameters = self.signature.parameters.values()
        if any(one.kind is not one.POSITIONAL_OR_KEYWORD for one in parameters):
            return None
        return {one.name: one.default for one in parameters}

    @functools.cached_property
    def places(self) -> tuple[str, ...]:
        """The names of the parameters that take arguments by their place."""
        parameters = self.signature.parameters.values()
        return tuple([one.name for one in parameters if one.kind in {one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD}])

    @functools.cached_property
    def required(self) -> frozenset[str]:
        """The names of the parameters that have no default."""
        return frozenset(one.name for one in self.signature.parameters.values() if one.default is one.empty)

    @functools.cached_property
    def function_name(self) -> str:
        """Module and name of the function, as `code.function.name` has it."""
        return f"{getattr(self.fn, '__module__', '')}.{getattr(self.fn, '__qualname__', self.name)}"

    @functools.cached_property
    def entrypoint(self) -> str:
        """Where the function is found again: `module:name`, and behind an @ the file it was read from."""
        function: Any = inspect.unwrap(self.fn)
        file = getattr(getattr(function, "__code__", None), "co_filename", "")
        place = f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', self.name)}"
        return f"{place}@{os.path.abspath(file)}" if file else place

    @functools.cached_property
    def goes_on(self) -> Literal["from", "again"] | None:
        """
        How a generator task that has yielded goes on in another attempt, or another process.

        "from": it is called with the number of the next item. "again": from its start, and yields the same. None: not.
        """
        if self.kind == "flow" or self.shape == "call":
            return None
        numbered = self.signature.parameters.get("resume_from")
        if numbered is not None and type(numbered.default) is int and numbered.default == 0:
            return "from"
        return "again" if self.options.get("deterministic") else None

    @property
    def run_name(self) -> Any:
        """The template or callable for run names; None where there is none."""
        return self.options.get(f"{self.kind}_run_name")

    @property
    def asks(self) -> bool:
        """Whether its options say what becomes of results, or it has hooks for transactions."""
        asked = not KEEPING.isdisjoint(self.options)
        return asked or bool(self.hooks["on_commit"] or self.hooks["on_rollback"])

    @property
    def prints(self) -> bool | None:
        """Whether prints become log lines; None means as the caller's run does."""
        return self.options.get("log_prints")
