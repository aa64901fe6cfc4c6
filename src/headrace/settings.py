"""Settings: the environment, read once into one frozen object. Opens and creates nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping

import attrs

from headrace.errors import SettingError

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "OFF")


@attrs.frozen
class Settings:
    """
    What can be set from outside.

    Attributes:
        home: HEADRACE_HOME; where the database lies by default. ~/.headrace.
        database_url: HEADRACE_DATABASE_URL; `sqlite:///PATH`, `postgresql://USER:PASSWORD@HOST/DATABASE`, or `memory:`
            to keep the record in this process only.
        log_level: HEADRACE_LOG_LEVEL; DEBUG, INFO, WARNING, ERROR, CRITICAL or OFF. INFO.
        sqlite_synchronous: HEADRACE_SQLITE_SYNCHRONOUS; OFF, NORMAL, FULL or EXTRA for every commit. Else FULL for
            batches that hold a durable flow's events, NORMAL for others.
        durability: HEADRACE_DURABILITY; what flows do that do not say: off, batched or strict. batched.
        trace_map_limit: HEADRACE_TRACE_MAP_LIMIT; a map or stream of more items is one span in the trace. 500; 0 for
            never.
        cleanup_seconds: HEADRACE_CLEANUP_SECONDS; how long a flow waits for the cleanup of what was cancelled with it.
            10.
        unload_after: HEADRACE_UNLOAD_AFTER; seconds after which a durable run that waits is unloaded from memory. 10.
        persist_results: HEADRACE_PERSIST_RESULTS; whether runs that do not say keep their results: 1 or 0. 0.
        result_storage: HEADRACE_RESULT_STORAGE; the folder or URL where large results lie. HEADRACE_HOME/results.
        result_inline_bytes: HEADRACE_RESULT_INLINE_BYTES; results of so many bytes lie in the database. 16384.
        result_memory: HEADRACE_RESULT_MEMORY; so many of the results used last are found without the database, as far
            as they lie there. 1000.
        trust_results: HEADRACE_TRUST_RESULTS; whether pickles may be loaded from result storages: 1 or 0. Else from
            local folders only.
        refresh_cache: HEADRACE_REFRESH_CACHE; whether cached results are computed anew: 1 or 0. 0.
        progress: HEADRACE_PROGRESS; whether a terminal shows how far long maps and streams are: 1 or 0. 1.
    """

    home: str
    database_url: str
    log_level: str = "INFO"
    sqlite_synchronous: str | None = None
    durability: str = "batched"
    trace_map_limit: int = 500
    cleanup_seconds: int = 10
    unload_after: int = 10
    progress: bool = True
    persist_results: bool = False
    result_storage: str | None = None
    result_inline_bytes: int = 16_384
    result_memory: int = 1_000
    trust_results: bool | None = None
    refresh_cache: bool = False

    @classmethod
    def read(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """
        Read *environment*, by default that of the process.

        Raises:
            SettingError: A value is none of those that can be.
        """
        given = os.environ if environment is None else environment
        home = os.path.expanduser(given.get("HEADRACE_HOME") or os.path.join("~", ".headrace"))
        path = os.path.join(os.path.abspath(home), "headrace.db").replace("%", "%25").replace("?", "%3F")
        return cls(
            home=home,
            database_url=given.get("HEADRACE_DATABASE_URL") or f"sqlite:///{path}",
            log_level=one_of(given, "HEADRACE_LOG_LEVEL", LEVELS) or "INFO",
            sqlite_synchronous=one_of(given, "HEADRACE_SQLITE_SYNCHRONOUS", ("OFF", "NORMAL", "FULL", "EXTRA")),
            durability=(one_of(given, "HEADRACE_DURABILITY", ("OFF", "BATCHED", "STRICT")) or "BATCHED").lower(),
            trace_map_limit=whole_number(given, "HEADRACE_TRACE_MAP_LIMIT", 500),
            cleanup_seconds=whole_number(given, "HEADRACE_CLEANUP_SECONDS", 10),
            unload_after=whole_number(given, "HEADRACE_UNLOAD_AFTER", 10),
            progress=one_of(given, "HEADRACE_PROGRESS", ("0", "1")) != "0",
            persist_results=one_of(given, "HEADRACE_PERSIST_RESULTS", ("0", "1")) == "1",
            result_storage=given.get("HEADRACE_RESULT_STORAGE") or None,
            result_inline_bytes=whole_number(given, "HEADRACE_RESULT_INLINE_BYTES", 16_384),
            result_memory=whole_number(given, "HEADRACE_RESULT_MEMORY", 1_000),
            trust_results={"1": True, "0": False}.get(one_of(given, "HEADRACE_TRUST_RESULTS", ("0", "1")) or ""),
            refresh_cache=one_of(given, "HEADRACE_REFRESH_CACHE", ("0", "1")) == "1",
        )


def one_of(given: Mapping[str, str], name: str, known: tuple[str, ...]) -> str | None:
    """
    Give the value of *name*, in capitals; None where it is unset or empty.

    Raises:
        SettingError: It is none of *known*.
    """
    value = given.get(name)
    if not value:
        return None
    if value.upper() not in known:
        raise SettingError(name, value, f"one of {', '.join(known)}")
    return value.upper()


def whole_number(given: Mapping[str, str], name: str, default: int) -> int:
    """
    Give the value of *name*, a whole number from 0 on; *default* where it is unset or empty.

    Raises:
        SettingError: It is anything else.
    """
    value = given.get(name)
    if not value:
        return default
    if not (value.isascii() and value.isdigit() and len(value) < 19):
        raise SettingError(name, value, "a whole number, 0 or more")
    return int(value)
