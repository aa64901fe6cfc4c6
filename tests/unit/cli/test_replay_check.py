"""`headrace flow-run replay-check`: histories of killed and of finished runs, gone through by changed code."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.unit.cli.recorded import Shop, Teller


@pytest.fixture
def left(shop: Shop) -> str:
    """The id of a run that was killed while it shipped."""
    run_id = shop.killed("7")
    (shop.folder / "charged").unlink()
    return run_id


def checked(shop: Shop, *words: str, status: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = orjson.loads(
        shop("flow-run", "replay-check", *words, "--output", "json", status=status).stdout
    )
    return found


def test_the_same_code_goes_on_behind_what_is_on_record(shop: Shop, left: str) -> None:
    done = shop("flow-run", "replay-check")

    lines = done.stdout.splitlines()
    assert lines[0] == f"{left[:8]}  order, Running: goes on"
    assert lines[1].endswith(" with ship('7').")
    assert lines[2:] == ["1 history gone through. goes on: 1"]


def test_no_step_is_run_and_the_record_is_left_alone(shop: Shop, left: str) -> None:
    shop.mend()
    before = Teller(shop.home).json("flow-run", "inspect", left)

    shop("flow-run", "replay-check", left)

    assert not (shop.folder / "charged").exists()
    assert Teller(shop.home).json("flow-run", "inspect", left) == before


def test_a_finished_run_that_was_resumed_ends_as_it_did(shop: Shop, left: str) -> None:
    shop.mend()
    shop("flow-run", "resume", left)

    done = shop("flow-run", "replay-check", left)

    assert done.stdout.splitlines()[0] == f"{left[:8]}  order, Completed: same"
    assert done.stderr == "order 7\n"  # what the flow itself prints, and no log line


def test_code_that_leaves_a_recorded_step_out_drifts_and_ends_with_1(shop: Shop, left: str) -> None:
    shop.change("return [receipt, ship(number)]", "return 'nothing'")
    shop.change("receipt = charge(number)", "receipt = None")

    (verdict,) = checked(shop, left, status=1)

    assert (verdict["outcome"], verdict["wrong"], verdict["run"]["id"]) == ("drifts", True, left)
    assert "not asked for now: charge('7')" in verdict["said"]


@pytest.mark.parametrize("finished", [False, True])
def test_a_step_that_was_renamed_drifts_and_both_names_are_told(shop: Shop, left: str, finished: bool) -> None:
    if finished:
        shop.mend()
        shop("flow-run", "resume", left)
    shop.change("def charge(", "def bill(")
    shop.change("receipt = charge(number)", "receipt = bill(number)")

    (verdict,) = checked(shop, left, status=1)

    assert (verdict["outcome"], verdict["wrong"]) == ("drifts", True)
    assert verdict["said"].endswith(" Was charge('7'), is now bill('7') (renamed?).")
    assert not (shop.folder / "charged").exists()


def test_a_flow_that_cannot_use_what_its_step_came_to_under_another_name_is_not_said_to_fail(
    shop: Shop, left: str
) -> None:
    shop.change("def charge(", "def bill(")
    shop.change("receipt = charge(number)", "receipt = bill(number)['id']")

    (verdict,) = checked(shop, left)

    assert (verdict["outcome"], verdict["wrong"]) == ("goes on", False)
    assert verdict["said"].endswith(" goes on with bill('7'). Was charge('7'), is now bill('7') (renamed?).")


def test_a_step_that_is_never_recorded_is_no_renamed_one(shop: Shop, left: str) -> None:
    shop.change("def charge(", "def bill(")
    shop.change("@task\ndef bill", "@task(persist_result=False)\ndef bill")
    shop.change("receipt = charge(number)", "receipt = bill(number)")

    (verdict,) = checked(shop, left)

    assert (verdict["outcome"], "renamed" in verdict["said"]) == ("goes on", False)


@pytest.mark.parametrize("finished", [False, True])
def test_a_step_that_was_inserted_is_not_taken_for_a_renamed_one(shop: Shop, left: str, finished: bool) -> None:
    """Not even where it has the arguments of the one behind it."""
    if finished:
        shop.mend()
        shop("flow-run", "resume", left)
    shop.change("@task\ndef ship", "@task\ndef audit(order):\n    pass\n\n@task\ndef ship")
    shop.change("receipt = charge(number)", "audit(number); receipt = charge(number)")

    (verdict,) = checked(shop, left)

    assert (verdict["outcome"], verdict["wrong"]) == ("adds" if finished else "goes on", False)
    assert "audit('7')" in verdict["said"]
    assert "renamed" not in verdict["said"]


def test_a_step_with_other_arguments_is_no_renamed_one(shop: Shop, left: str) -> None:
    shop.change("receipt = charge(number)", "receipt = ship(number + '0')")

    (verdict,) = checked(shop, left)

    assert (verdict["outcome"], "renamed" in verdict["said"]) == ("goes on", False)


def test_code_that_would_fail_when_the_run_is_resumed_ends_with_1(shop: Shop, left: str) -> None:
    shop.change('print("order", number)', "print(nmuber)")

    (verdict,) = checked(shop, left, status=1)

    assert (verdict["outcome"], verdict["wrong"]) == ("fails", True)
    assert "nmuber" in verdict["said"]


def test_a_finished_run_may_end_otherwise_today(shop: Shop, left: str) -> None:
    shop.mend()
    shop("flow-run", "resume", left)
    shop.change("return [receipt, ship(number)]", "return {'receipt': receipt, **ship(number)}")

    (verdict,) = checked(shop, left)

    assert (verdict["outcome"], verdict["wrong"]) == ("fails", False)


def test_code_that_is_gone_is_unknown(shop: Shop, left: str) -> None:
    shop.program.unlink()

    (verdict,) = checked(shop, left)

    assert (verdict["outcome"], verdict["wrong"]) == ("unknown", False)


def test_runs_are_chosen_by_their_flow_and_number_the_newest_first(shop: Shop, left: str) -> None:
    newer = shop.killed("8")
    later = shop.killed("9", "order_later")

    assert [verdict["run"]["id"] for verdict in checked(shop)] == [later, newer, left]
    assert [verdict["run"]["id"] for verdict in checked(shop, "--flow", "order")] == [newer, left]
    assert [verdict["run"]["id"] for verdict in checked(shop, "--limit", "1")] == [later]
    assert [verdict["run"]["id"] for verdict in checked(shop, left, newer)] == [left, newer]


def test_runs_that_are_not_durable_have_no_history_to_go_through(tell: Teller) -> None:
    assert tell("flow-run", "replay-check", "--flow", "pipeline").stdout == (
        "No durable run of a flow 'pipeline' is on record.\n"
    )


def test_a_run_that_is_not_there_is_said(tell: Teller) -> None:
    assert tell("flow-run", "replay-check", "feed", status=1).stderr == (
        "No flow run has an id that begins with 'feed'. List them: headrace flow-run ls\n"
    )


def test_where_nothing_ever_ran_there_is_nothing_to_go_through(tell_fresh: Teller) -> None:
    assert tell_fresh("flow-run", "replay-check").stdout == "No durable flow run is on record.\n"
    assert tell_fresh.json("flow-run", "replay-check") == []
