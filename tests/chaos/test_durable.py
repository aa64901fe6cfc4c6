"""Durable flows in workers that are killed again and again: what a caller had is never lost, nor computed again."""

from __future__ import annotations

import ast
import os
from collections import Counter
from pathlib import Path

import pytest

from headrace import runs
from headrace._model.steps import SIZE
from tests.chaos.durable_flows import right, steps_of
from tests.chaos.durable_loop import Loop, Step
from tests.chaos.processes import database, rows
from tests.spec.keeping import runtime_at

LONG = os.environ.get("CHAOS") == "long"
KILLS, STEPS = (300, 50_000) if LONG else (24, 1_500)
SEED = int(os.environ.get("CHAOS_SEED", "20240229"))


@pytest.mark.required
@pytest.mark.timeout(3_600 if LONG else 240)
def test_workers_are_killed_and_no_step_is_lost_or_run_again_after_its_caller_went_on(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    loop = Loop(home, SEED)
    loop.run(KILLS, STEPS)

    ledger, recorded = loop.ledger, on_record(home)
    lost = ledger.gone_past - recorded.keys()
    twice = {step: count for step, count in recorded.items() if count > 1}
    print(
        f"\n{loop.kills} kills, {len(ledger.gone_past)} steps acknowledged, {len(lost)} lost, {len(twice)} recorded "
        f"twice, {len(ledger.after)} run again after they were acknowledged, {ledger.again} before (seed {SEED})"
    )
    assert (lost, twice, ledger.after) == (set(), {}, [])
    see_all_right(home, loop)
    assert loop.kills >= KILLS
    assert len(ledger.gone_past) >= STEPS
    assert ledger.again > 0, "no step was cut short: the kills came too late to prove anything"


def on_record(home: Path) -> Counter[Step]:
    """Count the rows of each step, which are all of steps that completed."""
    found: Counter[Step] = Counter()
    for state, said in rows(home, "SELECT coalesce(state_name, 'Completed'), step_args FROM task_run"):
        flow, place, value = ast.literal_eval(said[SIZE:])
        assert state == "Completed", said
        found[str(flow), place, str(value)] += 1
    return found


def see_all_right(home: Path, loop: Loop) -> None:
    """See that each flow which has begun has completed, once, with all of its steps, and with what it had drawn."""
    ledger = loop.ledger
    roots = rows(home, "SELECT id, state_name FROM flow_run WHERE parent_id IS NULL")
    drawn_by = ledger.drawn()
    steps = Counter(flow for flow, _, _ in ledger.gone_past)
    assert {state for _, state in roots} == {"Completed"}
    with runtime_at(home):
        results = {str(result[0]): result[1:] for result in (runs.flow_run(one).state.result() for one, _ in roots)}
    assert len(results) == len(roots)
    assert results.keys() == {flow for (flow, _, _), _ in ledger.bodies}
    for flow, (total, drawn) in results.items():
        assert (total, steps[flow]) == (right(int(flow)), steps_of(int(flow)))
        assert drawn_by[flow] == {drawn}
    assert rows(home, "SELECT step_id FROM task_run GROUP BY 1 HAVING count(*) > 1") == []
    assert rows(home, "SELECT * FROM run_owner") == []
    with database(home / "headrace.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
