"""What comes back from worker processes when a body ends otherwise than well."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import NotPicklable
from tests.spec import bodies
from tests.spec.forms import Record
from tests.spec.processing import in_processes, kept, workers


@pytest.fixture(scope="module", autouse=True)
def some_workers() -> Iterator[None]:
    with kept():
        yield


def failure(submitted: Any) -> tuple[BaseException, str]:
    """Give what a body raises, and the traceback that it brings along."""

    def act() -> BaseException:
        found: BaseException = submitted().result(raise_on_failure=False)
        return found

    error = in_processes(act)
    last = error
    while last.__cause__ is not None:
        last = last.__cause__
    return error, str(last)


def test_an_exception_keeps_its_type_text_and_traceback() -> None:
    error, shown = failure(lambda: bodies.fail.submit("no rows"))

    assert type(error) is ValueError
    assert str(error) == "no rows"
    assert "in fail\n    raise ValueError(text)\n" in shown
    assert "headrace/_worker" not in shown


def test_an_exception_of_an_async_body_does_too() -> None:
    error, shown = failure(bodies.fail_later.submit)

    assert (type(error), str(error)) == (ValueError, "later")
    assert "in fail_later\n" in shown
    assert "asyncio" not in shown


def test_an_exception_keeps_its_notes_and_its_cause() -> None:
    assert failure(bodies.fail_with_notes.submit)[0].__notes__ == ["row 17"]
    error, shown = failure(bodies.fail_from.submit)

    assert isinstance(error.__cause__, KeyError)
    assert "KeyError: 'unit'" in shown
    assert "direct cause" in shown


def test_an_exception_with_an_init_of_its_own_comes_back_as_it_was() -> None:
    error, _ = failure(bodies.fail_oddly.submit)

    assert type(error) is bodies.Odd
    assert (str(error), error.code) == ("code 7 at the end", 7)


def test_a_group_of_exceptions_comes_back_whole() -> None:
    error, _ = failure(bodies.fail_in_group.submit)

    assert type(error) is ExceptionGroup
    members: Any = error.exceptions
    assert [(type(one), str(one)) for one in members] == [
        (bodies.Odd, "code 1 at here"),
        (ValueError, "there"),
    ]


@pytest.mark.parametrize(("body", "text"), [(bodies.fail_closed, "closed"), (bodies.fail_locally, "from within")])
def test_an_exception_that_cannot_be_pickled_is_told_of(body: Any, text: str) -> None:
    error, shown = failure(body.submit)

    assert isinstance(error, NotPicklable)
    assert text in str(error)
    assert f"in {body.name}\n" in shown


def test_sys_exit_ends_the_run_and_not_the_process() -> None:
    def act() -> tuple[str, set[int]]:
        return str(bodies.leave.submit(3, return_state=True)), {worker.pid for worker in workers()}

    ended, before = in_processes(act)
    assert ended == "Crashed('Execution was ended by sys.exit(3).')"
    assert before == {worker.pid for worker in workers()}


def test_a_state_made_by_hand_is_the_runs_end() -> None:
    assert in_processes(lambda: str(bodies.return_failed.submit(return_state=True))) == "Failed('not today')"


def test_a_failed_attempt_is_tried_again_in_a_process(tmp_path: Path, record: Record) -> None:
    ledger = tmp_path / "ledger"

    assert in_processes(lambda: bodies.succeed_third.submit(str(ledger)).result()) == 3
    assert ledger.read_text(encoding="utf-8").split() == ["1", "2", "3"]
    assert record.task_run().run_count == 3
