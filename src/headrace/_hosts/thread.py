"""The thread's host: async in name only. Its methods block, so a life runs by one send in the caller's thread."""

from __future__ import annotations

import contextvars
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final

from headrace._engine import lines
from headrace._engine.admission import come_back, stood_aside
from headrace._engine.begin import heed
from headrace._engine.calls import Call, current_call, forsake, refuse_circle
from headrace._engine.context import Attempt, current_attempt, current_run
from headrace._engine.homes import HERE
from headrace._engine.journal import Journal
from headrace._engine.promises import Countdown, Gate
from headrace._engine.runs import Run
from headrace._engine.steps import Elapsed
from headrace._hosts.clock import acquired, wall
from headrace._hosts.rooted import ANSWER_WITHIN, FOREVER, Rooted
from headrace._ports import Home, Lock, Places
from headrace.errors import RunningLoopError, StoreUnavailable


class ThreadHost(Rooted):
    """Blocks the calling thread where a life waits."""

    on_loop = False

    async def call(
        self,
        run: Run,
        seconds: float,
        function: Callable[..., Any],
        args: Sequence[Any],
        kwargs: dict[str, Any],
    ) -> Any:
        """
        Run *function* on a daemon thread of its own and leave it there after *seconds*.

        The thread sees a copy of the context. What it returns late is dropped, and the process does not wait for it.

        Raises:
            Elapsed: It took longer.
        """
        outcome: list[tuple[bool, Any]] = []
        done = threading.Lock()
        done.acquire()

        def work() -> None:
            try:
                outcome.append((True, function(*args, **kwargs)))
            except BaseException as error:  # carried over to the caller's thread, whatever it is
                outcome.append((False, error))
            finally:
                wall.finished(done)

        attempt = Attempt()
        context = contextvars.copy_context()
        context.run(current_attempt.set, attempt)
        thread = threading.Thread(target=context.run, args=(work,), name=f"headrace {run.name}", daemon=True)
        wall.started()
        try:
            thread.start()
        except BaseException:
            wall.finished()
            raise
        try:
            ended = wall.wait(done, seconds)
        except BaseException:
            attempt.left = True
            raise
        if not ended:
            attempt.left = True
            raise Elapsed
        ok, value = outcome[0]
        if ok:
            return value
        raise value

    async def sleep(self, seconds: float) -> None:
        """Block this thread for *seconds*; on the thread of a running event loop, that stalls the loop, so say so."""
        if seconds and on_loop():
            lines.ENGINE.warning(
                "A retry delay of %g s blocks the event loop on this thread, because the function is not async; "
                "make it async to let the loop go on meanwhile",
                seconds,
            )
        call = current_call()
        places = None if call is None else call.places
        if not seconds:
            return
        if call is None or places is None:
            self.stand((), seconds)
            return
        places.aside(call)
        self.stand((), seconds)
        self.back(call, places)

    def home(self, run: Run) -> Home:
        """Tell where the body of *run*, which is about to begin, runs: in this thread."""
        return HERE

    async def until(self, gates: Sequence[Gate], seconds: float = FOREVER, *, shielded: bool = False) -> bool:
        """
        Block until all *gates* are open; tell whether they are, after *seconds* at most.

        The place at work of the submitted call that waits here is given back meanwhile.

        Raises:
            RunningLoopError: An event loop runs on this thread, and this is not within a sync flow called on it.
            WaitCircleError: The call would wait for itself.
            RunCancelled: The run that waits is to stop; also where there is nothing to wait for, since what it waits
                for is stopped with it.
        """
        if all(gate.opened for gate in gates):
            if not shielded:
                heed(current_run.get())
            return True
        refuse_on_loop(gates)
        call = current_call()
        refuse_circle(call, gates)
        forsake(gates)
        places = None if call is None else call.places
        given_back = [] if gates[0].slots else stood_aside()
        if call is not None:
            call.awaits = tuple(gates)
            if places is not None:
                places.aside(call)
        strands = self.waits(gates, seconds, shielded, partial(rouse, current_run.get()))
        try:
            self.stand(gates, seconds, heeding=not shielded)
        finally:
            if strands is not None:
                strands.go_on(self.strand())
            if call is not None:
                call.awaits = ()
                if places is not None:
                    self.back(call, places)
        if given_back:
            await come_back(self, given_back)
        return all(gate.opened for gate in gates)

    def stand(self, gates: Sequence[Gate], seconds: float, *, heeding: bool = True) -> None:
        """
        Block until all *gates* are open, or for *seconds*; without gates for *seconds* in any case.

        Who stops a run rouses those who wait in it, and may come to that when the body has heard and waits anew, in its
        cleanup: that wait goes on.
        """
        end = self.clock.now() / 1e9 + seconds
        roused = True
        while roused:
            arrived = locked()
            rouse = once(arrived)
            countdown = Countdown(gates, rouse) if gates else None
            try:
                roused = self.wait(arrived, rouse, seconds, heeding=heeding)
            finally:
                if countdown is not None:
                    countdown.forget()
            if gates and all(gate.opened for gate in gates):
                return
            seconds = max(0.0, end - self.clock.now() / 1e9)

    def wait(self, lock: Lock, rouse: Callable[[], None], seconds: float, *, heeding: bool = True) -> bool:
        """
        Block until *lock* can be acquired, which *rouse* releases, or for *seconds*; tell whether it was.

        Raises:
            RunCancelled: The run that waits is to stop, unless it is not *heeding* that.
        """
        runs = listening() if heeding else []
        with stopping_guard:
            for run in runs:
                run.stops = [*(run.stops or ()), rouse]
        innermost = runs[0] if runs else None
        try:
            heed(innermost)
            roused = wall.wait(lock, seconds)
            heed(innermost)
        finally:
            with stopping_guard:
                for run in runs:
                    run.stops = [one for one in run.stops or () if one is not rouse] or None
        return roused

    def strand(self) -> int:
        """Give the number of this thread."""
        return threading.get_ident()

    def may_block(self) -> bool:
        """Tell whether code on this stack may wait in this thread."""
        return may_block()

    def here(self, asked: str, instead: str) -> ThreadHost:
        """
        Give this host to a function that blocks, which is called as *asked*; async code calls *instead*.

        Raises:
            RunningLoopError: It would block an event loop.
        """
        if not may_block():
            raise RunningLoopError(asked, instead)
        return self

    def back(self, call: Call, places: Places) -> None:
        """Wait for a place to go on."""
        arrived = locked()
        here = once(arrived)
        if places.back(call, here):
            return
        try:
            wall.wait(arrived, FOREVER)
        except BaseException:
            places.hurry(call, here)
            raise

    async def settled(self, desk: Journal, *, whole: bool = False) -> Exception | None:
        """Block until what *desk* was told so far is committed; give what went wrong instead."""
        said = None if whole else desk.at_once(False)
        if said is not None:
            return said.problem
        done = threading.Lock()
        done.acquire()
        problem: list[Exception | None] = []

        def answer(error: Exception | None) -> None:
            problem.append(error)
            done.release()

        desk.ask(answer, whole=whole)
        if not acquired(done, ANSWER_WITHIN):
            return StoreUnavailable("in use", f"it did not answer within {ANSWER_WITHIN:g} s")
        return problem[0]

    async def recall(self, desk: Journal, key: str) -> Any:
        """Block until the store has been asked for *key*; give what it holds, or None."""
        done = locked()
        found: dict[str, Any] = {}

        def answer(results: Mapping[str, Any]) -> None:
            found.update(results)
            done.release()

        desk.recall([key], answer)
        return found.get(key) if acquired(done, ANSWER_WITHIN) else None

    async def with_store(self, desk: Journal, work: Callable[[Any], Awaitable[Any]]) -> Any:
        """Block until *work* was done with the store; give what came of it."""
        done = locked()
        came: list[tuple[Any, Exception | None]] = []

        def answer(value: Any, error: Exception | None) -> None:
            came.append((value, error))
            done.release()

        desk.errand(work, answer)
        if not acquired(done, ANSWER_WITHIN):
            raise StoreUnavailable("in use", f"it did not answer within {ANSWER_WITHIN:g} s")
        value, error = came[0]
        if error is not None:
            raise error
        return value

    async def aside(self, function: Callable[[], Any]) -> Any:
        """Call *function* here: it may block."""
        return function()

    def may_wait(self) -> bool:
        """Tell whether code on this stack may wait for anybody: not on the thread of a running event loop."""
        return not on_loop()

    async def answer(self, value: Awaitable[Any]) -> Any:
        """Run a hook's coroutine to its end, in another thread where an event loop runs on this one."""
        import asyncio  # noqa: PLC0415 - 45 ms to import, for hooks that are async in flows that are not

        if not on_loop():
            return asyncio.run(awaiting(value))
        result: list[Any] = []
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=lambda: result.append(caught(lambda: context.run(asyncio.run, awaiting(value))))
        )
        thread.start()
        thread.join()
        ok, outcome = result[0]
        if not ok:
            raise outcome
        return outcome


# Around changes of `Run.stops`: several threads may wait within one run. Whoever forks takes it first.
stopping_guard: Final = threading.Lock()


def rouse(run: Run | None) -> None:
    """Have those look up who wait in the code of *run*."""
    for one in (run and run.stops) or ():
        one()


def locked() -> threading.Lock:
    """Give a lock that is taken."""
    lock = threading.Lock()
    lock.acquire()
    return lock


def once(lock: Lock) -> Callable[[], None]:
    """Give what releases *lock*, the first time that it is called."""
    left = [lock]

    def release() -> None:
        try:
            wall.finished(left.pop())
        except IndexError:
            return

    return release


def listening() -> list[Run]:
    """Give the runs whose being stopped concerns the code on this stack: up to the one that was submitted."""
    found: list[Run] = []
    run = current_run.get()
    while run is not None:
        found.append(run)
        if run.call is not None:
            break
        run = run.parent
    return found


def refuse_on_loop(gates: Sequence[Gate]) -> None:
    """
    See that this thread may block.

    Raises:
        RunningLoopError: An event loop runs on it, and waits for nobody: a sync flow that was called there blocks it by
            what it is, and may wait for what runs in other threads; anything else may not.
    """
    if not on_loop():
        return
    running = sys.modules["asyncio"]._get_running_loop()
    if not may_block() or any(needs(gate, running) for gate in gates):
        raise RunningLoopError(
            "Waiting for a run that has not ended", "`await` before the future, or task.submit(...) the task"
        )


def may_block() -> bool:
    """Tell whether this thread may wait: no event loop runs on it, or a sync flow, called there, blocks it anyway."""
    run = current_run.get()
    blocks = run is not None
    while run is not None:
        blocks = blocks and not run.spec.is_async and run.call is None
        run = run.parent
    return blocks or not on_loop()


def needs(gate: Any, loop: Any) -> bool:
    """Tell whether *gate* opens only when *loop* goes on, as far as can be known."""
    heap = [gate]
    while heap:
        call = getattr(heap.pop(), "call", None)
        if call is None:
            continue
        if getattr(call.parent and call.parent.home, "loop", None) is loop and call.spec.is_async:
            return True
        heap += call.awaits
    return False


def on_loop() -> bool:
    """Tell whether an event loop runs on this thread."""
    asyncio = sys.modules.get("asyncio")
    return asyncio is not None and asyncio._get_running_loop() is not None


def awaiting(value: Awaitable[Any]) -> Coroutine[Any, Any, Any]:
    """Give any awaitable as a coroutine."""

    async def wait() -> Any:
        return await value

    return wait()


def caught(work: Callable[[], Any]) -> tuple[bool, Any]:
    """Do *work*; give whether it returned, with its value or exception."""
    try:
        return True, work()
    except BaseException as error:
        return False, error
