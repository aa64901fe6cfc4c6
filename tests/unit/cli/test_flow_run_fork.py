"""`headrace flow-run fork`: a run goes on as another one, and how that is told."""

from __future__ import annotations

import orjson

from tests.unit.cli.recorded import Shop, Teller
from tests.unit.cli.test_flow_run_retry import failed, find


def test_a_fork_goes_on_and_says_what_it_is_one_of(shop: Shop) -> None:
    run_id = failed(shop)
    find(shop)

    done = shop("flow-run", "fork", run_id[:8])

    tell = Teller(shop.home)
    (new, old) = tell.json("flow-run", "ls")
    said = f"Flow run {new['name']!r} completed and returned ['receipt lost', {{'shipped': 'lost'}}]"
    assert done.stdout.splitlines()[-1] == said
    assert shop.charged == ["lost"]
    assert (old["id"], old["state"]["name"], new["state"]["name"]) == (run_id, "Failed", "Completed")
    assert f"\nForked from  {old['name']} ({run_id})\n" in tell("flow-run", "inspect", new["id"]).stdout


def test_it_goes_on_from_the_step_that_is_named_and_programs_get_the_new_run(shop: Shop) -> None:
    run_id = failed(shop)
    find(shop)

    run = orjson.loads(shop("flow-run", "fork", run_id, "--from", "charge", "--output", "json").stdout)

    assert shop.charged == ["lost", "lost"]
    assert (run["went_on"], run["error"], run["state"]["name"]) == (True, None, "Completed")
    assert run["id"] != run_id


def test_a_step_that_is_not_there_ends_with_2(shop: Shop) -> None:
    run_id = failed(shop)

    done = shop("flow-run", "fork", run_id, "--from", "chrage", status=2)

    assert "has no step 'chrage' on record; did you mean 'charge'?" in done.stderr
    assert len(Teller(shop.home).json("flow-run", "ls")) == 1
