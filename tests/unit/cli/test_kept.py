"""What `flow-run inspect` and `task-run inspect` say of results: who computed them, and where they lie."""

from __future__ import annotations

import pytest

from tests.unit.cli.recorded import Teller, rewritten


def result_of(tell: Teller, *words: str) -> str:
    """Give what is said of the result of the run that *words* inspect."""
    lines = tell(*words, COLUMNS="300").stdout.partition("\n\n")[0].splitlines()
    return next((line.split(maxsplit=1)[1] for line in lines if line.startswith("Result ")), "")


def test_a_cached_task_run_names_the_run_that_computed_it(tell_cached: Teller) -> None:
    computed = tell_cached.id_of("caching")[:8]

    tree = tell_cached("flow-run", "inspect", "last").stdout
    alone = tell_cached("task-run", "inspect", "last.1").stdout

    assert f"├─ ✓ add-001 (Cached from {computed}.001) " in tree
    assert f"├─ ✓ big of 100000 (002) (Cached from {computed}.003) " in tree
    assert "└─ ✓ unkept-003  " in tree
    assert f"\nComputed by  {computed}.001\n" in alone
    assert "\nState        Cached(type=COMPLETED)\n" in alone
    assert "Computed by" not in tell_cached("task-run", "inspect", f"{computed}.1").stdout


def test_programs_get_the_key_and_the_run_that_computed_it(tell_cached: Teller) -> None:
    flow = tell_cached.json("flow-run", "inspect", tell_cached.id_of("caching"))
    first, again = flow["task_runs"][:2]
    late = tell_cached.json("task-run", "inspect", "last.1")

    assert (flow["result_key"], tell_cached.json("flow-run", "inspect", "last")["result_key"]) == (flow["id"], None)
    assert (first["cached_from"], again["cached_from"], late["cached_from"]) == (None, first["id"], first["id"])
    assert len({first["result_key"], again["result_key"], late["result_key"]}) == 1
    assert tell_cached.json("cache", "inspect", first["result_key"])["run_id"] == first["id"]


def test_where_a_result_lies_is_said_with_the_command_that_shows_it(tell_cached: Teller) -> None:
    flow = tell_cached.id_of("caching")[:8]
    results = tell_cached.home / "results"
    key = tell_cached.json("task-run", "inspect", f"{flow}.3")["result_key"][:12]

    said = [result_of(tell_cached, "task-run", "inspect", f"{flow}.{number}") for number in range(3, 8)]

    assert said[0] == f"bytes, 100.0 kB, in {results}: headrace cache inspect {key}"
    assert said[1] == "json, 952 bytes, in the database: headrace cache inspect report-of-the-day-01"
    assert said[3] == "pickle, 58 bytes, in the database: headrace cache inspect trap"
    assert said[4] == f"json, 1.5 kB, in the database: headrace cache inspect {flow}.007"
    assert result_of(tell_cached, "flow-run", "inspect", flow) == (
        f"json, 6 bytes, in the database: headrace cache inspect {flow}"
    )
    for sentence in said:
        assert tell_cached(*sentence.partition(": headrace ")[2].split()).stdout.startswith("Key ")


def test_a_run_whose_result_is_not_kept_says_so(tell_cached: Teller) -> None:
    assert result_of(tell_cached, "flow-run", "inspect", "last") == "not kept"
    assert result_of(tell_cached, "task-run", "inspect", "last.3") == "not kept"


def test_a_run_that_failed_has_no_result_to_speak_of(tell: Teller) -> None:
    assert result_of(tell, "flow-run", "inspect", tell.id_of("fails")) == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DELETE FROM result", "not there any more: cleared from the cache, or never written"),
        ("UPDATE result SET expires = created", "json, 1 byte, in the database, expired: headrace cache inspect "),
        ("UPDATE result SET run_id = ''", "not there any more: computed anew: headrace cache inspect "),
        (
            "UPDATE result SET run_id = 'ffffffff-0000-4000-8000-00000000000c'",
            "not there any more: computed anew by ffffffff.00c: headrace cache inspect ",
        ),
    ],
)
def test_what_became_of_a_result_is_said(tell_own_cache: Teller, change: str, said: str) -> None:
    rewritten(tell_own_cache.home, change)

    for asked in ("last.1", f"{tell_own_cache.id_of('caching')[:8]}.1"):
        assert result_of(tell_own_cache, "task-run", "inspect", asked).startswith(said)
