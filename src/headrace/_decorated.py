"""What flows and tasks have in common as objects: function, options, name, compiled life. Runs nothing itself."""

from __future__ import annotations

import functools
import inspect
import itertools
import logging
import sys
import threading
from collections.abc import Callable, Generator, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, cast
from weakref import WeakValueDictionary

import attrs

from headrace._engine.life import call_life, drive
from headrace._engine.spec import Spec
from headrace._engine.streams import stepwise, stream_life
from headrace._engine.upstream import listed
from headrace._model.later import ATTRIBUTES
from headrace._model.naming import checked
from headrace._model.options import HOOKS, KEEPING, FlowOptions, TaskOptions, retry_policy, settle
from headrace._ports import Host
from headrace._runtime import host_for
from headrace.errors import OptionError, OptionTypeError, ReservedArgumentError, short

H = TypeVar("H", bound=Callable[..., Any])
RESERVED = ("return_state", "wait_for")
TRANSACTIONAL = ("on_commit", "on_rollback")
# Those that the program has now: a durable run that was left behind is taken up where its flow is known.
FLOWS: Final[WeakValueDictionary[int, Decorated]] = WeakValueDictionary()  # in the order in which they were made
TASKS: Final[WeakValueDictionary[int, Decorated]] = WeakValueDictionary()
_counts: Final = itertools.count()
COMPILED = ("on_running", *TRANSACTIONAL)  # hooks for which a life has a step of its own


class Decorated:
    """A decorated function; the part of Flow and Task that is the same."""

    kind: Literal["flow", "task"]
    # What each thread loads to find a flow in it: flows that it calls meanwhile are not run.
    loading: Final[dict[int, str]] = {}

    def __init__(self, fn: Any, given: Mapping[str, Any]) -> None:
        self.binds: Literal["instance", "class", "nothing"] = "instance"
        if isinstance(fn, staticmethod | classmethod):
            self.binds = "nothing" if isinstance(fn, staticmethod) else "class"
            fn = cast("Any", fn).__func__
        if isinstance(fn, Decorated):
            raise OptionTypeError(
                f"{short(fn)} is a {fn.kind} already and cannot be made a {self.kind} as well. "
                f"Decorate its function ({fn.name}.fn), or change its options with .with_options(...)."
            )
        if not callable(fn):
            raise OptionTypeError(
                f"@{self.kind} decorates something that can be called, not {short(fn)} ({type(fn).__name__})."
            )
        self.fn = fn
        self.given = dict(given)
        self.arguments: tuple[Any, ...] = ()
        self.bound_form: tuple[Spec, Callable[..., Any]] | None = None
        functools.update_wrapper(cast("Any", self), fn, updated=())
        self.spec = self.specify()
        self.compile()
        (FLOWS if self.kind == "flow" else TASKS)[next(_counts)] = self

    def specify(self) -> Spec:
        """Check the options and make the spec."""
        fn, kind = self.fn, self.kind
        called = function_name(fn)
        owner = f"{kind} {called!r}"
        settled = settle(TaskOptions if kind == "task" else FlowOptions, owner, self.given)
        name = settled.get("name") or checked(kind, called.replace("_", "-") if kind == "flow" else called)
        target = call_target(fn)
        is_generator = inspect.isgeneratorfunction(target)
        is_async_generator = inspect.isasyncgenfunction(target)
        spec = Spec(
            kind=kind,
            name=name,
            fn=fn,
            public=self,
            is_async=is_async_generator or inspect.iscoroutinefunction(target),
            shape="generator" if is_generator or is_async_generator else "call",
            policy=retry_policy(owner, settled),
            timeout=settled.get("timeout_seconds"),
            options=settled,
            tags=settled.get("tags", frozenset()),
            version=settled.get("version"),
        )
        for hook in HOOKS:
            spec.hooks[hook].extend(settled.get(hook, ()))
        self.refuse_reserved(spec)
        if spec.shape == "generator":
            refuse_kept(owner, spec)
        if settled.get("deterministic") and (spec.shape == "call" or spec.goes_on == "from"):
            why = "is no generator" if spec.shape == "call" else "goes on from resume_from"
            raise OptionError(
                f"{owner} {why}, and deterministic=True says of a generator that it yields the same again when it is "
                f"run again. Leave it out."
            )
        return spec

    def refuse_reserved(self, spec: Spec) -> None:
        """
        See that no parameter has a name that calls take for themselves.

        Raises:
            ReservedArgumentError: One has.
            OptionTypeError: A flow's function does not tell its parameters.
        """
        try:
            parameters = spec.signature.parameters
        except (TypeError, ValueError) as error:
            if spec.kind == "task":
                return  # a builtin that keeps its signature to itself can be called all the same
            raise OptionTypeError(
                f"{short(self.fn)} does not tell its signature, and a flow binds, checks and records its parameters. "
                f"Wrap it in a function of your own."
            ) from error
        for reserved in RESERVED:
            if reserved in parameters:
                raise ReservedArgumentError(spec.kind, spec.name, reserved)

    def compile(self) -> None:
        """Compile the life of a call; again when a hook comes that no step was made for."""
        self.life = self.life_of(self.spec)
        self.bound_form = None
        self.lives: dict[Host, Callable[..., Any]] = {}
        self.drives = self.spec.shape == "call" and not self.spec.is_async
        if self.spec.is_async and self.spec.shape == "call":
            mark_coroutine_function(self)
        self.streams = self.spec.shape == "generator"

    def life_of(self, spec: Spec) -> Callable[..., Any]:
        """Compile the life of a call of *spec*."""
        host = host_for(spec.is_async)
        life: Callable[..., Any] = call_life(spec, host) if spec.shape == "call" else stream_life(spec, host)
        # So that Python names the user's function when it says that a coroutine was never awaited.
        life.__qualname__ = life.__name__ = spec.function_name
        return life

    def life_on(self, host: Host) -> Callable[..., Any]:
        """Give the life of a call for *host*; compiled once for each."""
        if host is host_for(self.spec.is_async):
            return self.life
        if host not in self.lives:
            self.lives[host] = call_life(self.spec, host)
        return self.lives[host]

    def start(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Begin a call that has `wait_for` or `return_state` among its keywords, or is a generator's."""
        kwargs = dict(kwargs)
        wait_for = awaited(kwargs)
        return_state = kwargs.pop("return_state", False)
        if not self.streams:
            life = self.life(args, kwargs, wait_for, return_state)
            return life if self.spec.is_async else drive(life)
        if return_state:
            raise OptionError(
                f"{self.kind} {self.name!r} is a generator, so it has no state to return. Leave out return_state."
            )
        if self.spec.is_async:
            return self.life(args, kwargs, wait_for)
        returned: list[Any] = []
        stream: Generator[Any, Any, Any] = stepwise(self.life(args, kwargs, wait_for, returned), returned, drive)
        return stream

    def passed_over(self) -> Any:
        """Say that a file called this flow while it was loaded, and give in its place None, or what comes to None."""
        logging.getLogger("headrace.engine").warning(
            "Flow %r is not run: %s calls it while it is loaded. Call it below `if __name__ == '__main__':`",
            self.name,
            self.loading.get(threading.get_ident()),
        )

        async def nothing() -> None: ...

        return nothing() if self.spec.is_async else None

    def bound_to(self, instance: Any, owner: Any) -> Any:
        """
        Give this object with its first argument filled in, as attribute access on an instance or class does.

        A copy for each access: two threads that call a method on two instances never meet.
        """
        first = owner if self.binds == "class" else instance
        if self.binds == "nothing" or first is None:
            return self
        if self.bound_form is None:
            spec = attrs.evolve(self.spec, bound=1)
            self.bound_form = spec, self.life_of(spec)
        bound = object.__new__(type(self))
        bound.__dict__.update(self.__dict__)
        bound.lives = {}
        bound.arguments = (first,)
        bound.spec, bound.life = self.bound_form
        return bound

    def add_hook(self, option: str, hook: H) -> H:
        """Add *hook*; what the decorators such as `on_failure` do. Gives *hook* back."""
        if not callable(hook):
            raise OptionTypeError(
                f"{option} of {self.kind} {self.name!r} takes something that can be called, not {short(hook)}."
            )
        if self.streams and option in TRANSACTIONAL:
            raise OptionError(
                f"{self.kind} {self.name!r} is a generator, and takes no part in transactions: no {option}."
            )
        self.spec.hooks[option].append(hook)
        if option in COMPILED:
            # A bound copy shares the spec with the object it is a copy of, which later accesses are copies of, too.
            whole: Decorated = self.spec.public
            whole.compile()
            self.life = self.life_of(self.spec) if self.arguments else whole.life
        return hook

    def with_given(self, changes: Mapping[str, Any]) -> Any:
        """Give a copy with *changes* to its options; what is not named stays, None goes back to the default."""
        hooks = {option: list(hooks) for option, hooks in self.spec.hooks.items() if hooks}
        fn = {"instance": self.fn, "class": classmethod(self.fn), "nothing": staticmethod(self.fn)}[self.binds]
        changed = type(self)(fn, {**self.given, **hooks, **changes})
        changed.arguments = self.arguments
        return changed

    @property
    def name(self) -> str:
        """The name it is known by."""
        return self.spec.name

    @property
    def description(self) -> str | None:
        """The description given, else the function's docstring without its indentation."""
        given: str | None = self.spec.options.get("description")
        return given if given is not None else inspect.getdoc(unfilled(self.fn))

    @property
    def version(self) -> str | None:
        """The version given."""
        return self.spec.version

    @property
    def isasync(self) -> bool:
        """Whether calls are awaited (or iterated with `async for`)."""
        return self.spec.is_async

    @property
    def isgenerator(self) -> bool:
        """Whether calls yield items."""
        return self.streams

    @property
    def retries(self) -> int:
        """How often a failed run is tried again."""
        return 0 if self.spec.policy is None else self.spec.policy.retries

    @property
    def timeout_seconds(self) -> float | None:
        """How long an attempt may take, in seconds."""
        return self.spec.timeout

    if not TYPE_CHECKING:  # a checker would take it to have every attribute

        def __getattr__(self, name: str) -> Any:
            """Say that there is no such attribute; of those that people look for, also what to do today."""
            # Not by attribute: a half-made object, as copying and unpickling make it, has none of its own yet.
            own = self.__dict__
            awaited = name == "_is_coroutine" and "spec" in own and own["spec"].is_async and not own["streams"]
            if awaited and "asyncio.coroutines" in sys.modules:
                # How asyncio.iscoroutinefunction asks; up to Python 3.11 there is no other way to tell it.
                return sys.modules["asyncio.coroutines"]._is_coroutine
            today = ATTRIBUTES.get(name)
            if today is not None:
                raise AttributeError(f"{self.kind.title()}s have no {name} yet. {today}")
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    def __reduce__(self) -> str:
        """Pickle by name, as functions are: another process imports the module and finds this object there."""
        return str(self.fn.__qualname__)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name!r}>"


def refuse_kept(owner: str, spec: Spec) -> None:
    """
    See that *spec*, a generator, is not asked to keep its items but by a durable flow.

    Raises:
        OptionError: It is.
    """
    # A task may say that not even a durable flow is to keep them.
    unkept = spec.kind == "task" and spec.options.get("persist_result") is False
    asked = sorted(KEEPING.intersection(spec.options) - ({"persist_result"} if unkept else set()))
    asked += [hook for hook in TRANSACTIONAL if spec.hooks[hook] and hook not in asked]
    if asked:
        raise OptionError(
            f"{owner} is a generator, and what it yields is not kept. Leave out {', '.join(asked)}, or have it "
            f"return a list."
        )


def mark_coroutine_function(called: Any) -> None:
    """Have `inspect` and `asyncio` know that calling *called* gives a coroutine: frameworks ask before they call."""
    mark = getattr(inspect, "markcoroutinefunction", None)
    if mark is not None:
        mark(called)


def awaited(kwargs: dict[str, Any]) -> list[Any] | None:
    """
    Take what a call is to wait for out of its *kwargs*, as a list, since it is looked through more than once.

    Raises:
        OptionTypeError: It is no iterable.
    """
    wait_for = kwargs.pop("wait_for", None)
    return None if wait_for is None else listed(wait_for)


def unfilled(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Give the function whose arguments *fn*, if it is a partial, fills in."""
    while isinstance(fn, functools.partial):
        fn = fn.func
    return fn


def function_name(fn: Callable[..., Any]) -> str:
    """Give the name of *fn*: its own, that of what a partial fills in, or that of its class."""
    fn = unfilled(fn)
    name = getattr(fn, "__name__", type(fn).__name__)
    return "unknown-lambda" if name == "<lambda>" else str(name)


def call_target(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Give the function that tells whether calling *fn* gives a coroutine or a generator."""
    fn = unfilled(fn)
    if inspect.isroutine(fn) or inspect.isclass(fn):
        return fn
    return type(fn).__call__
