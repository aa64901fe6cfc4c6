"""
Cache policies: what of a call its cache key is made of. They add up, and leave arguments out.

A key tells calls apart; what is stored under it, and who computes it, is decided elsewhere.
"""

from __future__ import annotations

import copy
import enum
import functools
import inspect
import sys
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from headrace._engine.contexts import TaskRunContext
from headrace._engine.inputs import bind
from headrace._engine.present import nearest_flow, parameters
from headrace._engine.runs import Run
from headrace._engine.spec import Spec
from headrace._model.hashing import Unhashable, beginning, code_digest, combined, digest
from headrace._model.options import storage
from headrace.errors import HashError, OptionError, OptionTypeError, short

P = TypeVar("P", bound="CachePolicy")
KeyFunction = Callable[[TaskRunContext, dict[str, Any]], str | None]


class IsolationLevel(enum.Enum):
    """
    What is promised to those who compute the same at once.

    READ_COMMITTED: within a process one computes and the others wait; processes do not wait for each other.
    SERIALIZABLE: one computes and the others wait, also in other processes on the same store.
    """

    READ_COMMITTED = "READ_COMMITTED"
    SERIALIZABLE = "SERIALIZABLE"


class Call:
    """One call of a task, as policies see it: what they do not ask for is not made."""

    def __init__(self, run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.run = run
        self.args = args
        self.kwargs = kwargs

    @property
    def inputs(self) -> dict[str, Any]:
        """The arguments by parameter name, defaults and `self` included."""
        return bind(self.run.spec, self.args, self.kwargs)

    @property
    def flow_parameters(self) -> dict[str, Any]:
        """The parameters of the flow run around; none outside of flows."""
        flow = nearest_flow(self.run)
        return {} if flow is None else parameters(flow)

    @functools.cached_property
    def context(self) -> TaskRunContext:
        """The run, as users see it."""
        return TaskRunContext.of(self.run)


class CachePolicy:
    """
    What a cache key is made of. Make your own by `compute_key`.

    Attributes:
        key_storage: Where keys and results are recorded in place of the database: a folder, a URL, a result storage.
        isolation_level: What is promised to those who compute the same at once; None for READ_COMMITTED.
        lock_manager: Who sees to it that one computes, in place of leases in the database: has
            acquire_lock(key, holder, acquire_timeout), asked again while it gives False, and release_lock(key, holder).
            Who names one means SERIALIZABLE.
    """

    key_storage: Any = None
    isolation_level: IsolationLevel | None = None
    lock_manager: Any = None

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """Give the key of a call; None where the call is not to be cached, or this says nothing of it."""
        raise NotImplementedError

    def part(self, call: Call) -> str | None:
        """Give what `compute_key` gives for *call*."""
        return self.compute_key(call.context, call.inputs, call.flow_parameters)

    def configure(
        self: P,
        key_storage: Any = None,
        lock_manager: Any = None,
        isolation_level: IsolationLevel | str | None = None,
    ) -> P:
        """
        Give a copy that says where and how; what is None stays.

        Raises:
            OptionTypeError: One of them is of the wrong type.
        """
        changed = copy.copy(self)
        if key_storage is not None:
            changed.key_storage = storage("a cache policy", "key_storage", key_storage)
        if lock_manager is not None:
            missing = [name for name in ("acquire_lock", "release_lock") if not hasattr(lock_manager, name)]
            if missing:
                raise OptionTypeError(f"The lock_manager {short(lock_manager)} has no {' and no '.join(missing)}.")
            changed.lock_manager = lock_manager
        if isolation_level is not None:
            changed.isolation_level = level_of(isolation_level)
        return changed

    @classmethod
    def from_cache_key_fn(cls, cache_key_fn: KeyFunction) -> CacheKeyFnPolicy:
        """Give the policy whose keys *cache_key_fn(context, parameters)* makes."""
        return CacheKeyFnPolicy(cache_key_fn)

    def __add__(self, other: Any) -> CachePolicy:
        if not isinstance(other, CachePolicy):
            return NotImplemented
        if isinstance(other, NoCache):
            return self
        return Compound([*parts_of(self), *parts_of(other)]).agreeing(self, other)

    def __sub__(self, other: Any) -> CachePolicy:
        if not isinstance(other, str):
            raise OptionTypeError(f"The name of an argument is taken off a cache policy, as text, not {short(other)}.")
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Inputs(CachePolicy):
    """The task and its arguments, but for those in *exclude*."""

    def __init__(self, exclude: Iterable[str] = ()) -> None:
        self.exclude = frozenset(exclude)

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """Give what stands for the arguments."""
        return self.of(task_ctx.task.spec, inputs)

    def part(self, call: Call) -> str | None:
        """Give what stands for the arguments."""
        spec = call.run.spec
        return self.of(spec, bind(spec, call.args, call.kwargs))

    def of(self, spec: Spec, inputs: dict[str, Any]) -> str | None:
        """
        Give the digest of *inputs* and of the name of the task.

        Raises:
            HashError: One of them cannot be told from others.
        """
        if self.exclude:
            inputs = {name: value for name, value in inputs.items() if name not in self.exclude}
        start = _beginnings.get(spec.function_name)
        if start is None:
            start = _beginnings[spec.function_name] = beginning("inputs", identity(spec))
        return hashed(spec, inputs, start)

    def __sub__(self, other: Any) -> CachePolicy:
        super().__sub__(other)
        less = copy.copy(self)
        less.exclude = self.exclude | {other}
        return less

    def __repr__(self) -> str:
        return f"<Inputs without {', '.join(sorted(self.exclude))}>" if self.exclude else "<Inputs>"


class TaskSource(CachePolicy):
    """The source text of the task's function; where there is none, its compiled code."""

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """Give what stands for the source."""
        return source_of(task_ctx.task.spec)

    def part(self, call: Call) -> str | None:
        """Give what stands for the source."""
        return source_of(call.run.spec)


class RunId(CachePolicy):
    """The flow run; outside of flows the task run. So what is found was computed in the same flow run."""

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """Give the id."""
        return task_ctx.task_run.flow_run_id or task_ctx.task_run.id

    def part(self, call: Call) -> str | None:
        """Give the id."""
        return call.run.scope.flow_run_id or call.run.id


class FlowParameters(CachePolicy):
    """The parameters of the flow run around; nothing outside of flows."""

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """Give what stands for the parameters."""
        return hashed(None, flow_parameters) if flow_parameters else None


class NoCache(CachePolicy):
    """Nothing: each call runs the body."""

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """Give no key."""
        return None

    def __add__(self, other: Any) -> CachePolicy:
        return other if isinstance(other, CachePolicy) else NotImplemented


class CacheKeyFnPolicy(CachePolicy):
    """The key that a function of the user's gives, as it is: tasks with one key share what is stored under it."""

    def __init__(self, cache_key_fn: KeyFunction) -> None:
        self.cache_key_fn = cache_key_fn

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """
        Give what the function gives.

        Raises:
            OptionTypeError: That is neither a text nor None.
        """
        key: Any = self.cache_key_fn(task_ctx, inputs)
        if key is not None and not isinstance(key, str):
            raise OptionTypeError(f"A cache_key_fn gives a string, or None for no caching, not {short(key)}.")
        return key or None


class Compound(CachePolicy):
    """Several policies together; those that say nothing of a call do not count."""

    def __init__(self, policies: list[CachePolicy]) -> None:
        self.policies = list(dict.fromkeys(policies))

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str | None:
        """Give the digest of all parts."""
        return self.joined([one.compute_key(task_ctx, inputs, flow_parameters, **kwargs) for one in self.policies])

    def part(self, call: Call) -> str | None:
        """Give the digest of all parts."""
        return self.joined([one.part(call) for one in self.policies])

    def joined(self, parts: list[str | None]) -> str | None:
        """Give the digest of *parts*; None where all are."""
        if all(part is None for part in parts):
            return None
        known = zip(self.policies, parts, strict=True)
        return combined(*[f"{type(one).__name__}={part}" for one, part in known if part is not None])

    def agreeing(self, *those: CachePolicy) -> Compound:
        """
        Take over where and how *those* want it.

        Raises:
            OptionError: They want it differently.
        """
        for attribute, what in (
            ("key_storage", "key storages"),
            ("isolation_level", "isolation levels"),
            ("lock_manager", "lock managers"),
        ):
            wanted = [getattr(one, attribute) for one in those if getattr(one, attribute) is not None]
            if any(one != wanted[0] for one in wanted):
                raise OptionError(f"Cache policies with different {what} cannot be added: {wanted!r}.")
            if wanted:
                setattr(self, attribute, wanted[0])
        return self

    def __sub__(self, other: Any) -> CachePolicy:
        super().__sub__(other)
        return Compound([one - other for one in self.policies]).agreeing(self)

    def __repr__(self) -> str:
        return " + ".join(map(repr, self.policies))


def parts_of(policy: CachePolicy) -> list[CachePolicy]:
    """Give the policies that *policy* consists of."""
    return policy.policies if isinstance(policy, Compound) else [policy]


INPUTS: Final = Inputs()
TASK_SOURCE: Final = TaskSource()
FLOW_PARAMETERS: Final = FlowParameters()
RUN_ID: Final = RunId()
NO_CACHE: Final = NoCache()
NONE: Final = NO_CACHE
DEFAULT: Final = INPUTS + TASK_SOURCE + RUN_ID


def level_of(given: Any) -> IsolationLevel:
    """
    Give the level that *given* is or names.

    Raises:
        OptionTypeError: It is none.
    """
    try:
        return given if isinstance(given, IsolationLevel) else IsolationLevel[str(given).upper()]
    except KeyError:
        known = " or ".join(level.name for level in IsolationLevel)
        raise OptionTypeError(f"An isolation_level is {known}, not {short(given)}.") from None


def hashed(spec: Spec | None, values: dict[str, Any], start: Any = None) -> str:
    """
    Give the digest of *values*, the arguments of *spec*'s task; of the parameters of a flow, where that is None.

    Args:
        start: What counts together with them.

    Raises:
        HashError: One cannot be told from others; it is named, with how to leave it out.
    """
    try:
        return digest(values, start)
    except Unhashable as refused:
        for name, value in values.items():
            try:
                digest(value)
            except Unhashable as own:
                what = "The flow's parameter" if spec is None else f"The argument of task {spec.name!r}"
                raise HashError(
                    f"{what} {name + own.path!r} cannot be part of a cache key: {own.why}. Leave it out, with "
                    f"cache_policy=INPUTS - {name!r}, or make the key yourself with cache_key_fn."
                ) from None
        raise HashError(f"No cache key can be made: {refused.why}. Make it yourself, with cache_key_fn.") from None


def identity(spec: Spec) -> str:
    """Give what tells the task's function from others: module and name; in a script, the script's path as well."""
    name = spec.function_name
    if name.startswith("__main__."):
        return f"{getattr(sys.modules.get('__main__'), '__file__', '')}:{name}"
    return name


# What the keys of a task's inputs begin with, by the name of its function: the script stays the same.
_beginnings: dict[str, Any] = {}
_sources: dict[Any, str] = {}


def source_of(spec: Spec) -> str:
    """Give the digest of the source of *spec*'s function; read once for each function."""
    fn = inspect.unwrap(spec.fn)
    known = _sources.get(fn)
    if known is None:
        try:
            known = digest(inspect.getsource(fn))
        except (OSError, TypeError):
            known = code_digest(fn)
        _sources[fn] = known
    return known


def task_input_hash(context: TaskRunContext, parameters: dict[str, Any]) -> str | None:
    """
    Give a cache key of the task, its code and its arguments: a `cache_key_fn`.

    Raises:
        HashError: An argument cannot be told from others.
    """
    spec = context.task.spec
    return combined("task_input_hash", identity(spec), code_digest(spec.fn), hashed(spec, parameters))
