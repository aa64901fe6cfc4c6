"""
Borrowed connections: those of the user's own driver, as far as a step is recorded through them. Opens and closes none.

A driver is known by the names of its classes, and loaded by nobody here.
"""

from __future__ import annotations

from typing import Any

from headrace._borrowed.line import Borrowed
from headrace.errors import OptionTypeError, short


def borrowed(connection: Any) -> Borrowed:
    """
    Give *connection* as it is used here.

    Raises:
        OptionTypeError: It is of no driver that is known here.
    """
    kinds = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(connection).__mro__}
    if "sqlite3.Connection" in kinds:
        from headrace._borrowed.sqlite import Blocking as SQLite  # noqa: PLC0415 - each for those who have such a database

        return SQLite(connection)
    if "aiosqlite.Connection" in kinds:
        from headrace._borrowed.sqlite import Awaited as AioSQLite  # noqa: PLC0415

        return AioSQLite(connection)
    if not kinds.isdisjoint({"asyncpg.Connection", "asyncpg.PoolConnectionProxy"}):
        from headrace._borrowed.postgres import AsyncPG  # noqa: PLC0415

        return AsyncPG(connection)
    if "psycopg.Connection" in kinds:
        from headrace._borrowed.postgres import Psycopg  # noqa: PLC0415

        return Psycopg(connection)
    if "psycopg.AsyncConnection" in kinds:
        from headrace._borrowed.postgres import AsyncPsycopg  # noqa: PLC0415

        return AsyncPsycopg(connection)
    if "sqlalchemy.AsyncSession" in kinds:
        from headrace._borrowed.sessions import Session  # noqa: PLC0415

        return Session(connection, borrowed)
    raise OptionTypeError(
        f"A step transaction takes a connection of sqlite3, aiosqlite, asyncpg or psycopg, or an AsyncSession of "
        f"SQLAlchemy, not {short(connection)} ({type(connection).__name__})."
    )
