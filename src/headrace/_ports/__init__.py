"""Ports: the Protocols through which rooms meet that do not know each other. Nothing here runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from headrace._model.events import Transition
from headrace._ports.stores import Batch as Batch
from headrace._ports.stores import Codec as Codec
from headrace._ports.stores import Limits as Limits
from headrace._ports.stores import Results as Results
from headrace._ports.stores import ResultStorage as ResultStorage
from headrace._ports.stores import Ringing as Ringing
from headrace._ports.stores import Row as Row
from headrace._ports.stores import Store as Store
from headrace._ports.stores import Which as Which


class Trace(Protocol):
    """The trace that a root run and all below it belong to. Exists only while someone listens."""

    trace_id: int

    def carried(self) -> tuple[int, bool, str]:
        """Give what another process has to know to go on in it: its id, whether it is sampled, its state."""
        ...

    def attach(self, run: Any) -> object:
        """Make *run* the current span's owner for the code that follows; give what `detach` takes."""
        ...

    def renamed(self, run: Any) -> None:
        """Hear that *run*, which was attached, has another id: it is on record under that."""
        ...

    def detach(self, token: object) -> None:
        """Undo `attach`."""
        ...


class Observer(Protocol):
    """One who is told of what was committed."""

    def open(self, run: Any) -> Trace | None:
        """Decide, once for a root run, whether it is traced; called on the caller's thread."""
        ...

    def ended(self, run: Any, transitions: Sequence[Transition]) -> None:
        """Hear of a run that has ended, after its commit; called on the back office's thread."""
        ...

    def began(self, run: Any) -> None:
        """Hear of a flow run that has begun, after its commit; called on the back office's thread."""
        ...

    def undone(self, run: Any, at: int) -> None:
        """Hear that a run that had completed was rolled back *at* that time, after its commit; called there."""
        ...

    def grouped(self, group: Any, at: int) -> None:
        """Hear that every run of a map or stream had ended *at* that time, and was told of by `ended`; called there."""
        ...


class Progress(Protocol):
    """Who shows how far maps and streams are. Called from any thread."""

    def begin(self, group: Any) -> None:
        """Hear of a group of runs whose first may begin at any moment."""
        ...

    def end(self, group: Any) -> None:
        """Hear that all runs of *group* have ended."""
        ...

    def close(self) -> None:
        """Show nothing any more."""
        ...


class Lock(Protocol):
    """What of a threading.Lock a clock uses."""

    def acquire(self, blocking: bool = ..., timeout: float = ...) -> bool: ...

    def release(self) -> None: ...


class Clock(Protocol):
    """
    Where time comes from. `now` is called twice a task: let it be a builtin where it can.

    Attributes:
        settable: Whether somebody may set it, or the machine sleep, while one waits for a moment.
    """

    now: Callable[[], int]
    settable: bool

    def sleep(self, seconds: float) -> None:
        """Block this thread for *seconds*."""
        ...

    def started(self) -> None:
        """Hear that something of ours begins to work that no timer stands for: a thread, a commit."""
        ...

    def finished(self, waiter: Lock | None = None) -> None:
        """Hear that it ended; release *waiter*, on which a thread is in `wait`."""
        ...

    def wait(self, lock: Lock, seconds: float) -> bool:
        """Block this thread until *lock* could be acquired or *seconds* have passed; tell whether it was."""
        ...


class Home(Protocol):
    """
    Where the body of a run is at work: a task on a loop, or a thread.

    Attributes:
        loop: The event loop that it awaits on; None where it blocks.
        told: Whether a cancellation was sent there.
    """

    loop: Any
    told: Any

    def holds(self, run: Any) -> None:
        """Hear whose body it is, where that was not known before."""
        ...

    def rest(self) -> None:
        """Hear that the run has ended: nothing is to reach its body any more."""
        ...

    def interrupt(self) -> None:
        """Have the body hear, at its next wait, that its run is to stop; from any thread."""
        ...

    def hear(self, run: Any) -> None:
        """
        Have the code that runs here hear now that *run* is to stop.

        Raises:
            BaseException: As a rule.
        """
        ...

    def hush(self) -> bool:
        """Send nothing more: the code that runs here has heard, from a run that it called. Tell whether that is so."""
        ...

    def calm(self) -> bool:
        """Be over. Take back what was sent; tell whether the body has heard from us, and from nobody else."""
        ...

    def renew(self) -> None:
        """Begin anew, for the next attempt."""
        ...


class Places(Protocol):
    """How many submitted calls may be at work at once; who waits gives its place back meanwhile."""

    def aside(self, call: Any) -> None:
        """Give the place of *call* back while its body waits."""
        ...

    def back(self, call: Any, arrived: Callable[[], object]) -> bool:
        """Have a place again: True at once, or *arrived* is called when there is one."""
        ...

    def hurry(self, call: Any, arrived: Callable[[], object] | None = None) -> None:
        """Have a place again without waiting: the call is about to end."""
        ...


class Crew(Protocol):
    """All that one flow run has submitted."""

    policy: str
    stopping: str | None
    broke: bool

    def finish(self) -> Any:
        """Take nothing more; give the gate that opens when all has ended."""
        ...

    def stop(self, why: str) -> None:
        """Stop everything, for the reason *why*, and take nothing more."""
        ...

    def halt(self, why: str) -> None:
        """Stop all that was submitted so far, for the reason *why*."""
        ...

    def rests(self) -> bool:
        """Tell whether nothing is about to begin."""
        ...

    def suspend(self, state: Any) -> None:
        """Give up what has not begun, without a word: the flow run is unloaded, in *state*."""
        ...

    def abandon(self, why: str) -> list[str]:
        """Give up on what does not end; give the names of the runs."""
        ...

    def unseen(self) -> list[str]:
        """Give the names of runs that did not complete, and of which nobody asked what came of them."""
        ...

    def errors(self) -> list[Exception]:
        """Give the exceptions of the runs that failed by themselves, each once."""
        ...


class Host(Protocol):
    """
    Who a life waits on: a loop that suspends, or a thread that blocks.

    Attributes:
        elsewhere: Whether bodies are called in other processes, so that `call` is to call them all.
        on_loop: Whether who waits suspends, and must not block.
    """

    clock: Clock
    elsewhere: bool
    on_loop: bool

    def parcel(self, spec: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """
        Give what of a call of *spec* travels to another process; None where nothing does.

        Raises:
            NotPicklable: The function or an argument cannot.
        """
        ...

    def probe(self, spec: Any, name: str, items: Any) -> None:
        """
        See that the *items* that calls of *spec* are to get as *name* can travel, as far as one of each type tells.

        Raises:
            NotPicklable: One cannot.
        """
        ...

    def draw(self) -> float:
        """Draw a number in [0, 1), for jitter."""
        ...

    def open(self) -> Any:
        """Give a root run the journal to which it and those below it tell what happens to them."""
        ...

    def close(self) -> None:
        """Hear that a root run has ended; called once for each `open`."""
        ...

    def translated(self, stop: BaseException) -> BaseException:
        """Give what really stopped a run for *stop*: a signal may have come as a cancellation."""
        ...

    async def call(
        self,
        run: Any,
        seconds: float,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: dict[str, Any],
    ) -> Any:
        """
        Run *function* and leave it after *seconds*.

        Raises:
            Elapsed: It took longer.
        """
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait *seconds*."""
        ...

    async def settled(self, desk: Any, *, whole: bool = False) -> Exception | None:
        """
        Wait until what *desk* was told so far is committed; give what went wrong instead.

        What has only begun may be recorded a moment later, unless *whole*.
        """
        ...

    async def relieved(self, desk: Any) -> None:
        """Wait until *desk* is less crowded; together with whoever waits for that at the same place."""
        ...

    def home(self, run: Any) -> Home:
        """Tell where the body of the flow run *run*, which is about to begin, runs."""
        ...

    def really(self, run: Any, stop: BaseException) -> BaseException:
        """Give what *stop*, which left the body of the flow run *run*, is to its caller."""
        ...

    def until(self, gates: Sequence[Any], seconds: float = ..., *, shielded: bool = ...) -> Awaitable[bool]:
        """
        Wait until all *gates* are open; tell whether they are, after *seconds* at most.

        The place at work of the submitted call that waits here is given back meanwhile.

        Args:
            shielded: Let no scope that was cancelled around the run end the wait.

        Raises:
            RunningLoopError: This would block an event loop.
            RunCancelled: The run that waits is to stop.
        """
        ...

    def strand(self) -> Any:
        """Tell in which task of a loop, or thread, the code on this stack is at work."""
        ...

    async def answer(self, value: Awaitable[Any]) -> Any:
        """Give what *value* comes to: a hook's or a condition's coroutine."""
        ...

    async def recall(self, desk: Any, key: str) -> Any:
        """Give the result that the store of *desk* has under *key*; None where there is none, or it cannot be read."""
        ...

    async def with_store(self, desk: Any, work: Callable[[Any], Awaitable[Any]]) -> Any:
        """
        Have the back office of *desk* do *work* with its store; give what comes of it.

        Raises:
            StoreUnavailable: The store cannot.
        """
        ...

    async def aside(self, function: Callable[[], Any]) -> Any:
        """Give what *function* returns, which blocks for a while: in another thread where this one is a loop's."""
        ...

    def may_wait(self) -> bool:
        """Tell whether the code on this stack may wait for others."""
        ...

    def keeping(self, spec: Any, body: Any) -> Any:
        """Give *body* with what keeps its results and finds them again around it."""
        ...
