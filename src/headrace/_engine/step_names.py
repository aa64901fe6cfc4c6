"""What a step is called while it is called: its count, its key, and how people read it."""

from __future__ import annotations

from typing import Any, Final

from headrace._engine.inputs import named
from headrace._engine.inputs import recorded as preview
from headrace._engine.mirrors import KNOWN
from headrace._engine.promises import guard
from headrace._engine.runs import Run
from headrace._engine.spec import Spec
from headrace._model.events import Transition
from headrace._model.records import FlowRun, TaskRun, nanoseconds
from headrace._model.steps import SHOWN
from headrace.errors import OptionError, short

Recorded = TaskRun | FlowRun
PLAIN: Final[frozenset[type]] = frozenset({int, float, bool, type(None)})


def nth(run: Run, what: Any) -> int:
    """Count how often *run* has called *what* by now; from several threads."""
    with guard:
        calls = run.calls
        if calls is None:
            calls = run.calls = {}
        calls[what] = count = calls.get(what, 0) + 1
        return count


def qualified(spec: Spec) -> str:
    """Give the name of the function of *spec* within its module, which may be called otherwise when it is resumed."""
    return str(getattr(spec.fn, "__qualname__", spec.name))


def given(spec: Spec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """
    Give what a step is called with by parameter name, without defaults: however it is spelled, it is the same step.

    What does not fit the signature stands under its place; the call itself says so.
    """
    names = spec.places
    by_place = {names[place] if place < len(names) else str(place): value for place, value in enumerate(args)}
    return by_place if not kwargs else {**by_place, **kwargs}


def step_key(spec: Spec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
    """
    Give what a step is told from others by, in place of its arguments; None where it has no `step_key`.

    Raises:
        OptionError: It failed, or gave something that is no string.
    """
    wanted = spec.options.get("step_key")
    if wanted is None:
        return None
    parameters = named(spec, args, kwargs)
    try:
        key: Any = wanted.format(**parameters) if isinstance(wanted, str) else wanted(parameters)
    except Exception as error:
        raise OptionError(
            f"The step_key {short(wanted)} of {spec.kind} {spec.name!r} failed with {type(error).__name__}: {error}. "
            f"It can use the parameters {', '.join(parameters) or '(there are none)'}."
        ) from error
    if not isinstance(key, str):
        raise OptionError(f"The step_key of {spec.kind} {spec.name!r} gave {short(key)}; it must give a string.")
    return key


def transitions(run: Recorded) -> list[Transition]:
    """Give the states that a run on record went through, as they were told."""
    return [(KNOWN.get((kind, name), (kind, name)), nanoseconds(at), said) for kind, name, at, said in run.transitions]


def called(run: Recorded) -> str:
    """Give the name of the function that *run* was a call of."""
    return run.task_name if isinstance(run, TaskRun) else run.flow_name


def shown(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Give *args* and *kwargs* as people read them, briefly."""
    parts = [brief(value) for value in args]
    return ", ".join([*parts, *[f"{name}={brief(value)}" for name, value in kwargs.items()]] if kwargs else parts)


def brief(value: Any) -> str:
    """Give *value* as people read it: the usual one in a tenth of the time that looking into it takes."""
    if value.__class__ in PLAIN or (value.__class__ is str and len(value) < SHOWN):
        return repr(value)
    return short(preview({"": value})[""], SHOWN)
