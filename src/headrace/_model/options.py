"""
Options: what @flow and @task can be told, each declared once: its name, its type for checkers, its check.

`TaskOptions` and `FlowOptions` are what a checker reads behind `**options`; the `Annotated` second half of each line is
what `settle` runs. An option of a later time is refused with what to do today: there are no inert parameters.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, Final, Literal, TypeAlias, TypedDict, cast, get_args, get_type_hints

from headrace._model import later
from headrace._model.naming import checked
from headrace._model.policy import LONGEST, RetryPolicy
from headrace.errors import OptionError, OptionTypeError, nearest, short, wrong_type

NUMBERS: tuple[type[Any], ...] = (int, float, timedelta)
ITERABLES: tuple[type[Any], ...] = (Iterable,)  # `type[Any]`: the items stay Any for checkers

Durability: TypeAlias = Literal["off", "batched", "strict"]
ChildFailure: TypeAlias = Literal["wait", "cancel"]
Hook: TypeAlias = Callable[[Any, Any, Any], Any]
TransactionHook: TypeAlias = Callable[[Any], Any]
Delay: TypeAlias = float | timedelta
Delays: TypeAlias = Delay | Sequence[Delay] | Callable[[int], Sequence[Delay]]
Condition: TypeAlias = Callable[[Any, Any, Any], bool | Awaitable[bool]]
RunName: TypeAlias = str | Callable[[], str] | Callable[[dict[str, Any]], str]


def text(owner: str, option: str, value: Any) -> str:
    """Take a string."""
    if not isinstance(value, str):
        hint = " Perhaps you meant to call it?" if callable(value) else ""
        raise OptionTypeError(f"{option} of {owner} must be a string, not {short(value)}.{hint}")
    return value


def a_text(owner: str, option: str, value: Any) -> str:
    """Take a string that is not empty."""
    given = text(owner, option, value)
    if not given.strip():
        raise OptionError(f"{option} of {owner} is empty. Give it a value, or leave the option out.")
    return given


def a_name(owner: str, option: str, value: Any) -> str:
    """Take a string without the signs that paths and URLs give a meaning to, and not an empty one."""
    given = checked(owner.partition(" ")[0], text(owner, option, value))
    if not given.strip():
        raise OptionError(f"{option} of {owner} is empty. Give it a name, or leave the option out.")
    return given


def run_name(owner: str, option: str, value: Any) -> RunName:
    """Take a template or a callable."""
    if not (isinstance(value, str) or callable(value)):
        raise wrong_type(owner, option, "a template string or a callable", value)
    given: Any = value
    return cast("RunName", given)


def count(owner: str, option: str, value: Any) -> int:
    """Take a whole number from 0."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong_type(owner, option, "a whole number", value)
    if value < 0:
        raise OptionError(f"{option} of {owner} is {value}; it must be 0 or more.")
    return value


def seconds(owner: str, option: str, value: Any) -> float:
    """Take a number of seconds or a timedelta, finite and not negative."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(owner, option, "a number of seconds or a timedelta", value)
    if not (math.isfinite(value) and value >= 0):
        raise OptionError(f"{option} of {owner} is {value}; it must be a finite number of seconds, 0 or more.")
    return float(value)


def factor(owner: str, option: str, value: Any) -> float:
    """Take a finite number from 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong_type(owner, option, "a number", value)
    if not (math.isfinite(value) and value >= 0):
        raise OptionError(f"{option} of {owner} is {value}; it must be 0 or more.")
    return float(value)


def delays(owner: str, option: str, value: Any) -> Delays:
    """Take one delay, a list of them, or a callable that makes a list of them; `retry_policy` evaluates it."""
    if isinstance(value, NUMBERS):
        return seconds(owner, option, value)
    if callable(value):
        return cast("Delays", value)
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, ITERABLES):
        raise wrong_type(owner, option, "a number, a timedelta, a list of them, or a callable", value)
    listed = [seconds(owner, option, item) for item in value]
    if len(listed) > LONGEST:
        raise OptionError(f"{option} of {owner} has {len(listed)} delays; at most {LONGEST} are taken.")
    return listed


def flag(owner: str, option: str, value: Any) -> bool:
    """Take True or False."""
    if not isinstance(value, bool):
        raise wrong_type(owner, option, "True or False", value)
    return value


def function(owner: str, option: str, value: Any) -> Any:
    """Take anything that can be called."""
    if not callable(value):
        raise wrong_type(owner, option, "callable", value)
    return value


def hooks(owner: str, option: str, value: Any) -> list[Hook]:
    """Take an iterable of callables, as a list of its own."""
    if callable(value) or isinstance(value, str | bytes) or not isinstance(value, ITERABLES):
        raise wrong_type(owner, option, f"a list of callables, as in {option}=[notify]", value)
    listed: list[Any] = list(value)
    for hook in listed:
        if not callable(hook):
            raise wrong_type(owner, f"a hook in {option}", "callable", hook)
    return listed


def tag_set(owner: str, option: str, value: Any) -> frozenset[str]:
    """Take an iterable of strings."""
    if isinstance(value, str | bytes) or not isinstance(value, ITERABLES):
        raise wrong_type(owner, option, "a list of strings", value)
    return frozenset(text(owner, f"a tag in {option}", tag) for tag in value)


def level(owner: str, option: str, value: Any) -> Durability:
    """Take one of the three levels."""
    if value not in get_args(Durability):
        raise OptionError(f"{option} of {owner} is {short(value)}; it must be 'off', 'batched' or 'strict'.")
    chosen: Durability = value
    return chosen


def runner(owner: str, option: str, value: Any) -> Any:
    """Take a task runner, or a class of them, which is made one."""
    made = value() if isinstance(value, type) else value
    if not callable(getattr(made, "open", None)):
        raise wrong_type(owner, option, "a task runner, as in headrace.task_runners", value)
    return made


def child_failure(owner: str, option: str, value: Any) -> ChildFailure:
    """Take one of the two policies."""
    if value not in get_args(ChildFailure):
        raise OptionError(f"{option} of {owner} is {short(value)}; it must be 'wait' or 'cancel'.")
    chosen: ChildFailure = value
    return chosen


def moment_of_expiry(owner: str, option: str, value: Any) -> float:
    """Take a timedelta or a number of seconds, more than 0."""
    given = seconds(owner, option, value)
    if not given:
        raise OptionError(f"{option} of {owner} is {value}; it must be more than 0. Leave it out to keep for ever.")
    return given


def policy(owner: str, option: str, value: Any) -> Any:
    """Take a cache policy: what has a `compute_key`, as those in headrace.cache_policies have."""
    if isinstance(value, type) or not callable(getattr(value, "compute_key", None)):
        raise wrong_type(owner, option, "a cache policy, as in headrace.cache_policies", value)
    return value


def storage(owner: str, option: str, value: Any) -> Any:
    """Take a folder, a URL or a storage object; the runtime opens it."""
    path = hasattr(value, "__fspath__")
    if isinstance(value, type) or not (isinstance(value, str) or path or callable(getattr(value, "write", None))):
        raise wrong_type(owner, option, "a folder, a URL or a result storage, as in headrace.results", value)
    if value == "":
        raise OptionError(f"{option} of {owner} is empty. Give a folder or a URL, or leave the option out.")
    return value


def serializer(owner: str, option: str, value: Any) -> Any:
    """Take the name of a codec, or one; the runtime finds it."""
    if isinstance(value, str):
        return value
    writes = callable(getattr(value, "dumps", None)) or callable(getattr(value, "dump", None))
    if isinstance(value, type) or not writes:
        raise wrong_type(owner, option, "the name of a serializer such as 'json', or one with dumps and loads", value)
    return value


class RunOptions(TypedDict, total=False):
    """What flows and tasks have in common."""

    name: Annotated[str | None, a_name]
    description: Annotated[str | None, text]
    version: Annotated[str | None, text]
    retries: Annotated[int | None, count]
    retry_delay_seconds: Annotated[Delays | None, delays]
    retry_jitter_factor: Annotated[float | None, factor]
    retry_condition_fn: Annotated[Condition | None, function]
    timeout_seconds: Annotated[float | timedelta | None, seconds]
    step_key: Annotated[RunName | None, run_name]
    log_prints: Annotated[bool | None, flag]
    persist_result: Annotated[bool | None, flag]
    result_storage: Annotated[Any, storage]
    result_serializer: Annotated[Any, serializer]
    cache_result_in_memory: Annotated[bool | None, flag]
    on_running: Annotated[Iterable[Hook] | None, hooks]
    on_completion: Annotated[Iterable[Hook] | None, hooks]
    on_failure: Annotated[Iterable[Hook] | None, hooks]


class TaskOptions(RunOptions, total=False):
    """What @task can be told."""

    task_run_name: Annotated[RunName | None, run_name]
    tags: Annotated[Iterable[str] | None, tag_set]
    deterministic: Annotated[bool | None, flag]
    result_storage_key: Annotated[str | None, a_text]
    cache_policy: Annotated[Any, policy]
    cache_key_fn: Annotated[Callable[[Any, dict[str, Any]], str | None] | None, function]
    cache_expiration: Annotated[float | timedelta | None, moment_of_expiry]
    refresh_cache: Annotated[bool | None, flag]
    on_commit: Annotated[Iterable[TransactionHook] | None, hooks]
    on_rollback: Annotated[Iterable[TransactionHook] | None, hooks]


class FlowOptions(RunOptions, total=False):
    """What @flow can be told."""

    flow_run_name: Annotated[RunName | None, run_name]
    validate_parameters: Annotated[bool | None, flag]
    durability: Annotated[Durability | None, level]
    durable: Annotated[bool | None, flag]
    task_runner: Annotated[Any, runner]
    on_child_failure: Annotated[ChildFailure | None, child_failure]
    on_cancellation: Annotated[Iterable[Hook] | None, hooks]
    on_crashed: Annotated[Iterable[Hook] | None, hooks]


HOOKS: Final = (
    "on_running", "on_completion", "on_failure", "on_cancellation", "on_crashed", "on_commit", "on_rollback",
)  # fmt: skip
# Any of these has the life of a call keep its result, or look for it.
KEEPING: Final = frozenset(
    {
        "cache_expiration", "cache_key_fn", "cache_policy", "on_commit", "on_rollback", "persist_result",
        "refresh_cache", "result_serializer", "result_storage", "result_storage_key",
    }
)  # fmt: skip


@functools.cache
def checks(kind: type) -> dict[str, Callable[[str, str, Any], Any]]:
    """Give the check of each option that *kind*, one of the two classes above, declares."""
    hints = get_type_hints(kind, include_extras=True)
    return {option: hint.__metadata__[0] for option, hint in hints.items()}


def settle(kind: type, owner: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """
    Check the options *given* to *owner* and bring them into one form; those that are None are left out.

    Raises:
        OptionTypeError: An option is unknown or of the wrong type.
        OptionError: An option's value is out of bounds, or contradicts another.
    """
    known = checks(kind)
    settled: dict[str, Any] = {}
    for option, value in given.items():
        if option not in known:
            decorator = "@task" if kind is TaskOptions else "@flow"
            unknown = f"{decorator} has no option {option!r} (given for {owner})"
            if option in later.OPTIONS:
                raise OptionTypeError(f"{unknown} yet. {later.OPTIONS[option]}")
            raise OptionTypeError(f"{unknown}{nearest(option, known)} It takes: {', '.join(sorted(known))}.")
        if value is not None:
            settled[option] = known[option](owner, option, value)
    asked = settled.get("durability")
    if settled.get("durable") is True and asked not in {None, "strict"}:
        raise OptionError(
            f"durable=True and durability={asked!r} of {owner} contradict each other; durable means 'strict'. Give one."
        )
    if settled.get("durable") is False and asked == "strict":
        raise OptionError(f"durable=False and durability='strict' of {owner} contradict each other. Give only one.")
    return settled


def retry_policy(owner: str, settled: Mapping[str, Any]) -> RetryPolicy | None:
    """Make the retry policy that *settled* options ask for; None when they ask for no retries."""
    retries: int = settled.get("retries") or 0
    given: Any = settled.get("retry_delay_seconds")
    if callable(given):
        given = given(retries)
        if callable(given):
            raise wrong_type(owner, "what retry_delay_seconds returns", "a list of delays", given)
        given = delays(owner, "what the callable retry_delay_seconds returns", given)
    if not retries:
        return None
    listed = (given,) if isinstance(given, float) else tuple(given or ())
    return RetryPolicy(retries, listed, settled.get("retry_jitter_factor") or 0.0)
