"""
The trace oracle: compares all spans that ever arrived with the record, and says what differs. Asserts nothing.

What a process that was killed had not sent yet is made again by who takes its runs up. Of a run that had ended just
before nobody does, so that it may be missing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

import attrs

from headrace import runs
from headrace._model import ids
from headrace._model.records import nanoseconds
from headrace.runs import FlowRun, TaskRun
from tests.spec.seen import Seen

PRECISION = 1_000  # nanoseconds: the times of a record are read in microseconds
UNSENT = 2_000_000_000  # nanoseconds in which a process sends the spans of what has ended there, if it lives


@attrs.frozen
class Known:
    """
    A run on record.

    Attributes:
        root: The run that none called, above it.
        caller: The id of the run that called it; None for a root.
    """

    run: FlowRun | TaskRun
    root: FlowRun
    caller: str | None

    @property
    def name(self) -> str:
        """What was called, and the id."""
        return f"{self.run.task_name if isinstance(self.run, TaskRun) else self.run.flow_name} {self.run.id}"


def differences(spans: Iterable[Seen], killed: Mapping[int, int]) -> list[str]:
    """
    Give what is not as it should be, each in a sentence; of the runs on record in the runtime there is.

    Args:
        killed: When a process was killed, in nanoseconds since 1970, by its number.
    """
    spans = list(spans)
    by_run: dict[str, list[Seen]] = defaultdict(list)
    edges: dict[str, set[int]] = defaultdict(set)
    for span in spans:
        if span.is_run:
            by_run[span.run_id].append(span)
            edges[span.id] |= {at for _, at, _ in span.events}
        elif span.is_state:
            edges[str(span.parent)].add(span.start)
    known = {one.run.id: one for one in on_record()}
    missing = {one.root.id: str(one.root.trace_id) for one in known.values() if unsent(one.root, killed)}
    found = [f"{run_id} has a span, and is not on record" for run_id in by_run.keys() - known.keys()]
    for one in known.values():
        arrived = by_run[one.run.id]
        if arrived or one.root.id not in missing:
            found += [f"{one.name} {what}" for what in of_run(one, arrived)]
        if arrived and one.root.id not in missing:
            found += [f"{one.name} {what}" for what in of_states(one, edges[span_id(one.run.id)])]
    return found + list(of_all(spans, {*missing.values()}))


def on_record() -> Iterator[Known]:
    """Give all runs."""
    flows = {flow.id: flow for flow in runs.flow_runs(limit=100_000)}
    tasks = {task.id: task for flow in flows.values() for task in runs.task_runs(flow)}

    def root_of(flow: FlowRun) -> FlowRun:
        above = flow.parent_id
        return flow if above is None else root_of(flows[str(tasks[above].flow_run_id) if above in tasks else above])

    for flow in flows.values():
        yield Known(flow, root_of(flow), flow.parent_id)
    for task in tasks.values():
        flow = flows[str(task.flow_run_id)]
        yield Known(task, root_of(flow), task.parent_task_run_id or flow.id)


def unsent(root: FlowRun, killed: Mapping[int, int]) -> bool:
    """Tell whether a run ended so shortly before its process was killed that nobody may have sent its spans."""
    pid = int(str(root.owner).split(":")[-3])
    end = root.end_time
    return pid in killed and end is not None and killed[pid] - UNSENT < nanoseconds(end) < killed[pid]


def of_run(known: Known, spans: list[Seen]) -> Iterator[str]:
    """Compare the spans of one run with its record."""
    run, caller = known.run, known.caller
    if run.end_time is None:
        yield "has not ended"
        return
    if not spans:
        yield "has no span"
    if sum("headrace.recovered" not in span.attributes for span in spans) > 1:
        yield f"has {len(spans)} spans, of which more than one is not marked as made again"
    began, ended = (nanoseconds(run.transitions[place][2]) for place in (0, -1))
    for span in spans:
        told = (span.trace, span.id, span.parent, span.attributes["headrace.state.type"])
        right = (known.root.trace_id, span_id(run.id), caller and span_id(caller), run.state.type.value)
        if told != right:
            yield f"has a span that is {told}, and not {right}"
        if not (near(span.start, began) and near(span.end, ended)):
            yield f"lasted from {began} to {ended}, and by a span from {span.start} to {span.end}"


def of_states(known: Known, edges: set[int]) -> Iterator[str]:
    """See that each state that a run came to is told by the edge of a span or by an event."""
    for _, name, at, _ in known.run.transitions:
        if not any(near(edge, nanoseconds(at)) for edge in edges):
            yield f"came to {name} at {nanoseconds(at)}, of which no span tells"


def of_all(spans: list[Seen], missing: set[str]) -> Iterator[str]:
    """See that each span has its parent, but in the traces *missing*, and that what arrived twice is the same."""
    there = {span.id: span for span in spans}
    for span in spans:
        if span.parent is not None and span.parent not in there and span.trace not in missing:
            yield f"the span {span.name} {span.id} hangs below {span.parent}, which never arrived"
        other = there[span.id]
        if (span.trace, span.parent, span.name) != (other.trace, other.parent, other.name):
            yield f"the span {span.name} {span.id} arrived also as {other}"
        if not (near(span.start, other.start) and near(span.end, other.end)):
            yield f"the span {span.name} {span.id} lasted from {span.start} to {span.end}, and also {other}"


def near(one: int, other: int) -> bool:
    """Tell whether two moments are one, as far as the record tells them apart."""
    return abs(one - other) <= PRECISION


def span_id(run_id: str) -> str:
    """Give the id of the span of a run."""
    number = int(run_id[ids.PREFIX_LENGTH :], 16)
    return f"{ids.span_id(ids.span_base(ids.prefix_of(run_id)), number):016x}"
