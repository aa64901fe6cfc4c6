"""Annotations: what a caller says of one argument, around it. Words only: calls and maps obey them elsewhere."""

from __future__ import annotations

from typing import Any, Final, Generic, TypeVar

from headrace.errors import rebuilt, short

T = TypeVar("T")


class Watch:
    """
    Whether anything was ever made that has to be looked for among arguments and returned values.

    Attributes:
        states: A state, a future or an annotation; until then no argument is looked at.
        promises: A future; until then no returned value is looked at, and no argument waited for.
        stops: Whether a run was ever to stop; until then no call looks for one above it.
        works: How many transactions are open; while there is none, no call looks for one around it.
    """

    states = False
    promises = False
    stops = False
    works = 0


watch: Final = Watch()


class Annotation(Generic[T]):
    """A value with something said of it."""

    __slots__ = ("value",)

    def __init__(self, value: T) -> None:
        watch.states = True
        self.value = value

    def unwrap(self) -> T:
        """Give the value."""
        return self.value

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and bool(other.value == self.value)

    def __hash__(self) -> int:
        return hash((type(self), self.value))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({short(self.value)})"


class unmapped(Annotation[T]):
    """Hand the same value to every call of a `map` or `stream`, though it could be iterated."""

    __slots__ = ()


class allow_failure(Annotation[T]):
    """
    Call the task even if the run that this future or state stands for failed.

    In place of its result the task is then given the exception, which is false where a truth value is asked:
    `primary if primary else fallback` does what it says. A run that crashed or was cancelled is not forgiven.
    """

    __slots__ = ()


class quote(Annotation[T]):
    """Hand the value over as it is: no futures or states are looked for in it, and `map` does not iterate it."""

    __slots__ = ()


class _Forgiven:
    """The part of a forgiven exception that is not its own class's."""

    forgiven: BaseException

    def __bool__(self) -> bool:
        return False

    def __reduce__(self) -> tuple[Any, ...]:
        return forgiven, (self.forgiven,)


def forgiven(error: BaseException) -> BaseException:
    """Give an exception like *error*, of its class, which is false where a truth value is asked; *error* stays true."""
    if isinstance(error, _Forgiven):
        return error
    kind = type(error)
    try:
        false = type(
            kind.__name__, (_Forgiven, kind), {"__module__": kind.__module__, "__qualname__": kind.__qualname__}
        )
        made = rebuilt(false, error.args)
    except Exception:  # a class that refuses to be derived from, or made of its own args
        return error
    made.__dict__.update(error.__dict__)
    made.__dict__["forgiven"] = error
    made.__cause__, made.__suppress_context__ = error.__cause__, error.__suppress_context__
    return made.with_traceback(error.__traceback__)
