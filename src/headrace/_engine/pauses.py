"""
Pausing: a flow run waits for somebody to resume it, perhaps with an input. Of a durable run all of it is on record.

What it waits for lies in its record, where whoever resumes it reads it. What they answer is a signal that has the name
of the pause's place. One that does not fit is recorded as refused, and the pause goes on at a place of its own.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any, Final
from weakref import WeakKeyDictionary

import attrs

from headrace._engine import lines
from headrace._engine.coercion import fit, reason
from headrace._engine.forms import formed
from headrace._engine.life import reason as stopped
from headrace._engine.life import unloads
from headrace._engine.past import Past
from headrace._engine.races import branch
from headrace._engine.runs import FlowRunning, Run
from headrace._engine.schemas import schema_of
from headrace._engine.signals import about, deadline, following, kept_at, later, refuse_held
from headrace._engine.signals_lines import Turn
from headrace._engine.step_names import nth
from headrace._engine.waits import Beyond, waited
from headrace._model.events import PAUSED, RESULT, RUNNING, Stamp
from headrace._model.pauses import NOTHING, Pause, key_of
from headrace._model.signals import Signal
from headrace._model.steps import step_id
from headrace._ports import Host
from headrace.errors import FlowPauseTimeout, PauseContextError, TerminationSignal

# Of runs that are not durable: how their pauses ended, by place.
ends: Final[WeakKeyDictionary[Run, dict[str, dict[str, Any]]]] = WeakKeyDictionary()
# The types of the inputs that are waited for in this process, by the pause's place.
kinds: Final[dict[str, Any]] = {}


async def paused(
    run: Run | None, host: Host, kind: Any, seconds: float, key: str | None, *, at_once: bool = False
) -> Any:
    """
    Pause *run* until somebody resumes it; give the input, as *kind*, and None where that is None.

    Of several pauses of a run at once one is asked after the other. One to be unloaded *at_once* has to be durable.

    Raises:
        PauseContextError: It is no flow run that could be resumed.
        FlowPauseTimeout: Nobody has resumed it within *seconds*.
        StoreUnavailable, LostRun: It cannot be recorded, or another process has the run by now.
    """
    flow = pausable(run)
    if at_once and flow.scope.past is None:
        raise PauseContextError(
            "this one is not durable, so nobody could take it up again. Say durable=True, or pause it."
        )
    refuse_held(flow, "pauses its flow")
    asking = Asking(flow, host, kind, seconds, place_of(flow, key), at_once)
    if not await asking.known():
        if flow.scope.past is not None and flow.scope.past.dry:
            raise Beyond("pause_flow_run()")
        turn = Turn(flow, key_of(flow.id))
        try:
            while not turn.come():
                await waited(host, turn.gate, None, at_once=at_once)
            if not await asking.known():  # one of its key may have been answered meanwhile
                await asking.answered()
        finally:
            turn.leave()
    return asking.value


def pausable(run: Run | None) -> FlowRunning:
    """
    Give *run*, which is to pause.

    Raises:
        PauseContextError: It is no flow run, or nobody could resume it.
    """
    if run is None:
        raise PauseContextError("there is none around. Call it in a function decorated with @flow.")
    if run.spec.fn is branch:
        raise PauseContextError("this is a branch of a race. Race a subflow that pauses.")
    if not isinstance(run, FlowRunning):
        raise PauseContextError("this is a task. Pause in the flow, or have the task receive a signal.")
    if run.inherited or not run.scope.journal.keeps_results:
        raise PauseContextError("this is a process that only works for one. Pause in the flow itself.")
    if run.scope.level == "off":
        raise PauseContextError("this one is not recorded, as its durability is 'off'. Say 'batched'.")
    return run


def place_of(flow: FlowRunning, key: str | None) -> str:
    """Name a pause of *flow* by its *key*, or its turn: in each attempt anew, where that runs everything again."""
    what, number = f"pause of key {key}", 1
    if key is None:
        what = "pause" if flow.scope.past is not None else f"pause of attempt {flow.attempt}"
        number = nth(flow, what)
    return f"{flow.scope.prefix}{step_id(flow.step_id or flow.id, what, None, number)}"


@attrs.define
class Asking:
    """
    A pause of *flow*, until it is answered.

    Attributes:
        first: Its place. It goes on at the next after an input that does not fit, and after an attempt that it was over
            in.
        since: The place as of which its time counts.
        refused: Why the last input was refused.
        value: The input, as *kind*.
    """

    flow: FlowRunning
    host: Host
    kind: Any
    seconds: float
    first: str
    at_once: bool
    since: str = attrs.field(default=attrs.Factory(lambda self: self.first, takes_self=True))
    number: int = 1
    refused: str = ""
    value: Any = None

    @property
    def place(self) -> str:
        """The place at which it is."""
        return self.first if self.number == 1 else f"{self.first} {self.number}"

    @property
    def past(self) -> Past | None:
        """What is on record of its run, if that is a durable one."""
        past: Past | None = self.flow.scope.past
        return past

    async def known(self) -> bool:
        """
        Tell whether it was answered before; if not, it has come to the place at which it is to be asked.

        Raises:
            FlowPauseTimeout: Its time was over in this attempt.
        """
        while found := await self.recorded(self.place):
            if (await self.recorded(key_of(self.flow.id))).get("place") == self.place:
                self.tell(NOTHING)  # a process that was killed in this moment had not come to say so
            if self.takes(found):
                return True
        return False

    async def recorded(self, place: str) -> dict[str, Any]:
        """Give what is on record under *place*, or known of it here."""
        if self.past is not None:
            return await kept_at(self.flow, self.host, self.past, place)
        return ends.get(self.flow, {}).get(place, {})

    async def answered(self) -> None:
        """
        Ask, and wait until there is an input that fits.

        Raises:
            FlowPauseTimeout: There was none in time.
        """
        flow, past = self.flow, self.past
        if past is None:
            until = later(flow.scope.journal, self.seconds)
        else:
            until = deadline(flow, f"pause {self.since}", self.seconds)
        pause = Pause(self.place, None if self.kind is None else schema_of(self.kind), until, self.refused)
        lines.say(flow, logging.INFO, "Paused. %s To resume it: headrace flow-run resume %s", pause.said, flow.id[:8])
        self.tell(attrs.asdict(pause), PAUSED, pause.said)
        try:
            if past is not None:
                await past.secure(flow, self.host)
            while not await self.heard(until):
                lines.warn(flow, "Stays paused, since the input does not fit: %s", self.refused)
                self.tell(attrs.asdict(attrs.evolve(pause, place=self.place, refused=self.refused)))
        except BaseException as stop:
            # A run that ends here is still paused for who takes it up; one that goes on does so without an answer.
            leaves = unloads(flow) or isinstance(self.host.translated(stop), TerminationSignal)
            if stopped(flow) is None and not leaves:
                self.tell(NOTHING, RUNNING)
            raise
        self.tell(NOTHING, RUNNING)
        lines.say(flow, logging.INFO, "Resumed")

    async def heard(self, until: int | None) -> bool:
        """Wait for the next input, until that moment; tell whether it fits."""
        place, keeps = self.place, self.past is not None
        kinds[place] = self.kind
        try:
            turn = Turn(self.flow, place, at_once=self.at_once)
            signal = await following(self.flow, self.host, turn, lambda: until, place if keeps else None, self.judged)
        finally:
            del kinds[place]
        found = self.judged(signal)
        if not keeps:
            ends.setdefault(self.flow, {})[place] = found
        return self.takes(found)

    def judged(self, signal: Signal | None) -> dict[str, Any]:
        """Give what is recorded of *signal*: whether it came in time, and fits."""
        found = about(signal)
        if signal is None:
            return {**found, "attempt": self.flow.attempt}
        try:
            made(signal.data, self.kind)
        except Exception as error:
            return {**found, "refused": reason(error, signal.value, self.kind)}
        return found

    def takes(self, found: Mapping[str, Any]) -> bool:
        """
        Take what was *found* at its place; tell whether it is an answer, and go on to the next place if not.

        Raises:
            FlowPauseTimeout: The time was over.
        """
        late = "late" in found
        if late and found["attempt"] == self.flow.attempt:
            raise FlowPauseTimeout(self.flow.name, self.flow.id, self.seconds)
        self.refused = found.get("refused", "")
        if not late and not self.refused:
            try:
                self.value = made(found["data"], self.kind)
            except Exception as error:  # the type was changed since it was answered
                self.refused = reason(error, json.loads(found["data"]), self.kind)
            else:
                return True
        self.number += 1
        self.since = self.place if late else self.since
        return False

    def tell(self, what: Mapping[str, Any], stamp: Stamp | None = None, said: str | None = None) -> None:
        """Tell *what* the run waits for, and the state that it enters."""
        scope, now = self.flow.scope, self.flow.scope.journal.now()
        kept = formed(scope.journal.ledger.vault, key_of(self.flow.id), self.flow, dict(what))
        if self.past is not None:
            self.past.results[kept.key] = kept
        scope.tell((self.flow, RESULT, now, kept))
        if stamp is not None:
            scope.tell((self.flow, stamp, now, said))


def made(data: str, kind: Any) -> Any:
    """Give the input *data*, as JSON, as *kind*; raises where it does not fit."""
    return None if kind is None else fit(json.loads(data), kind)
