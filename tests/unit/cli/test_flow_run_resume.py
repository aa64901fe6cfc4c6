"""`headrace flow-run resume`: runs whose processes were really killed go on, and how that is told."""

from __future__ import annotations

import re
import signal

import orjson
import pytest

from tests.chaos.processes import until
from tests.unit.cli.recorded import Shop, Teller


def test_a_killed_run_goes_on_behind_its_last_finished_step(shop: Shop) -> None:
    run_id = shop.killed("7")
    shop.mend()

    done = shop("flow-run", "resume", run_id[:8])

    assert done.stdout.splitlines()[0] == "order 7"
    assert done.stdout.splitlines()[1].endswith(" completed and returned ['receipt 7', {'shipped': '7'}]")
    assert shop.charged == ["7"]
    # Its number is that of before, or the next, as its beginning was recorded or not.
    assert re.search(r"WARNING \| Task run 'ship-00\d' - shipping 7", done.stderr)
    assert "Traceback" not in done.stderr


def test_an_async_flow_and_the_flow_it_calls_go_on(shop: Shop) -> None:
    shop.killed("7", "order_later")
    shop.mend()

    done = shop("flow-run", "resume", "last")

    assert done.stdout.endswith(" completed and returned ['receipt 7', {'shipped': '7'}]\n")
    assert shop.charged == ["7"]


def test_programs_get_the_run_and_what_it_returned_and_nothing_else(shop: Shop) -> None:
    run_id = shop.killed("7")
    shop.mend()

    done = shop("flow-run", "resume", run_id, "--output", "json")

    run = orjson.loads(done.stdout)
    assert (run["id"], run["state"]["name"], run["times_resumed"]) == (run_id, "Completed", 1)
    assert (run["went_on"], run["result"], run["error"]) == (True, ["receipt 7", {"shipped": "7"}], None)
    assert "order 7" in done.stderr


def test_a_run_that_fails_ends_with_1_and_one_sentence(shop: Shop) -> None:
    run_id = shop.killed("lost")
    shop.mend()

    done = shop("flow-run", "resume", run_id, status=1)

    last = done.stderr.splitlines()[-1]
    assert done.stdout == "order lost\n"
    assert " failed with LookupError('no such parcel\\x1b[2J'). " in last
    assert last.endswith(f"See where: headrace flow-run logs {run_id[:8]}")
    assert "lib/python" not in done.stderr


def test_a_flow_that_goes_another_way_ends_with_1_and_names_both_ways(shop: Shop) -> None:
    run_id = shop.killed("7")
    shop.mend()
    shop.change("receipt = charge(number)", "receipt = None")

    last = shop("flow-run", "resume", run_id, status=1).stderr.splitlines()[-1]

    assert "went another way than the one recorded. Recorded, and not asked for now: charge('7')." in last


@pytest.mark.parametrize("asked", ["feed", "not an id"])
def test_a_run_that_is_not_there_ends_with_2(shop: Shop, asked: str) -> None:
    shop.killed("7")

    done = shop("flow-run", "resume", asked, status=2)

    assert done.stderr == f"No flow run has an id that begins with '{asked}'. List them: headrace flow-run ls\n"


def test_a_run_that_has_ended_ends_with_2_and_is_not_run(shop: Shop) -> None:
    run_id = shop.killed("7")
    shop.mend()
    shop("flow-run", "resume", run_id)

    done = shop("flow-run", "resume", run_id, status=2)

    sentence = f"Flow run {run_id} cannot be resumed: it has ended as Completed. Run its flow anew.\n"
    assert (done.stdout, done.stderr) == ("", sentence)


def test_a_run_whose_code_is_gone_ends_with_2_and_can_go_on_once_it_is_back(shop: Shop) -> None:
    run_id = shop.killed("7")
    shop.mend()
    away = shop.program.rename(shop.program.with_suffix(".away"))

    done = shop("flow-run", "resume", run_id, status=2)
    away.rename(shop.program)

    assert "cannot be resumed: its file " in done.stderr
    assert "is not there any more. Put its code back to where it was, and resume it then." in done.stderr
    assert "completed" in shop("flow-run", "resume", run_id).stdout


def test_a_run_whose_process_lives_ends_with_2(shop: Shop) -> None:
    run_id = shop.killed("7")
    shop.mend()

    with shop.shipping("-m", "headrace", "flow-run", "resume", run_id) as first:
        done = shop("flow-run", "resume", run_id, status=2)

    assert f"is not to be resumed here: process {first.pid} on " in done.stderr
    assert first.returncode == 0


def test_ctrl_c_cancels_the_run_and_ends_with_130(shop: Shop) -> None:
    run_id = shop.killed("7")
    shop.mend()

    with shop.shipping("-m", "headrace", "flow-run", "resume", run_id) as process:
        process.send_signal(signal.SIGINT)
        process.wait(60)

    assert process.returncode == 130
    assert "Traceback" not in shop.log.read_text(encoding="utf-8")
    assert Teller(shop.home).json("flow-run", "inspect", run_id)["state"]["name"] == "Cancelled"


def test_all_that_was_left_behind_goes_on_the_oldest_first(shop: Shop) -> None:
    runs = [shop.killed(number) for number in ("1", "lost", "3")]
    shop.mend()

    done = shop("flow-run", "resume", "--all", "--output", "json", status=1)

    ends = orjson.loads(done.stdout)
    assert [end["id"] for end in ends] == runs
    assert [end["state"]["name"] for end in ends] == ["Completed", "Failed", "Completed"]
    assert shop("flow-run", "resume", "--all").stdout == "No durable run was left behind.\n"


def test_where_nothing_ever_ran_nothing_was_left_behind(tell_fresh: Teller) -> None:
    assert tell_fresh("flow-run", "resume", "--all").stdout == "No durable run was left behind.\n"
    assert tell_fresh.json("flow-run", "resume", "--all") == []
    assert tell_fresh("flow-run", "resume", "last", status=2).stdout == ""
    assert not tell_fresh.home.exists()


@pytest.mark.parametrize("words", [(), ("3f2a9c1e", "--all")])
def test_one_id_or_all_is_to_be_said(tell: Teller, words: tuple[str, ...]) -> None:
    assert "Give the id of one run, or --all." in tell("flow-run", "resume", *words, status=2).stderr


def test_a_run_that_can_go_on_says_so_with_the_command(shop: Shop) -> None:
    run_id = shop.killed("7")
    tell = Teller(shop.home)

    command = f"headrace flow-run resume {run_id[:8]}"
    assert tell("flow-run", "ls").stdout.endswith(f"\n\nTo go on with one that was left behind: {command}\n")
    assert f"\nTo go on    {command}\n" in tell("flow-run", "inspect", run_id).stdout
    assert tell.json("flow-run", "ls")[0]["resumable"]
    assert tell.json("flow-run", "inspect", run_id)["resumable"]


def test_a_run_that_went_on_says_how_often(shop: Shop) -> None:
    run_id = shop.killed("7")
    shop("flow-run", "resume", run_id, status=-9)
    shop.mend()
    shop("flow-run", "resume", run_id)
    tell = Teller(shop.home)

    assert "\nResumed     2 times\n" in tell("flow-run", "inspect", run_id).stdout
    assert tell.json("flow-run", "ls")[0]["times_resumed"] == 2
    assert not tell.json("flow-run", "ls")[0]["resumable"]
    assert "left behind" not in tell("flow-run", "ls").stdout


@pytest.mark.parametrize("state", ["crashed", "CRASHED", "Crashed"])
def test_a_killed_run_is_listed_as_crashed_before_anybody_has_recorded_that_and_after(shop: Shop, state: str) -> None:
    run_id = shop.killed("7")
    tell = Teller(shop.home)
    assert [run["id"] for run in tell.json("flow-run", "ls", "--state", state)] == [run_id]

    shop.mend()
    with shop.shipping(str(shop.program), "order", "8"):
        until(lambda: tell.json("flow-run", "inspect", run_id)["state"]["name"] == "Crashed")

    assert [run["id"] for run in tell.json("flow-run", "ls", "--state", state)] == [run_id]


def test_a_state_that_no_run_is_in_is_not_taken_for_a_mistake(tell: Teller) -> None:
    assert tell("flow-run", "ls", "--state", "paused").stdout == "No flow run is in state 'paused'.\n"


def test_a_flow_that_goes_on_for_a_while_is_told_once_of_a_run_of_it_that_was_left_behind(shop: Shop) -> None:
    run_id = shop.killed("7")
    shop.mend()

    with shop.shipping(str(shop.program), "order", "8"):
        until(lambda: "left behind" in shop.log.read_text(encoding="utf-8"))

    (line,) = [line for line in shop.log.read_text(encoding="utf-8").splitlines() if "left behind" in line]
    assert " | INFO    | headrace.engine - An earlier run of flow 'order', '" in line
    assert line.endswith(f" was left behind unfinished. To go on with it: headrace flow-run resume {run_id[:8]}")
