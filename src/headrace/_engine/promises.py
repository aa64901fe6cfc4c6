"""
Promises: what submitted runs will come to. Settled once, by whoever ran it, and told to those who wait.

Nothing here waits: hosts do, by `when_done`. Every call back comes on the thread that settled.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from headrace._engine.inputs import bare
from headrace._engine.spec import Spec
from headrace._model.annotations import watch
from headrace._model.ids import run_id
from headrace._model.naming import flow_run_name
from headrace._model.records import moment, task_run_name
from headrace._model.states import State, StateType, exception_of, unsuccessful
from headrace.errors import CancelledRun, CrashedRun

# Around reads and writes of two attributes; nobody waits in it, and whoever forks takes it first.
guard: Final = threading.Lock()
Watcher = Callable[[Any], object]


class Gate:
    """
    Something that comes true once, and those who want to hear of it.

    Attributes:
        slots: Whether it is about slots of limits, so that who waits for it gives none back meanwhile.
    """

    __slots__ = ("__weakref__", "opened", "others", "watcher")
    slots = False

    def __init__(self) -> None:
        self.opened = False
        # Who is to be told: no list for one, as there are very many gates.
        self.watcher: Watcher | None = None
        self.others: list[Watcher] | None = None

    def when_done(self, callback: Watcher) -> None:
        """Have *callback* called with this gate once it is open: at once where it is."""
        with guard:
            if not self.opened:
                if self.watcher is None and self.others is None:
                    self.watcher = callback
                elif self.others is None:
                    self.others = [callback]
                else:
                    self.others.append(callback)
                return
        callback(self)

    @property
    def awaited(self) -> bool:
        """Whether anybody wants to hear of it."""
        return self.watcher is not None or bool(self.others)

    def forget(self, callback: Watcher) -> None:
        """Call *callback* no more."""
        with guard:
            if self.watcher == callback:
                self.watcher = None
            elif self.others is not None and callback in self.others:
                self.others.remove(callback)

    def open(self) -> None:
        """Come true, and tell everybody."""
        with guard:
            self.opened = True
            watcher, self.watcher = self.watcher, None
            others, self.others = self.others, None
        if others is not None:
            self.tell(others if watcher is None else [watcher, *others])
        elif watcher is not None:
            watcher(self)

    def tell(self, watchers: list[Watcher]) -> None:
        """Call *watchers*, every one of them, even if one raises."""
        for place, callback in enumerate(watchers):
            try:
                callback(self)
            except BaseException:
                self.tell(watchers[place + 1 :])
                raise


class Promise(Gate):
    """
    What one submitted run will come to.

    Attributes:
        spec: What runs.
        owner_id: The id of the flow run that a task run belongs to.
        prefix, number: Those of its run's id, drawn before it begins.
        call: The call, from its submission to its end.
        value: What it returned, where that is an ordinary value.
        final: The state it ended in, where that is not the usual one.
        at: When it ended, in nanoseconds since 1970.
        looked: Whether anybody has asked what came of it.
    """

    __slots__ = ("at", "call", "final", "given_name", "looked", "number", "owner_id", "prefix", "spec", "value")

    def __init__(self, spec: Spec, prefix: str, number: int, owner_id: str | None) -> None:
        # Not by Gate's own: one call less for each of many.
        self.opened = False
        self.watcher = self.others = None
        watch.states = watch.promises = True
        self.spec = spec
        self.prefix = prefix
        self.number = number
        self.owner_id = owner_id
        # A `headrace._engine.calls.Call`.
        self.call: Any = None
        self.given_name: str | None = None
        self.value: Any = None
        self.final: State[Any] | None = None
        self.at = 0
        self.looked = False

    @property
    def kind(self) -> str:
        """Whether a task or a flow runs."""
        return self.spec.kind

    @property
    def began(self) -> bool:
        """Whether its run has begun."""
        return self.opened or (self.call is not None and self.call.run is not None and self.call.run.started > 0)

    @property
    def name(self) -> str:
        """The run's name."""
        if self.call is not None and self.call.run is not None:
            return str(self.call.run.name)
        if self.given_name is not None:
            return self.given_name
        return task_run_name(self.spec.name, self.run_id) if self.kind == "task" else flow_run_name(self.prefix)

    @property
    def run_id(self) -> str:
        """The run's id, known before it begins."""
        return run_id(self.prefix, self.number)

    def settle(self, value: Any, final: State[Any] | None, at: int) -> None:
        """Say what came of it; once."""
        if self.call is not None and self.call.run is not None:
            self.given_name = self.call.run.given_name
        self.value, self.final, self.at = value, final, at
        self.call = None
        self.open()

    def unload(self, state: State[Any] | None) -> None:
        """Hear that the run is unloaded, in *state*: it is settled once the run, taken up again, has ended."""
        self.call, self.final = None, state

    @property
    def failed(self) -> bool:
        """Whether it has ended otherwise than well."""
        return self.final is not None and not self.final.is_completed()

    @property
    def state(self) -> State[Any]:
        """The run's state as it now stands."""
        call = self.call
        if self.opened:
            self.looked = True
            return self.final or self.stamped(State(StateType.COMPLETED, data=self.value))
        if call is None or call.run is None or not self.began:
            return self.stamped(self.final or State(StateType.PENDING))
        return self.stamped(State(StateType.RUNNING, "Running" if call.run.attempt == 1 else "Retrying"))

    def stamped(self, state: State[Any]) -> State[Any]:
        """Give *state* with whose it is and when it was entered."""
        own = {"task_run_id": self.run_id, "flow_run_id": self.owner_id}
        if self.kind == "flow":
            own = {"flow_run_id": self.run_id}
        at = moment(self.at) if self.at else None
        return State(state.type, state.name, message=state.message, data=state.data, timestamp=at, **own)

    @property
    def error(self) -> Exception | None:
        """
        The exception it stands for; None where it ended well.

        What is no Exception (a cancellation, Ctrl-C, sys.exit) ended that run alone, and comes here as CancelledRun or
        CrashedRun with the original as its cause: who awaits a cancelled run is not cancelled.
        """
        state = self.final
        if state is None or not unsuccessful(state):
            return None
        error = exception_of(state)
        if isinstance(error, Exception):
            return error
        kind = CancelledRun if state.is_cancelled() else CrashedRun
        made = kind(f"{self.kind.title()} run {self.name!r} ended as {state}.", self.run_id)
        made.__cause__ = error
        return made

    def outcome(self) -> Any:
        """
        Give the value of a run that has ended.

        Raises:
            Exception: What the run raised, or stands for.
        """
        self.looked = True
        if self.final is None:
            return self.value
        error = self.error
        if error is not None:
            raise error
        return self.final.result()


class Promises:
    """Several promises in order, as a map makes them; made when asked for."""

    def promises(self) -> Sequence[Promise]:
        """Give all of them."""
        raise NotImplementedError


class Countdown:
    """Call *done* once several gates are open: once, on the thread that opened the last."""

    __slots__ = ("done", "gates", "left")

    def __init__(self, gates: Iterable[Gate], done: Callable[[], object]) -> None:
        self.gates = list(gates)
        self.done = done
        self.left = len(self.gates) + 1
        for gate in self.gates:
            gate.when_done(self)
        self(None)

    def __call__(self, _gate: object) -> None:
        with guard:
            self.left -= 1
            left = self.left
        if not left:
            self.done()

    def forget(self) -> None:
        """Want to hear no more."""
        if self.left > 0:
            for gate in self.gates:
                gate.forget(self)


def joined(promises: Sequence[Promise], what: str, of: int | None = None) -> list[Any]:
    """
    Give the values of *promises*, all of which have ended, in order; they stand for *of* runs, if not for themselves.

    Raises:
        Exception: That of the one which failed.
        ExceptionGroup: Several did; it holds the exception of each, in order, and each but once.
    """
    values: list[Any] = []
    errors: dict[int, Exception] = {}
    failed = 0
    for promise in promises:
        try:
            values.append(promise.outcome())
        except Exception as error:
            bare(error)  # with our frames, which hold the promises, it would hold itself
            failed += 1
            errors.setdefault(id(error), error)
    if not errors:
        return values
    listed = list(errors.values())
    raise listed[0] if len(listed) == 1 else ExceptionGroup(f"{failed} of {of or len(promises)} {what} failed", listed)
