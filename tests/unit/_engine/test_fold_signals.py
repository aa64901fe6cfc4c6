"""What is read by a run that another process has by now is left out with all that is its own."""

from __future__ import annotations

from headrace._engine.fold import without
from headrace._ports import Batch
from tests.contract.stores import flow_id, prefix


def test_what_a_lost_run_has_read_is_left_out() -> None:
    batch = Batch(read=[(flow_id(1), 7, "a"), (flow_id(2), 8, "b"), (f"{prefix(1)}000000000003", 9, "c")])

    assert without(batch, {prefix(1)}).read == [(flow_id(2), 8, "b")]
