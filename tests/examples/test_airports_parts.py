"""What the airports pipelines share: the server's refusals, the gaps that are filled, the command printed."""

from __future__ import annotations

import sys
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path

import pytest
from airports_parts.cleaning import clean_airports, clean_hours
from airports_parts.looking import command_for, where_to_look
from airports_parts.server import get_page, unreliable_server


def measured(*times: str) -> list[dict[str, str]]:
    """Hours of the fourteenth of March at 32, 33, 34 ... degrees Fahrenheit."""
    return [{"temp": str(32 + nth), "date": f"2010/03/14 {time}"} for nth, time in enumerate(times)]


def test_every_fifth_request_is_refused_and_no_other() -> None:
    answers: list[int] = []
    with unreliable_server() as server:
        for _ in range(11):
            connection = HTTPConnection(server.address, timeout=10)
            connection.request("GET", "/airports?page=1")
            answers.append(connection.getresponse().status)
            connection.close()

    assert answers == [200, 200, 200, 200, 503, 200, 200, 200, 200, 503, 200]
    assert (server.requests, server.refused) == (11, 2)


def test_the_pages_of_a_dataset_make_up_its_file() -> None:
    with unreliable_server() as server:
        pages = [get_page(server.address, "airports", number) for number in range(1, 5)]

    assert [len(page.records) for page in pages] == [1000, 1000, 1000, 376]
    assert {page.pages for page in pages} == {4}
    assert len({record["iata"] for page in pages for record in page.records}) == 3376


@pytest.mark.parametrize("page", ["airports?page=5", "airports?page=0", "airports?page=x", "../README", "trains"])
def test_a_page_that_does_not_exist_is_not_found(page: str) -> None:
    with unreliable_server() as server:
        connection = HTTPConnection(server.address, timeout=10)
        connection.request("GET", f"/{page}")
        status = connection.getresponse().status
        connection.close()

    assert status == 404


def test_a_refusal_is_an_error_that_names_the_page() -> None:
    with unreliable_server() as server:
        for _ in range(4):
            get_page(server.address, "sf-temps", 2)
        with pytest.raises(ConnectionError, match=r"^GET /sf-temps\?page=2 was answered 503"):
            get_page(server.address, "sf-temps", 2)


def test_a_missing_hour_gets_the_mean_of_its_neighbours_and_a_mark() -> None:
    hours = clean_hours(measured("01:00", "02:00", "04:00"))

    assert [hour.time.hour for hour in hours] == [1, 2, 3, 4]
    assert [hour.filled for hour in hours] == [False, False, True, False]
    assert hours[2].celsius == pytest.approx((33.5 - 32) / 1.8)


def test_both_ways_of_writing_a_date_are_the_same_hour() -> None:
    assert clean_hours(measured("01:00")) == clean_hours(measured("01:00:00"))


@pytest.mark.parametrize("times", [("01:00", "04:00"), ("01:00", "01:00")])
def test_what_is_not_a_single_missing_hour_is_refused(times: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="only a single missing hour can be filled"):
        clean_hours(measured(*times))


def test_a_state_that_is_not_available_is_none() -> None:
    place = {"iata": "YAP", "name": "Yap", "city": "NA", "state": "NA"}
    (airport,) = clean_airports([{**place, "latitude": "9.5", "longitude": "138.1"}])

    assert (airport.city, airport.state) == (None, None)


@pytest.fixture
def interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Pretend to be an interpreter in a folder that holds the programs named as well."""

    def place(*programs: str) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir()
        for program in (*programs, "python3"):
            (folder / program).touch(mode=0o755)
        monkeypatch.setattr(sys, "executable", str(folder / "python3"))
        return folder

    return place


def test_an_installed_headrace_is_called_by_its_command(interpreter: Callable[..., Path]) -> None:
    folder = interpreter("headrace")
    command = command_for("4f2a", {"PATH": str(folder)}, through_pythonpath=False)

    assert command == "headrace flow-run inspect 4f2a"


def test_a_headrace_found_through_pythonpath_is_called_as_a_module(interpreter: Callable[..., Path]) -> None:
    folder = interpreter("headrace")
    command = command_for("4f2a", {"PATH": str(folder), "PYTHONPATH": ".run"}, through_pythonpath=True)

    assert command == "PYTHONPATH=.run python3 -m headrace flow-run inspect 4f2a"


def test_another_environments_command_is_not_named(interpreter: Callable[..., Path], tmp_path: Path) -> None:
    folder = interpreter()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "headrace").touch(mode=0o755)
    (elsewhere / "python3").touch(mode=0o755)
    command = command_for("4f2a", {"PATH": str(elsewhere)}, through_pythonpath=False)

    assert command == f"{folder / 'python3'} -m headrace flow-run inspect 4f2a"


def test_settings_given_for_one_command_are_repeated(interpreter: Callable[..., Path]) -> None:
    folder = interpreter("headrace")
    command = command_for("4f2a", {"PATH": str(folder), "HEADRACE_HOME": "/a home"}, through_pythonpath=False)

    assert command == "HEADRACE_HOME='/a home' headrace flow-run inspect 4f2a"


def test_a_password_is_not_repeated(interpreter: Callable[..., Path]) -> None:
    environment = {
        "PATH": str(interpreter("headrace")),
        "HEADRACE_DATABASE_URL": "postgresql://me:secret@db/runs",
    }

    assert "secret" not in command_for("4f2a", environment, through_pythonpath=False)


def test_a_run_kept_in_memory_has_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_DATABASE_URL", "memory:")

    assert "in memory only" in where_to_look("4f2a")
