"""
Errors of what is kept: results that are not there, cannot be kept or read, arguments that no key can be made of, and
the database.
"""

from __future__ import annotations

from headrace.errors.base import HeadraceError


class MissingResult(HeadraceError):
    """A run completed, but its value was not kept with the state."""


class CorruptResult(MissingResult):
    """What lies in the place of a stored result is not what was stored: cut short, changed, or of somebody else."""

    def __init__(self, place: str, why: str) -> None:
        super().__init__(f"The result in {place} cannot be used: {why}. Run the task again to have it stored anew.")


class UntrustedResult(MissingResult):
    """A result is in a form that may run code when it is read, and lies where others may write."""

    def __init__(self, place: str, codec: str) -> None:
        super().__init__(
            f"The result in {place} is in the form {codec!r}, which may run code when it is read, and the storage is "
            f"not trusted. Store it as JSON, or mark the storage as trusted if nobody else can write there."
        )


class ResultNotFound(MissingResult):
    """There is nothing under a key in a result storage."""

    def __init__(self, where: str, key: str) -> None:
        super().__init__(f"There is no result {key!r} in {where}. It was deleted or moved, or never written.")


class ResultStorageError(HeadraceError, OSError):
    """A result storage could not be read or written."""

    def __init__(self, where: str, why: str, step: str = "Free some space, or see who may write there.") -> None:
        super().__init__(f"The result storage {where} failed: {why}. {step}")


class SerializationError(HeadraceError, TypeError):
    """A value has no form in which it can be stored, or a stored one cannot be made a value again."""


class HashError(HeadraceError, TypeError):
    """No cache key can be made of an argument."""


class TransactionError(HeadraceError, RuntimeError):
    """A transaction was asked for something that it cannot do in its state."""


class StoreUnavailable(HeadraceError):
    """The database cannot be opened or written."""

    def __init__(self, where: str, reason: str, remedy: str = "") -> None:
        self.where, self.reason = where, reason
        super().__init__(
            f"Cannot use the database {where}: {reason}. "
            + (
                remedy
                or "Set HEADRACE_DATABASE_URL or HEADRACE_HOME to a place that can be written, "
                "or HEADRACE_DATABASE_URL=memory: to keep no record."
            )
        )


class Occupied(StoreUnavailable):
    """Others hold the database at this moment, and who asked does not wait for them. Nobody gets to see this one."""


class DatabaseTooNew(StoreUnavailable):
    """The database was written by a later version of Headrace."""

    def __init__(self, where: str, found: int, known: int) -> None:
        super().__init__(
            where,
            f"it has schema version {found}, and this Headrace knows versions up to {known}",
            "Upgrade Headrace (pip install -U headrace), or point HEADRACE_DATABASE_URL at another database.",
        )


class NoDatabaseYet(StoreUnavailable):
    """Nothing was recorded so far where the database is to be."""

    def __init__(self, where: str, reason: str = "there is none yet") -> None:
        super().__init__(where, reason, "Run a flow first; the first run creates it.")


class NothingKept(StoreUnavailable):
    """The record is kept in memory, so no other process can see it."""

    def __init__(self) -> None:
        super().__init__(
            "in memory",
            "it ends with the process that filled it, so there is nothing to show",
            "Unset HEADRACE_DATABASE_URL, or set it to sqlite:///PATH, and run the flow again.",
        )
