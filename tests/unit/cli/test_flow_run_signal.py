"""`headrace flow-run signal`: what it sends, what it says, and what `inspect` shows of it."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from tests.chaos.processes import rows
from tests.unit.cli.recorded import Teller, goes_on


@pytest.fixture
def going(tell_own: Teller) -> str:
    """Give the id of a run that stands as in progress."""
    return goes_on(tell_own.home, "pipeline")


def sent(tell: Teller) -> list[tuple[Any, ...]]:
    """Give what was sent: to which run, as what, the JSON, and the key."""
    return rows(tell.home, "SELECT run_id, name, data, key FROM signal ORDER BY id")


def test_it_sends_what_the_run_then_has_to_read(tell_own: Teller, going: str) -> None:
    ((name,),) = rows(tell_own.home, "SELECT name FROM flow_run WHERE id = ?", going)

    assert tell_own("flow-run", "signal", going[:8], "go").stdout == f"Sent 'go' to flow run {name!r}.\n"
    tell_own("flow-run", "signal", going, "go", '{"by": "Ada ☃"}', "--key", "a")

    assert sent(tell_own) == [(going, "go", "null", None), (going, "go", '{"by":"Ada ☃"}', "a")]
    assert "Not read    go (2)\n" in tell_own("flow-run", "inspect", going).stdout


def test_a_key_is_sent_once(tell_own: Teller, going: str) -> None:
    for value in ("1", "2"):
        said = tell_own("flow-run", "signal", going, "go", value, "--key", "a").stdout

    assert said.endswith("under the key 'a' before; that counts.\n")
    assert [row[2] for row in sent(tell_own)] == ["1"]


def test_programs_get_json(tell_own: Teller, going: str) -> None:
    said = [
        orjson.loads(tell_own("flow-run", "signal", going, "go", "[1]", "--key", "a", "-o", "json").stdout)
        for _ in range(2)
    ]
    (unread,) = orjson.loads(tell_own("flow-run", "inspect", going, "-o", "json").stdout)["signals"]

    assert said == [{"id": going, "name": "go", "new": new} for new in (True, False)]
    assert unread.pop("sent")
    assert unread == {"name": "go", "value": [1], "key": "a", "asked": False}


def test_what_is_no_json_is_refused_with_what_was_perhaps_meant(tell_own: Teller, going: str) -> None:
    refused = tell_own("flow-run", "signal", going, "go", "yes", status=2).stderr

    assert "'yes' is no JSON" in refused
    assert 'A text is written with quotes: "yes"' in refused


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("x" * 101,), "must have 1 to 100 printable characters"),
        (("go", "NaN"), "has no form in JSON"),
        (("go", '"' + "x" * 1_000_000 + '"'), "1,000,002 bytes of JSON; 1,000,000 can be sent"),
        (("go", "1", "--key", ""), "The key of a signal must have 1 to 100"),
    ],
)
def test_what_cannot_be_sent_is_refused(tell_own: Teller, going: str, given: tuple[str, ...], said: str) -> None:
    assert said in tell_own("flow-run", "signal", going, *given, status=1).stderr


def test_nothing_is_sent_to_a_run_that_has_ended(tell_own: Teller) -> None:
    ended = tell_own.id_of("fails")

    said = tell_own("flow-run", "signal", ended, "go", status=1).stderr

    assert "has ended, in state Failed" in said
    assert "No flow run has an id" in tell_own("flow-run", "signal", "ffff", "go", status=1).stderr


def test_a_durable_run_that_was_left_behind_is_sent_to(tell_own: Teller) -> None:
    left = tell_own.id_of("killed")

    tell_own("flow-run", "signal", left, "go")

    assert [row[0] for row in sent(tell_own)] == [left]
