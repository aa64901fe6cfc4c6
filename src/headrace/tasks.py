"""Tasks: `@task` and what it makes of a function. The life of a run is the engine's."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Concatenate, Generic, Literal, ParamSpec, Protocol, TypeVar, Unpack, overload

from headrace._decorated import Decorated, H
from headrace._engine.inputs import bare
from headrace._engine.life import drive
from headrace._model.options import TaskOptions
from headrace._model.policy import doublings
from headrace._model.states import State
from headrace._runtime import policies
from headrace._submission import map_over, submit
from headrace.futures import Future, FutureList
from headrace.streams import Stream

__all__ = ["Task", "TaskOptions", "exponential_backoff", "task", "task_input_hash"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


class Task(Decorated, Generic[P, R_co]):
    """
    A function whose calls are task runs. Made by `@task`.

    Call it as the function: a sync one gives its value, an async one a coroutine. Inside a flow the run belongs to
    the flow; outside it stands by itself and is retried, recorded and traced all the same.
    """

    kind = "task"
    fn: Callable[P, R_co]

    @overload
    def __call__(
        self: Task[Q, Coroutine[Any, Any, T]],
        /,
        *args: Any,
        return_state: Literal[True],
        wait_for: Iterable[Any] | None = ...,
        **kwargs: Any,
    ) -> Coroutine[Any, Any, State[T]]: ...
    @overload
    def __call__(
        self, /, *args: Any, return_state: Literal[True], wait_for: Iterable[Any] | None = ..., **kwargs: Any
    ) -> State[R_co]: ...
    @overload
    def __call__(
        self, /, *args: Any, return_state: Literal[False], wait_for: Iterable[Any] | None = ..., **kwargs: Any
    ) -> R_co: ...
    @overload
    def __call__(self, /, *args: Any, wait_for: Iterable[Any] | None, **kwargs: Any) -> R_co: ...
    @overload
    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """
        Run the task.

        Args:
            return_state: Give the final State instead of the value; never raises what the run raised.
            wait_for: States that must be completed ones, else the body is not run and UpstreamTaskError raised.

        Raises:
            Exception: Whatever the function raised, as the same object, when no attempt is left.
            TaskRunTimeoutError: An attempt took longer than *timeout_seconds*, and none is left.
            ParameterBindError: The arguments do not fit the signature.
        """
        if self.arguments:
            args = self.arguments + args
        try:
            if self.streams or "return_state" in kwargs or "wait_for" in kwargs:
                return self.start(args, kwargs)
            life = self.life(args, kwargs)
            return drive(life) if self.drives else life
        except BaseException as error:
            # Raised again as it is, without our frames: the caller's line is followed by the body's.
            bare(error)
            raise

    # No parameter may be named return_state, so the forms with it overlap with none of the others. The last two are
    # for futures in the place of arguments; without them the two before tell an editor what the function takes.
    @overload
    def submit(  # type: ignore[overload-overlap]
        self: Task[Q, Coroutine[Any, Any, T]],
        /,
        *args: Any,
        return_state: Literal[True],
        wait_for: Iterable[Any] | None = ...,
        **kwargs: Any,
    ) -> State[T]: ...
    @overload
    def submit(  # type: ignore[overload-overlap]
        self, /, *args: Any, return_state: Literal[True], wait_for: Iterable[Any] | None = ..., **kwargs: Any
    ) -> State[R_co]: ...
    @overload
    def submit(self: Task[Q, Coroutine[Any, Any, T]], /, *args: Q.args, **kwargs: Q.kwargs) -> Future[T]: ...
    @overload
    def submit(self, /, *args: P.args, **kwargs: P.kwargs) -> Future[R_co]: ...
    @overload
    def submit(
        self: Task[Q, Coroutine[Any, Any, T]],
        /,
        *args: Any,
        return_state: Literal[False] = ...,
        wait_for: Iterable[Any] | None = ...,
        **kwargs: Any,
    ) -> Future[T]: ...
    @overload
    def submit(
        self, /, *args: Any, return_state: Literal[False] = ..., wait_for: Iterable[Any] | None = ..., **kwargs: Any
    ) -> Future[R_co]: ...

    def submit(self, /, *args: Any, **kwargs: Any) -> Any:
        """
        Start a run beside the code that goes on; give its future at once. In sync and async code alike.

        Arguments may be futures, also within lists, dicts, dataclasses and the like: the run begins once they have
        ended, and gets their results. If one of them did not complete, the run is not begun, and its future raises
        UpstreamTaskError. What was submitted in a flow run has ended when the flow run ends.

        Args:
            wait_for: Futures or states that must have completed before it begins.
            return_state: Block until it has ended, and give its final State. Not on the thread of an event loop.

        Raises:
            SubmissionError: There is no flow run around, and no `headrace.Runtime`.
            CrewGone: The flow run around has ended, or is to stop.
            RunningLoopError: This would block an event loop: now, or, in a sync flow called on one, at the flow's end.
            OptionError: The function is a generator.
            OptionTypeError: *wait_for* is no iterable.
            NotPicklable: The flow runs tasks in processes, and an argument cannot be handed to one.
        """
        return submit(self, args, kwargs)

    @overload
    def map(
        self: Task[Q, Coroutine[Any, Any, T]],
        /,
        *args: Any,
        return_state: Literal[True],
        wait_for: Iterable[Any] | None = ...,
        **kwargs: Any,
    ) -> list[State[T]]: ...
    @overload
    def map(
        self, /, *args: Any, return_state: Literal[True], wait_for: Iterable[Any] | None = ..., **kwargs: Any
    ) -> list[State[R_co]]: ...
    @overload
    def map(
        self: Task[Q, Coroutine[Any, Any, T]],
        /,
        *args: Any,
        return_state: Literal[False] = ...,
        wait_for: Iterable[Any] | None = ...,
        **kwargs: Any,
    ) -> FutureList[T]: ...
    @overload
    def map(
        self, /, *args: Any, return_state: Literal[False] = ..., wait_for: Iterable[Any] | None = ..., **kwargs: Any
    ) -> FutureList[R_co]: ...

    def map(self, /, *args: Any, **kwargs: Any) -> Any:
        """
        Start a run for each item of the iterables among the arguments; give their futures at once, in order.

        What cannot be iterated, texts, and what is marked `unmapped` or `quote`, is handed to every run; defaults are
        never mapped. A dict is mapped over its keys, a FutureList over its futures. An iterator that is the only one is
        read as the runs begin, several are read to their end first.

        Args:
            wait_for: Futures or states that must have completed before any of them begins.
            return_state: Block until all have ended, and give their final States. Not on the thread of an event loop.

        Raises:
            MappingMissingIterable: Nothing among the arguments is to be iterated.
            MappingLengthMismatch: Iterables have different lengths.
            SpentSource: An iterator was read to its end before, or is given twice.
            SourceTooLong: One of several iterators gives more than 10,000,000 items.

        And what `submit` raises.
        """
        return map_over(self, args, kwargs)

    @overload
    def stream(
        self: Task[Q, Coroutine[Any, Any, T]],
        /,
        *args: Any,
        limit: int = ...,
        ordered: bool = ...,
        return_state: Literal[True],
        wait_for: Iterable[Any] | None = ...,
        **kwargs: Any,
    ) -> Stream[State[T]]: ...
    @overload
    def stream(
        self,
        /,
        *args: Any,
        limit: int = ...,
        ordered: bool = ...,
        return_state: Literal[True],
        wait_for: Iterable[Any] | None = ...,
        **kwargs: Any,
    ) -> Stream[State[R_co]]: ...
    @overload
    def stream(
        self: Task[Q, Coroutine[Any, Any, T]],
        /,
        *args: Any,
        limit: int = ...,
        ordered: bool = ...,
        return_state: Literal[False] = ...,
        wait_for: Iterable[Any] | None = ...,
        **kwargs: Any,
    ) -> Stream[T]: ...
    @overload
    def stream(
        self,
        /,
        *args: Any,
        limit: int = ...,
        ordered: bool = ...,
        return_state: Literal[False] = ...,
        wait_for: Iterable[Any] | None = ...,
        **kwargs: Any,
    ) -> Stream[R_co]: ...

    def stream(self, /, *args: Any, **kwargs: Any) -> Any:
        """
        Run for each item of a source of any length, a bounded number at once; give the results as they come.

        In async code `async with task.stream(source) as results: async for result in results: ...`, in sync flows
        `for result in task.stream(source): ...`. The source, an iterable or, in async code, an async one, is pulled as
        room appears. Leaving early cancels what is in flight. What raises, a run or the source, ends the stream.

        Args:
            limit: How many items may be in flight, from the pull to the hand-over of the result; at least 1. 100.
            ordered: Give results in the order of the items; if False, as they come. True.
            return_state: Give final States, also of runs that failed, in place of results. False.
            wait_for: Futures or states that must have completed before any of the runs begins.

        Raises:
            MappingMissingIterable: Nothing among the arguments is to be iterated.
            SpentSource: An iterator was read to its end before, or is given twice.
            OptionError, OptionTypeError: *limit* is less than 1, or no whole number.
            SubmissionError: There is no flow run around, and no `headrace.Runtime`.

        While it is iterated, it raises what a run or the source raises, and MappingLengthMismatch where one of several
        sources ends before the others.
        """
        made: Stream[Any] = Stream(self, args, kwargs)
        return made

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Task[P, R_co]: ...
    @overload
    def __get__(
        self: Task[Concatenate[Any, Q], R_co], instance: object, owner: type | None = None
    ) -> Task[Q, R_co]: ...

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        """Give the task bound to *instance*, as methods are."""
        return self.bound_to(instance, owner)

    def with_options(self, **options: Unpack[TaskOptions]) -> Task[P, R_co]:
        """Give a copy with other options; those not named stay, None goes back to the default."""
        changed: Task[P, R_co] = self.with_given(options)
        return changed

    @property
    def tags(self) -> frozenset[str]:
        """The tags every run of it has."""
        return self.spec.tags

    def on_running(self, hook: H) -> H:
        """Have *hook(task, task_run, state)* called at the start of each attempt; use it as a decorator."""
        return self.add_hook("on_running", hook)

    def on_completion(self, hook: H) -> H:
        """Have *hook(task, task_run, state)* called when a run completed; use it as a decorator."""
        return self.add_hook("on_completion", hook)

    def on_failure(self, hook: H) -> H:
        """Have *hook(task, task_run, state)* called when a run failed for good; use it as a decorator."""
        return self.add_hook("on_failure", hook)

    def on_commit(self, hook: H) -> H:
        """Have *hook(transaction)* called when that around a completed run commits; use it as a decorator."""
        return self.add_hook("on_commit", hook)

    def on_rollback(self, hook: H) -> H:
        """Have *hook(transaction)* called when that around a completed run is rolled back; use it as a decorator."""
        return self.add_hook("on_rollback", hook)


class TaskDecorator(Protocol):
    """What `@task(...)` with options gives."""

    @overload
    def __call__(self, fn: classmethod[Any, P, R], /) -> Task[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Task[P, R]: ...


@overload
def task(fn: classmethod[Any, P, R], /, **options: Unpack[TaskOptions]) -> Task[P, R]: ...
@overload
def task(fn: Callable[P, R], /, **options: Unpack[TaskOptions]) -> Task[P, R]: ...
@overload
def task(fn: None = None, /, **options: Unpack[TaskOptions]) -> TaskDecorator: ...


def task(fn: Any = None, /, **options: Any) -> Any:
    """
    Make a function a task; with or without parentheses.

    Args:
        name: What it is called in logs, records and spans. The function's name.
        description: Free text. The docstring.
        version: Free text.
        tags: Strings that every run carries.
        task_run_name: A template over the parameters such as "fetch {url}", or a callable that gives the name.
        retries: Attempts after the first; 0 or more.
        retry_delay_seconds: Seconds or timedelta before each retry, a list of them (at most 50; the last holds on),
            or a callable that makes the list from *retries*, such as `exponential_backoff(1)`.
        retry_jitter_factor: Spread each delay between delay / (1 + factor) and delay * (1 + factor), delay on average.
        retry_condition_fn: `condition(task, task_run, state)`, sync or async; false ends the retries.
        timeout_seconds: Seconds or timedelta an attempt may take. An async body is cancelled; a sync one runs in a
            thread of its own and is left there: its caller goes on in time, its late result is dropped. In a worker
            process, see ProcessPoolTaskRunner, either is killed.
        log_prints: Turn `print` into log lines at INFO. As the calling flow does.
        cache_policy: What a cache key is made of, as in headrace.cache_policies. None: nothing is cached, unless
            *persist_result* is True, which means DEFAULT.
        cache_key_fn: `function(context, parameters)` that gives the key, or None for no caching of that call.
        cache_expiration: Seconds or timedelta after which a cached result counts as gone; more than 0. Never. To give
            it is to ask for a cache.
        refresh_cache: Compute anew, and replace what is cached. As HEADRACE_REFRESH_CACHE says.
        persist_result: Keep what runs return. As the calling flow does; True where any option about results is given.
        result_storage: The folder, URL or storage where it lies. As the calling flow has it; else small results lie in
            the database, large ones in HEADRACE_RESULT_STORAGE.
        result_serializer: "json", "pickle", "compressed/json" and so on, or an object with a name, dumps and loads.
        deterministic: Whether a generator that is run again yields the same again: then it is retried after items, and
            a durable flow that is resumed takes it up behind those on record. One with a parameter `resume_from=0` is
            called with the number of the next item instead.
        result_storage_key: A template of the name in the storage, with `parameters`, `flow_run` and `task_run`.
        cache_result_in_memory: Whether this process may know it without asking the database. True.
        on_commit, on_rollback: Lists of hooks `hook(transaction)`; see headrace.transactions.
        on_running, on_completion, on_failure: Lists of hooks `hook(task, task_run, state)`; one that raises is logged.

    Raises:
        OptionTypeError: An option is unknown or of the wrong type.
        OptionError: An option's value is out of bounds, or contradicts another.
    """

    def decorate(function: Any) -> Task[..., Any]:
        return Task(function, options)

    return decorate if fn is None else decorate(fn)


def task_input_hash(context: Any, parameters: dict[str, Any]) -> str | None:
    """
    Give a cache key of the task, its code and all arguments; made to be a *cache_key_fn*.

    Raises:
        HashError: An argument cannot be told from others; as a *cache_key_fn* that costs the caching of that call.
    """
    key: str | None = policies().task_input_hash(context, parameters)
    return key


def exponential_backoff(backoff_factor: float) -> Callable[[int], list[float]]:
    """Give a *retry_delay_seconds* of *backoff_factor* seconds that doubles with each retry: 1, 2, 4, 8 ... for 1."""
    return lambda retries: doublings(backoff_factor, retries)
