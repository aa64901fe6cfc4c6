"""`headrace flow-run retry`: runs that came to a bad end go on, and how that is told."""

from __future__ import annotations

import orjson

from tests.unit.cli.recorded import Shop, Teller


def failed(shop: Shop) -> str:
    """Have an order fail where it is shipped; give the id of its run."""
    shop.mend()
    done = shop.ended(str(shop.program), "order", "lost")
    assert done.returncode == 1, done.stderr
    return Teller(shop.home).id_of("order")


def find(shop: Shop) -> None:
    """Have the parcel that was lost be found."""
    shop.change('if order == "lost"', 'if order == "never"')


def test_a_failed_run_goes_on_behind_what_completed(shop: Shop) -> None:
    run_id = failed(shop)
    find(shop)

    done = shop("flow-run", "retry", run_id[:8])

    assert done.stdout.splitlines()[-1].endswith(" completed and returned ['receipt lost', {'shipped': 'lost'}]")
    assert shop.charged == ["lost"]
    assert " is retried, with 2 finished steps on record" in done.stderr


def test_it_is_run_anew_as_a_whole_where_that_is_wanted(shop: Shop) -> None:
    run_id = failed(shop)
    find(shop)

    run = orjson.loads(shop("flow-run", "retry", run_id, "--whole", "--output", "json").stdout)

    assert shop.charged == ["lost", "lost"]
    assert (run["id"], run["run_count"], run["went_on"]) == (run_id, 2, True)
    assert run["result"] == ["receipt lost", {"shipped": "lost"}]
    assert [one["message"] for one in run["transitions"] if one["name"] == "AwaitingRetry"] == [
        "Retried by hand, as a whole"
    ]


def test_a_run_that_has_completed_ends_with_2_and_is_not_run(shop: Shop) -> None:
    run_id = failed(shop)
    find(shop)
    shop("flow-run", "retry", run_id)

    done = shop("flow-run", "retry", run_id, status=2)

    step = f"Run its flow anew, or fork it: headrace flow-run fork {run_id[:8]}"
    sentence = f"Flow run {run_id} cannot be retried: it has completed. {step}\n"
    assert (done.stdout, done.stderr) == ("", sentence)


def test_a_run_whose_code_is_gone_ends_with_2_and_can_be_retried_once_it_is_back(shop: Shop) -> None:
    run_id = failed(shop)
    find(shop)
    away = shop.program.rename(shop.program.with_suffix(".away"))

    done = shop("flow-run", "retry", run_id, status=2)
    away.rename(shop.program)

    assert "is not there any more. Put its code back to where it was, and retry it then." in done.stderr
    assert Teller(shop.home).json("flow-run", "inspect", run_id)["state"]["name"] == "Failed"
    assert "completed" in shop("flow-run", "retry", run_id).stdout


def test_of_two_who_retry_a_run_one_does(shop: Shop) -> None:
    run_id = failed(shop)
    find(shop)

    with shop.shipping("-m", "headrace", "flow-run", "retry", run_id) as first:
        done = shop("flow-run", "retry", run_id, status=2)

    assert f"is not to be resumed here: process {first.pid} on " in done.stderr
    assert first.returncode == 0
    assert shop.charged == ["lost"]


def test_a_retry_whose_process_is_killed_can_be_resumed(shop: Shop) -> None:
    run_id = failed(shop)
    find(shop)
    with shop.shipping("-m", "headrace", "flow-run", "retry", run_id) as first:
        first.kill()
        first.wait(60)

    assert "completed" in shop("flow-run", "resume", run_id).stdout
    assert shop.charged == ["lost"]
    assert Teller(shop.home).json("flow-run", "inspect", run_id)["run_count"] == 2
