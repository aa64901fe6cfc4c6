"""`headrace flow-run set-result`: a step is said to have completed, and how that is told."""

from __future__ import annotations

import pytest

from tests.unit.cli.recorded import Shop, Teller
from tests.unit.cli.test_flow_run_retry import failed


def test_a_failed_step_gets_a_result_and_the_run_goes_on_with_that(shop: Shop) -> None:
    run_id = failed(shop)

    done = shop("flow-run", "set-result", run_id[:8], "ship", '{"found": true}')

    run = Teller(shop.home).json("flow-run", "inspect", run_id)
    assert done.stdout == (
        f"Step 'ship-002' of flow run {run['name']!r} has completed with that. "
        f"To go on: headrace flow-run retry {run_id[:8]}\n"
    )
    assert run["state"]["name"] == "Failed"
    assert shop("flow-run", "retry", run_id).stdout.endswith(" returned ['receipt lost', {'found': True}]\n")


@pytest.mark.parametrize(
    ("step", "value", "said"),
    [
        ("shipp", "1", "has no step 'shipp' on record; did you mean 'ship'?"),
        ("charge", "1", "its step 'charge-001' has completed. Fork the run before it: headrace flow-run fork "),
        ("ship", "yes", """A text is written with quotes: "yes\""""),
    ],
)
def test_nothing_is_set_and_it_ends_with_2(shop: Shop, step: str, value: str, said: str) -> None:
    run_id = failed(shop)

    done = shop("flow-run", "set-result", run_id, step, value, status=2)

    assert said in done.stderr
    assert "Traceback" not in done.stderr
