"""Settings of the record: what the environment may say, what is refused and how, what the files look like."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

import pytest

from headrace import _runtime, flow
from headrace._engine.life import drive
from headrace._ports import Batch
from headrace._stores.memory import MemoryStore
from headrace._stores.sqlite import SQLiteStore
from headrace.errors import SettingError
from headrace.settings import Settings


def read(**given: str) -> Settings:
    """Read settings from an environment of these variables alone."""
    return Settings.read(given)


SERVERS = [
    ("postgresql://ann:s3cret@host/runs", "postgresql://ann:***@host/runs"),
    ("postgres://ann:s3cret@host:5432/runs", "postgres://ann:***@host:5432/runs"),
    ("postgresql+asyncpg://ann:s3cret@[::1]:5432/runs", "postgresql+asyncpg://ann:***@[::1]:5432/runs"),
    ("postgresql://ann:s3cret@one:5432,two/runs", "postgresql://ann:***@one:5432,two/runs"),
    ("postgresql://ann:p@s3cret@host/runs", "postgresql://ann:***@host/runs"),
    ("postgresql://ann:s3/cret@host/runs", "postgresql://***"),
    ("postgresql://ann:s3?cret=1@host/runs", "postgresql://***"),
    ("postgresql://:s3cret@host", "postgresql://:***@host"),
    ("postgresql://ann:s3cret", "postgresql://***"),
    ("postgresql://host/runs?user=ann&password=s3cret", "postgresql://host/runs?user=***&password=***"),
    ("postgresql:///runs?host=/tmp&password=s3cret", "postgresql:///runs?host=***&password=***"),
    ("postgresql://[broken:s3cret@host", "postgresql://[broken:***@host"),
    ("postgresql://", "postgresql://"),
]


def place(environment: Mapping[str, str]) -> str:
    """Give where the store of an environment lies."""
    return _runtime.open_store(Settings.read(environment)).where


def test_without_settings_the_database_lies_in_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert place({}) == str(tmp_path / ".headrace" / "headrace.db")
    assert place({"HEADRACE_HOME": "", "HEADRACE_DATABASE_URL": ""}) == str(tmp_path / ".headrace" / "headrace.db")
    assert place({"HEADRACE_HOME": "~/elsewhere"}) == str(tmp_path / "elsewhere" / "headrace.db")


@pytest.mark.parametrize("name", ["with space", "100%41", "a#b", "what?", "ünï", "a@b:c"])
def test_a_home_may_have_any_name(tmp_path: Path, name: str) -> None:
    assert place({"HEADRACE_HOME": str(tmp_path / name)}) == str(tmp_path / name / "headrace.db")


def test_a_relative_home_is_one_below_the_working_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    assert place({"HEADRACE_HOME": "here"}) == str(tmp_path / "here" / "headrace.db")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///runs.db", "{here}/runs.db"),
        ("sqlite:///below/runs.db", "{here}/below/runs.db"),
        ("sqlite:////var/runs.db", "/var/runs.db"),
        ("sqlite:///~/runs.db", "{home}/runs.db"),
        ("sqlite:////with%20space/a%3Fb.db", "/with space/a?b.db"),
    ],
)
def test_three_slashes_begin_a_relative_path_and_four_an_absolute_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, url: str, path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))

    assert place({"HEADRACE_DATABASE_URL": url}) == path.format(here=tmp_path, home=tmp_path / "home")


def test_a_relative_database_stays_where_it_was_when_a_flow_changes_the_working_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    store = _runtime.open_store(read(HEADRACE_DATABASE_URL="sqlite:///runs.db"))
    drive(store.open())
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    drive(store.append(Batch(logs=[("id", 1, 20, "l", "m")])))
    drive(store.close())

    assert (tmp_path / "runs.db").exists()
    assert not (tmp_path / "below" / "runs.db").exists()


@pytest.mark.parametrize("url", ["memory:", "memory://", ":memory:", "sqlite://", "sqlite:///:memory:"])
def test_the_words_for_memory_keep_the_record_in_memory(url: str) -> None:
    assert isinstance(_runtime.open_store(read(HEADRACE_DATABASE_URL=url)), MemoryStore)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgres:runs", "***"),
        ("mysql+driver://localhost/runs", "mysql+driver://***"),
        ("/var/runs.db", "***"),
        ("sqlite:runs.db", "***"),
        ("sqlite://host/runs.db", "sqlite://host/runs.db"),
        ("sqlite:///", "sqlite:///"),
        ("runs", "***"),
        ("sqlite:///a@b:c/runs.db?mode=ro&cache=shared", "sqlite:///a@b:c/runs.db?mode=***&cache=***"),
        ("https://ann:pw@host/v1", "https://ann:***@host/v1"),
        ("https://token@host/v1", "https://***@host/v1"),
    ],
)
def test_a_database_url_of_another_kind_is_refused_with_the_kinds_there_are(url: str, shown: str) -> None:
    with pytest.raises(SettingError) as caught:
        place({"HEADRACE_DATABASE_URL": url})

    assert str(caught.value) == (
        f"HEADRACE_DATABASE_URL is {shown!r}; it must be sqlite:///PATH (sqlite:////absolute/path), "
        "postgresql://USER:PASSWORD@HOST/DATABASE or memory:. Change or unset it."
    )


@pytest.mark.parametrize(
    "url",
    [
        "mysql+driver://ann:s3cret@[::1]/runs",
        "ann:s3cret@host/runs",
        "host=h password=s3cret",
        "s3cret",
        "s3cret:",
        "s3cret;x://host",
        "custom:s3cret",
        "custom://host/runs;password=s3cret",
        "https://ann:s3/cret@host/runs",
        "https://ann:s3?cret=1@host/runs",
        "https://ann:p@s3cret@host/runs",
        "https://host/?token=s3cret",
        "sqlite://ann:s3cret@host/runs",
        "sqlite://ann:s3://cret@host/runs",
        "sqlite:///runs.db?key=s3cret",
    ],
)
def test_a_password_in_a_url_that_is_refused_is_never_shown(url: str) -> None:
    with pytest.raises(SettingError) as caught:
        place({"HEADRACE_DATABASE_URL": url})

    assert "s3cret" not in str(caught.value)
    assert "s3" not in str(caught.value)
    assert "HEADRACE_DATABASE_URL is '" in str(caught.value)


@pytest.mark.parametrize(("url", "shown"), SERVERS)
def test_a_url_of_postgresql_names_the_place_without_the_password(url: str, shown: str) -> None:
    assert place({"HEADRACE_DATABASE_URL": url}) == shown


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("HEADRACE_LOG_LEVEL", "DEBUG, INFO, WARNING, ERROR, CRITICAL, OFF"),
        ("HEADRACE_SQLITE_SYNCHRONOUS", "OFF, NORMAL, FULL, EXTRA"),
        ("HEADRACE_DURABILITY", "OFF, BATCHED, STRICT"),
    ],
)
@pytest.mark.parametrize("value", ["LOUD", "0", "normal;", " "])
def test_a_word_that_is_not_known_is_refused_with_those_that_are(name: str, known: str, value: str) -> None:
    with pytest.raises(SettingError, match="Change or unset it") as caught:
        Settings.read({name: value})

    assert str(caught.value) == f"{name} is {value!r}; it must be one of {known}. Change or unset it."


def test_words_are_known_in_any_case_and_empty_ones_are_unset() -> None:
    settings = read(HEADRACE_LOG_LEVEL="debug", HEADRACE_SQLITE_SYNCHRONOUS="Extra", HEADRACE_DURABILITY="Strict")
    unset = read(HEADRACE_LOG_LEVEL="", HEADRACE_SQLITE_SYNCHRONOUS="", HEADRACE_DURABILITY="")

    assert (settings.log_level, settings.sqlite_synchronous, settings.durability) == ("DEBUG", "EXTRA", "strict")
    assert (unset.log_level, unset.sqlite_synchronous, unset.durability) == ("INFO", None, "batched")


@pytest.mark.parametrize(("value", "limit"), [("", 500), ("0", 0), ("1", 1), ("0070", 70), ("9" * 18, 10**18 - 1)])
def test_the_limit_of_maps_in_traces_is_a_whole_number(value: str, limit: int) -> None:
    assert read(HEADRACE_TRACE_MAP_LIMIT=value).trace_map_limit == limit
    assert read().trace_map_limit == 500


@pytest.mark.parametrize("value", ["-1", "1.5", "many", " ", "٣", "1_000", "9" * 5_000])
def test_a_limit_that_is_no_whole_number_is_refused(value: str) -> None:
    with pytest.raises(SettingError) as caught:
        read(HEADRACE_TRACE_MAP_LIMIT=value)

    assert str(caught.value) == (
        f"HEADRACE_TRACE_MAP_LIMIT is {value!r}; it must be a whole number, 0 or more. Change or unset it."
    )


def test_a_setting_that_is_refused_stops_the_first_flow_before_its_body(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    body = flow(lambda: ran.append(1), name="never")
    before = _runtime.replace(None)
    monkeypatch.setenv("HEADRACE_DURABILITY", "perhaps")
    try:
        with pytest.raises(SettingError, match="HEADRACE_DURABILITY is 'perhaps'"):
            body()
    finally:
        _runtime.replace(before)

    assert ran == []


def test_the_home_and_the_database_are_their_owners_alone(tmp_path: Path) -> None:
    home = tmp_path / "home"
    store = _runtime.open_store(read(HEADRACE_HOME=str(home)))
    drive(store.open())

    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    for file in home.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert {file.name for file in home.iterdir()} >= {"headrace.db", "headrace.db-wal"}
    drive(store.close())


@pytest.mark.parametrize(
    ("setting", "plain", "strict"),
    [(None, 1, 2), ("OFF", 0, 0), ("NORMAL", 1, 1), ("FULL", 2, 2), ("EXTRA", 3, 3)],
)
def test_sqlite_waits_for_the_disk_as_set_and_for_durable_flows_by_default(
    tmp_path: Path, setting: str | None, plain: int, strict: int
) -> None:
    store = SQLiteStore(tmp_path / "runs.db", setting)
    drive(store.open())
    seen: list[int] = []
    for durable in (False, True, False):
        drive(store.append(Batch(logs=[("id", 1, 20, "l", "m")], strict=durable)))
        assert store.writer is not None
        seen += store.writer.execute("PRAGMA synchronous").fetchone()
    drive(store.close())

    assert seen == [plain, strict, plain]
