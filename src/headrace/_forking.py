"""
Forking: a new durable run that has on record what another one did before one of its steps, and goes on from there.

The rows are copied under ids of their own. What steps are called derives from what their root is called, and the new
root is called as the other one: so it finds them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from headrace._engine.journal import Journal
from headrace._engine.past import PARAMETERS, Past
from headrace._engine.past_spans import caller
from headrace._engine.step_names import Recorded, transitions
from headrace._model.events import CRASHED, PENDING, Transition
from headrace._model.ids import FIRST, PREFIX_LENGTH, prefix_of, short_id
from headrace._model.naming import flow_run_name
from headrace._model.records import FlowRun, StoredResult, TaskRun
from headrace._ports import Batch, Host, Row, Store
from headrace._resuming import (
    Claim,
    called_with,
    claims,
    code_of,
    ended_in,
    has_ended,
    log,
    one_of,
    refuse_part,
    refuse_plain,
)
from headrace._rewriting import NEVER, began, ended, flow_row, small, step_called, steps_of, task_row
from headrace.errors import NotForkable

CUT: Final = "It had not ended where its flow run was forked"
MICROSECOND: Final = 1_000  # nanoseconds
FORKED: Final = "Forked from"  # how a fork begins to say what it is one of


async def forked(host: Host, journal: Journal, run_id: str, from_task: str | None) -> Claim:
    """
    Have a fork of the run *run_id* be on record, and be this process's.

    Args:
        from_task: Which step it goes on from, as `step_called` finds it; None: from the end of what is on record, or,
            of a run that came to a bad end, from what did not complete.

    Raises:
        NotForkable, RunNotFound, AmbiguousRunId: It cannot be forked; says why.
        StepNotFound: It has no such step.
    """

    async def look(store: Store) -> tuple[FlowRun, Past]:
        run = await one_of(store, run_id)
        refuse_plain(run, NotForkable)
        refuse_part(run, NotForkable)
        past = Past(run.id)
        await past.load(store)
        return run, past

    run, past = await host.with_store(journal, look)
    flow = code_of(run, NotForkable)
    args, kwargs = called_with(run.id, past.results.get(f"{run.id} {PARAMETERS}"), journal, NotForkable)
    batch = Fork(journal, run, past, from_task).batch()
    new = claims[batch.owned[0][0]] = Past(batch.owned[0][0])

    async def copy(store: Store) -> None:
        await store.append(batch)
        await new.load(store)

    try:
        await host.with_store(journal, copy)
        assert new.root is not None
    except BaseException:
        claims.pop(new.root_id, None)
        raise
    new.earlier = transitions(new.root)
    log.info("Flow run %r is forked from %r, with %d finished steps on record", new.root.name, run.name, ended_in(new))
    return flow, new, args, kwargs


class Fork:
    """
    What a fork of *run*, of which *past* is on record, has on record itself.

    Attributes:
        step: The step that it goes on from; None where there is none.
        cut: When that began, in nanoseconds since 1970.
        attempts: The attempts in which the flow runs were then that it was in, by their ids.
        kept: The steps that the fork has: those that had ended, and who called them.
        prefixes: The first four groups of the new ids, by those of the old ones.
    """

    def __init__(self, journal: Journal, run: FlowRun, past: Past, from_task: str | None) -> None:
        self.journal = journal
        self.run = run
        self.past = past
        steps = steps_of(run, past.runs.values())
        self.step = None if from_task is None else step_called(from_task, run.id, steps)
        self.cut = NEVER if self.step is None else began(self.step)
        self.attempts: dict[str, int] = {}
        for one in () if self.step is None else self.and_above(self.step):
            self.attempts[prefix_of(caller(one) or run.id) + FIRST] = one.flow_attempt
        # Of a run that came to a bad end, as another attempt: what failed is not among what counts there.
        self.anew = self.step is None and has_ended(run) and not run.state.is_completed()
        self.kept: dict[str, Recorded] = {}
        for one in steps:
            if self.counts(one):
                self.kept.update({each.id: each for each in self.and_above(one)})
        flows = [run.id, *(one.id for one in self.kept.values() if isinstance(one, FlowRun))]
        self.prefixes = {prefix_of(flow): journal.draw() for flow in flows}

    def counts(self, one: Recorded) -> bool:
        """Tell whether the fork has what *one* came to."""
        if self.anew and not one.state.is_completed():
            return False
        return one is not self.step and ended(one) <= min(self.cut, NEVER - 1)

    def and_above(self, one: Recorded) -> Iterator[Recorded]:
        """Give *one*, and what it was called in, without the run itself."""
        above: Recorded | None = one
        while above is not None and above.id != self.run.id:
            yield above
            above = self.past.runs.get(caller(above) or "")

    def new(self, run_id: str | None) -> str | None:
        """Give the id in the fork of what has *run_id* in the run, and all others as they are."""
        if run_id is None or prefix_of(run_id) not in self.prefixes:
            return run_id
        return self.prefixes[prefix_of(run_id)] + run_id[PREFIX_LENGTH:]

    def batch(self) -> Batch:
        """Give what is to be written, so that this process has the fork."""
        now, owner = self.journal.now(), self.journal.owner
        batch = Batch([self.root(now)], strict=True)
        for one in self.kept.values():
            if isinstance(one, FlowRun):
                batch.flow_runs.append(self.flow(one, now))
            else:
                batch.task_runs.append(self.task(one, now))
        batch.results += [self.result(kept) for kept in self.past.results.values() if self.has(kept)]
        new_id = batch.flow_runs[0][0]
        batch.owned.append((new_id, owner, 1, now))
        batch.fences[new_id] = 1
        return batch

    def root(self, now: int) -> Row:
        """Give the row of the fork itself."""
        run = self.run
        before = "" if self.step is None else f", before {self.step.name} ({short_id(self.step.id)})"
        return flow_row(
            run,
            [(PENDING, now, f"{FORKED} {run.name} ({run.id}){before}")],
            id=self.new(run.id),
            name=self.named(run),
            start_time=None,
            run_count=self.attempts.get(run.id, run.run_count) + self.anew,
            owner=self.journal.owner,
            trace_id=None,
            result_key=None,
            step_id=run.step_id or run.id,
            epoch=1,
        )

    def flow(self, one: FlowRun, now: int) -> Row:
        """Give the row of a subflow run."""
        return flow_row(
            one,
            self.went(one, now),
            id=self.new(one.id),
            name=self.named(one),
            parent_id=self.new(one.parent_id),
            run_count=self.attempts.get(one.id, one.run_count),
            owner=self.journal.owner,
            result_key=self.new(one.result_key) if self.counts(one) else None,
            epoch=1,
        )

    def task(self, one: TaskRun, now: int) -> Row:
        """Give the row of a task run."""
        counts = self.counts(one)
        return task_row(
            one,
            self.went(one, now),
            self.past.results.get(one.id) if counts else None,
            id=self.new(one.id),
            flow_run_id=self.new(one.flow_run_id),
            parent_task_run_id=self.new(one.parent_task_run_id),
            result_key=self.new(one.result_key) if counts else None,
        )

    def went(self, one: Recorded, now: int) -> list[Transition]:
        """Give the states that *one* went through; one that has not ended by the cut has crashed there."""
        went = transitions(one)
        if self.counts(one) or (self.anew and one.state.is_final()):
            return went
        return [*(state for state in went if state[1] <= self.cut), (CRASHED, now, CUT)]

    def named(self, run: FlowRun) -> str:
        """Give the name of a flow run in the fork: one that was worked out from the id is so again."""
        prefix = prefix_of(run.id)
        return flow_run_name(self.prefixes[prefix]) if run.name == flow_run_name(prefix) else run.name

    def has(self, kept: StoredResult) -> bool:
        """Tell whether the fork has *kept* in a row of its own."""
        one = self.past.runs.get(kept.key)
        if one is not None:
            return one.id in self.kept and self.counts(one) and not (isinstance(one, TaskRun) and small(kept))
        if kept.key == f"{self.run.id} {PARAMETERS}":
            return True
        # What was drawn, and what came of races and receives. The cut is told to the microsecond alone.
        return prefix_of(kept.key) in self.prefixes and kept.created - kept.created % MICROSECOND <= self.cut

    def result(self, kept: StoredResult) -> StoredResult:
        """Give *kept* as the fork has it."""
        key = self.prefixes[prefix_of(kept.key)] + kept.key[PREFIX_LENGTH:]
        return kept._replace(key=key, run_id=self.new(kept.run_id) or kept.run_id)
