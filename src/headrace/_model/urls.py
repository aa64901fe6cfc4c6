"""URLs of databases: which of them last no longer than the process, and what of one may be shown."""

from __future__ import annotations

from typing import Final

POSTGRESQL: Final = ("postgresql", "postgres", "postgresql+asyncpg")  # the last as SQLAlchemy writes it
SHOWN: Final = frozenset(["sqlite", "http", "https", *POSTGRESQL])
IN_MEMORY: Final = frozenset(["memory:", "memory://", ":memory:", "sqlite://", "sqlite:///:memory:"])


def shown(url: str) -> str:
    """
    Give *url* without what may be secret: a password, a token, the values in its query.

    In what is no URL, or one of a kind nobody here knows, any part may be a password: of those the kind alone is given.
    """
    if url in IN_MEMORY:
        return url
    kind, mark, rest = url.partition("://")
    if kind not in SHOWN or not mark:
        return f"{kind}{mark}***" if mark and kind.replace("+", "").isalnum() else "***"
    place, question, query = rest.partition("?")
    hidden = question + "&".join(f"{part.partition('=')[0]}=***" for part in query.split("&") if question)
    if place.startswith("/"):
        return f"{kind}{mark}{place}{hidden}"
    host, slash, path = place.partition("/")
    credentials, at, host = host.rpartition("@")
    if "@" in path + query or not all(map(has_port, host.split(","))):
        # The end of a password that has a slash or a question mark in it; or no host at all, but a user and a password.
        return f"{kind}{mark}***"
    user, colon, _ = credentials.partition(":")
    secret = f"{user if colon else ''}{colon}***{at}" if at else ""
    return f"{kind}{mark}{secret}{host}{slash}{path}{hidden}"


def has_port(host: str) -> bool:
    """Tell whether what stands behind the colon of *host* is a port, if it has one."""
    port = host.rpartition("]")[2].partition(":")[2]
    return not port or port.isdecimal()
