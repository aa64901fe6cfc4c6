"""
The past: what a durable run and the runs below it have recorded, and what is recorded of them from now on.

Each call is named by what it is (`headrace._model.steps`). One whose end is on record is not run again: its caller gets
what was recorded. What a new one comes to is told to the journal together with its end.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakSet

from headrace._engine import lines
from headrace._engine.context import resuming
from headrace._engine.delays import caught_up, delayed
from headrace._engine.forms import TYPE, ended_as, formed
from headrace._engine.journal import nobody_hears
from headrace._engine.life import queued
from headrace._engine.past_spans import below, by_caller, caller, stand_for
from headrace._engine.races import Order, branch, lost, refuse_forgone
from headrace._engine.runs import FlowRunning, Run, TaskRunning
from headrace._engine.sealing import holds, refuse_within, see_same, see_sealed, within
from headrace._engine.spec import Spec
from headrace._engine.step_names import Recorded, called, given, nth, qualified, shown, step_key, transitions
from headrace._engine.strands import Strands
from headrace._engine.tapes import Tape, kept_by, rely
from headrace._engine.trails import Placed, Trail
from headrace._engine.transactions import rejoin
from headrace._engine.waits import Beyond
from headrace._model.events import RESULT, ROLLED_BACK, SUSPENDED, Transition
from headrace._model.ids import PREFIX_LENGTH, prefix_of
from headrace._model.records import FlowRun, History, StoredResult
from headrace._model.states import State
from headrace._model.steps import IN_ROW, SIZE, arguments, as_called, step_id, told
from headrace._ports import Host, Store
from headrace.errors import (
    HeadraceError,
    LostRun,
    NonDeterministicFlow,
    RecordedError,
    SerializationError,
)

PARAMETERS: Final = "parameters"
SENT_WITHIN: Final = timedelta(seconds=10)  # in which spans are sent, as a rule: the SDK does so every 5


class Past:
    """
    What is on record of one durable run.

    Attributes:
        runs: Those on record, by their ids.
        root_id: The run, and with it all that is called below it.
        epoch: How often it was taken up: what is written for it is refused once somebody has taken it over.
        steps: The runs below it that are on record, by what they are called.
        results: What they came to, and what was drawn for the flow, by its key.
        last: The last number under each prefix: new runs are numbered from there.
        earlier: The states that the root went through before it was taken up.
        problem: What went wrong when it was to be recorded; it stops, and goes on when it is taken up.
        parameters: What the root was called with, until that is on record.
        sent_until: What ended until then has had its spans sent.
        unsent: The runs whose spans are to be made again.
        lost: Why nothing is recorded for it here any more.
        doom: Why it is to fail at once instead of going on.
        taken: Whether somebody has it who goes on from here.
        begun: Whether the run has begun here.
        over: Whether it has ended, and that is on record.
        streams: Those over a cursor that are being read, by what they are told from others by.
        draws: Stands for the last that was drawn and may not be on record yet; None where all is.
        turn: Stands for the last step that began behind something drawn: no stretch of items goes on past it.
        unrelied: The tapes of which no step, begun since, is known to rely on what they hold.
        forgone: Those that lost a race on record: they end as they are on record, and are not run.
        holding: The steps in which a transaction is open that our commits may wait for.
        sealed: The runs whose record was committed with the user's rows, each with the digest of what it has come to.
        strands: Where its code is at work here; refuses what is asked for while it is being unloaded.
        leaves: Whether it is to be left behind, for others to take up.
        dry: Whether it is only gone through: nothing is run that is not on record.
    """

    def __init__(self, root_id: str, epoch: int = 1) -> None:
        self.root_id = root_id
        self.epoch = epoch
        self.steps: dict[str, Recorded] = {}
        self.runs: dict[str, Recorded] = {}
        self.results: dict[str, StoredResult] = {}
        self.last: dict[str, int] = {}
        self.earlier: list[Transition] = []
        self.root: FlowRun | None = None
        self.trace_id: int | None = None
        self.parameters: StoredResult | None = None
        self.sent_until: datetime | None = None
        self.unsent: list[tuple[Run, list[Transition]]] = []
        self.asked: set[str] = set()
        self.streams: set[Any] = set()
        self.unrelied: set[Tape] = set()
        self.forgone: WeakSet[Any] = WeakSet()
        self.new: dict[str, list[str]] = {}
        self.holding: set[str] = set()
        self.sealed: WeakKeyDictionary[Run, str] = WeakKeyDictionary()
        self.lost: Exception | None = None
        self.problem: Exception | None = None
        self.draws: object | None = None
        self.turn: object = None
        self.strands = Strands(root_id)
        self.taken = self.begun = self.over = self.dry = self.leaves = False
        self.doom: Exception | None = None

    @property
    def resumed(self) -> bool:
        """Whether the run goes on from where another process, or an earlier call, has left it."""
        return self.root is not None

    def know(self, runs: Iterable[Recorded]) -> None:
        """Have *runs* be on record."""
        for run in runs:
            self.runs[run.id] = run
            if run.step_id is not None:
                self.steps[run.step_id] = run
            prefix, number = prefix_of(run.id), int(run.id[PREFIX_LENGTH:], 16)
            self.last[prefix] = max(self.last.get(prefix, 0), number)

    async def load(self, store: Store) -> None:
        """Read what is on record of the run and of all below it."""
        self.hold((await store.histories([self.root_id])).get(self.root_id))

    def hold(self, history: History | None) -> None:
        """Have *history* be on record; None where nothing is."""
        root = None if history is None else history.runs[0]
        self.root = root if isinstance(root, FlowRun) else None
        if history is not None:
            self.know(history.runs)
            self.results = history.results

    def taken_over(self) -> None:
        """Hear that the process that ran it is gone, and with it perhaps the spans of what it did last."""
        if self.root is not None and self.root.state.name == SUSPENDED[1]:
            self.sent_until = self.root.transitions[-1][2] - SENT_WITHIN
            return
        # That they crashed was found out by others, and maybe much later.
        ends = [run.end_time for run in self.steps.values() if run.end_time is not None and not run.state.is_crashed()]
        self.sent_until = max(ends) - SENT_WITHIN if ends else None

    async def reload(self, run: Run, host: Host) -> None:
        """Read again what is on record, before another attempt of *run*: what is done is not done again."""
        await host.with_store(run.scope.journal, self.load)

    delay, catch_up = delayed, caught_up  # between two attempts of a run

    def number(self, run: Run) -> None:
        """Name *run*, the root itself, and count what it calls from where the record ends."""
        root = self.root
        # What it is called is what all that it calls is called by: one that runs anew as a whole has another name.
        run.step_id, run.earlier = (None if root is None else root.step_id) or run.id, self.earlier
        self.count_on(run)

    def count_on(self, run: Run) -> None:
        """Number what *run* calls behind what is on record."""
        scope = run.scope
        last = self.last.get(scope.prefix, 0)
        while last and next(scope.counter) < last:
            pass

    # -- asking -----------------------------------------------------------------------------------------------------

    def name(self, run: Run, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Find out what *run*, which is about to begin, is called."""
        parent, spec = run.parent, run.spec
        assert parent is not None
        digest = arguments(given(spec, args, kwargs))
        if isinstance(run.call, Placed):
            run.step_id = run.call.step_id
        else:
            what, key = f"{spec.kind} {spec.name} {qualified(spec)}", step_key(spec, args, kwargs)
            by = digest if key is None else f"key {key}"
            run.step_id = step_id(parent.named_by, what, by, nth(parent, (what, by)))
        run.flow_attempt = parent.scope.attempt
        run.step_args = told(digest, shown(args, kwargs))
        self.asked.add(run.step_id)

    def find(self, run: Run) -> Recorded | None:
        """
        Give what is on record of *run*, which has been named; it takes the id that it had.

        Raises:
            NonDeterministicFlow: A step of the same key was called with other arguments.
        """
        known = self.steps.get(run.step_id or "")
        if known is None:
            if self.resumed and run.parent is not None:
                self.new.setdefault(run.parent.step_id or "", []).append(as_called(run.spec.name, run.step_args))
            return None
        theirs, ours = known.step_args or "", run.step_args or ""
        if theirs[:SIZE] != ours[:SIZE]:
            raise NonDeterministicFlow(
                "The step of one key", [as_called(called(known), theirs)], [as_called(run.spec.name, ours)]
            )
        self.rename(run, known.id)
        return known

    def rename(self, run: Run, run_id: str) -> None:
        """Have *run* be *run_id*, under which it is on record."""
        scope = run.scope
        if isinstance(run, FlowRunning):
            live = scope.journal.live
            live.pop(run.id, None)
            scope.prefix, scope.flow_run_id = prefix_of(run_id), run_id
            live[run_id] = run
            known = self.runs[run_id]
            if isinstance(known, FlowRun):
                # One that another attempt of its caller runs again is in another attempt, too: what failed in it counts
                # no more.
                again = known.flow_attempt != run.flow_attempt and not self.counts(run, known)
                run.attempt = scope.attempt = known.run_count + again
                run.earlier = transitions(known)
            self.count_on(run)
        else:
            run.number = int(run_id[PREFIX_LENGTH:], 16)
            if run.call is not None:
                run.call.promise.number = run.number
        if scope.trace is not None:
            scope.trace.renamed(run)

    async def enter(self, run: Run, host: Host, args: tuple[Any, ...], kwargs: dict[str, Any]) -> State[Any] | None:
        """
        Name *run*, whose arguments are known now; give the state that it ended in before, None where it is to be run.

        Raises:
            LostRun: Another process has the run by now.
            NonDeterministicFlow: What is on record does not fit what is asked for.
            SerializationError: The parameters of the durable flow cannot be recorded.
        """
        problem = self.lost or self.problem
        if problem is not None:
            raise problem
        if self.holding:
            refuse_within(run, self.holding)
        self.strands.refuse()
        self.strands.enter(run, host.strand())
        if run.step_id is not None:  # the root
            self.begun = True
            if self.doom is not None:
                raise self.doom
            if not self.resumed:
                await self.keep_parameters(run, host, args, kwargs)
            return None
        if run.spec.shape != "call" and not kept_by(run):
            if self.dry and isinstance(run, TaskRunning):
                raise Beyond(run.spec.name)
            return None
        self.name(run, args, kwargs)
        known = self.find(run)
        state = None if known is None else await self.recalled(run, host, known)
        if run.spec.shape != "call":
            run.tape = Tape(self, run)
            state = run.tape.whole(state)
        if state is not None:
            run.ended, run.final = True, state
            if known is not None:
                self.show(run, known)
                if run.tape is None:  # generators take no part in transactions
                    await rejoin(run, host, known)
            return state
        refuse_forgone(run, self.forgone)
        await self.secure(run, host)
        if self.dry and not isinstance(run, FlowRunning) and run.tape is None and run.spec.fn is not branch:
            raise Beyond(as_called(run.spec.name, run.step_args))
        if self.resumed and isinstance(run, FlowRunning):
            lines.created(run)
        if run.call is not None:
            queued(run, run.call, host)
        return None

    def counts(self, run: Run, known: Recorded) -> bool:
        """Tell whether *run* ended before, as *known*, in a way that counts, with a value that was kept."""
        state = known.state
        # What failed, lost a race or was undone is done anew by a retry.
        brief = state.is_failed() or state.name == ROLLED_BACK[1] or lost(state)
        if brief and known.flow_attempt != run.flow_attempt:
            return False
        return lost(state) or ((state.is_completed() or brief) and known.id in self.results)

    async def recalled(self, run: Run, host: Host, known: Recorded) -> State[Any] | None:
        """Give the state in which *run* ended before; None where that does not count, or its value was not kept."""
        state, kept = known.state, self.results.get(known.id)
        if not self.counts(run, known):
            return None
        if kept is None:
            return state
        unpack = partial(run.scope.journal.ledger.vault.unpack, kept)
        try:
            value = unpack() if kept.data is not None else await host.aside(unpack)
        except HeadraceError as error:
            if not state.is_failed():
                lines.warn(run, "Runs again, since its recorded result cannot be read: %s", error)
                return None
            value = RecordedError("An exception that cannot be read any more", str(error))
        return ended_as(run, state, value)

    def show(self, run: Run, known: Recorded) -> None:
        """
        Have the spans of *run*, which was run elsewhere, made again where they may have been lost with its process.

        So it is with what ended in the last moments: spans are sent in batches. One that did arrive has the same id.
        """
        observer = run.scope.journal.observer
        lost = self.sent_until is not None and known.end_time is not None and known.end_time > self.sent_until
        if observer is None or run.scope.trace is None or run.span is None or not lost:
            return
        run.group = None
        stand_for(run, known)
        run.span.set_attribute("headrace.recovered", True)
        self.unsent.append((run, transitions(known)))
        if len(self.unsent) == 1:
            run.scope.journal.errand(self.send, nobody_hears)

    async def send(self, _store: Store) -> None:
        """Hand the runs whose spans are to be made again, and those below, to the observer; in the back office."""
        unsent, self.unsent = self.unsent, []
        known = {} if self.sent_until is None else by_caller(self.runs.values(), self.sent_until)
        for run, states in unsent:
            observer = run.scope.journal.observer
            if observer is not None:
                observer.ended(run, states)
                for made, went in below(run, known):
                    observer.ended(made, went)

    def check(self, run: Run) -> None:
        """
        See that *run*, whose body has returned, has asked for every step that it had asked for before.

        Raises:
            NonDeterministicFlow: It has not.
        """
        if not self.resumed:
            return
        parents = self.below(run)
        left = [one for one in parents if one.step_id not in self.asked]
        if left:
            raise NonDeterministicFlow(
                run.label,
                [as_called(called(one), one.step_args) for one in left],
                self.new.get(run.step_id or "", ()),
            )

    def below(self, run: Run) -> list[Recorded]:
        """Give what *run* itself has on record of this attempt of its flow, and that counts."""
        own, attempt = run.id, run.scope.attempt
        found: list[Recorded] = []
        for one in self.steps.values():
            ended = one.state.is_completed() or one.state.is_failed()
            if caller(one) == own and ended and one.flow_attempt == attempt and one.id in self.results:
                found.append(one)
        return found

    # -- recording --------------------------------------------------------------------------------------------------

    async def keep_parameters(self, run: Run, host: Host, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Record what the root was called with, so that it can be called again."""
        try:
            called = {"args": list(args), "kwargs": kwargs}
            self.parameters = await self.packed(run, host, f"{run.id} {PARAMETERS}", called)
        except SerializationError as error:
            raise SerializationError(
                f"The parameters of the durable flow {run.spec.name!r} cannot be recorded, so it could not be resumed: "
                f"{error}"
            ) from None

    def keeps(self, run: Run, value: Any) -> bool:
        """Have the *value* of a task run be recorded with its row, where it is small; tell whether."""
        if self.lost is not None or self.dry or run.result_key is not None or not isinstance(run, TaskRunning):
            return False
        if self.holding or self.sealed:
            return False  # where it is compared with what is on record already
        small = run.scope.journal.ledger.vault.small(value)
        if small is None or len(small[0]) > IN_ROW or run.spec.options.get("persist_result") is False:
            return False
        run.value, run.result_key = small[0].decode(), run.id
        return True

    async def keep(self, run: Run, host: Host, state: State[Any]) -> None:
        """
        Record what *run*, which ends in *state*, came to.

        Raises:
            SerializationError: Its value has no form in which it could be kept.
        """
        if self.lost is not None or self.dry or run.spec.options.get("persist_result") is False:
            return
        if run in self.sealed or run.id in self.holding:
            see_sealed(run, state, self.sealed)
        if state.is_completed():
            if run.tape is not None and run.tape.end is None:
                return  # its consumer has left it, and may leave it later the next time
            try:
                run.recorded = await self.packed(run, host, run.id, state.data if run.tape is None else run.tape.end)
            except SerializationError as error:
                raise SerializationError(
                    f"The result of {run.label} in a durable flow cannot be recorded: {error} Return plain data, or "
                    f"say persist_result=False: then it is run again when the flow is resumed."
                ) from None
            see_same(run, self.sealed)
        elif state.is_failed():
            raised = state.data
            try:
                run.recorded = await self.packed(run, host, run.id, raised)
                if isinstance(raised, BaseException):
                    run.scope.journal.ledger.vault.unpack(run.recorded)  # many can be taken apart, and not made again
            except HeadraceError:
                text = {TYPE: type(raised).__name__, "message": str(raised)}
                run.recorded = await self.packed(run, host, run.id, text)

    async def packed(self, run: Run, host: Host, key: str, value: Any) -> StoredResult:
        """Give *value* in the form in which it is stored under *key*."""
        vault = run.scope.journal.ledger.vault
        form = partial(formed, vault, key, run, value)
        kept: StoredResult = await host.aside(form) if vault.heavy(value) else form()
        if key == run.id and run.result_key is None:
            run.result_key = key
        return kept

    def drawn(self, run: Run, what: str, draw: Any) -> Any:
        """
        Give what was drawn as *what* before, at this place; else draw it now, and record it.

        Raises:
            StepTransactionError: It is in a step transaction.
        """
        if run.id in self.holding:
            raise within(run, f"draws durable.{what}()")
        self.strands.refuse()
        scope = run.scope
        key = f"{scope.prefix}{step_id(run.named_by, what, None, nth(run, what))}"
        vault = scope.journal.ledger.vault
        kept = self.results.get(key)
        if kept is not None:
            return vault.unpack(kept)
        value = draw()
        kept = self.results[key] = formed(vault, key, run, value)
        scope.tell((run, RESULT, scope.journal.now(), kept))
        self.drew()
        return value

    def drew(self) -> None:
        """Note that something was drawn, or come to, that may not be on record yet, and by which the flow goes."""
        self.draws = object()

    async def secure(self, run: Run, host: Host) -> None:
        """Have what was drawn for *run* and the runs around it be on record, before anything is done with it."""
        self.strands.refuse()
        drawn = self.draws
        if drawn is None:
            return
        self.turn = object()
        rely(self.unrelied)
        problem = await host.settled(run.scope.journal)
        if problem is not None:
            raise problem
        if self.draws is drawn:
            self.draws = None

    def order(self, run: Run, what: str, total: int) -> Order:
        """
        Give the order in which ends, *total* at most, come to a wait of *run*, called *what*.

        Raises:
            StepTransactionError: It is in a step transaction.
        """
        if run.id in self.holding:
            raise within(run, f"calls {what}()")
        self.strands.refuse()
        return Order(self, run, what, total)

    def trail(self, run: Run, spec: Spec, name: str, constants: list[Any]) -> Trail:
        """Give the positions that a stream of *run* over the cursor *name* comes by."""
        return Trail(self, run, spec, name, constants)

    def lose(self) -> None:
        """Hear that another process has taken the run over."""
        self.lost = LostRun(self.root_id)


def past_of(run: FlowRunning) -> Past | None:
    """Give the past of *run*, which begins: that of the durable run it is part of, or its own; None: it has none."""
    scope, parent = run.scope, run.parent
    forked = parent is not None and parent.inherited and not holds(parent)
    if scope.level != "strict" or not scope.journal.keeps_results or forked:
        return None
    if parent is not None and isinstance(parent.scope.past, Past):
        return parent.scope.past
    past: Past | None = resuming.get()
    if past is None or past.root_id != run.id:
        past = Past(run.id)
    else:
        run.attempt = scope.attempt = past.root.run_count if past.root is not None else 1
    past.number(run)
    return past
