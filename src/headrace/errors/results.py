"""Errors of results: values that are not there, cannot be kept or read, and arguments that no key can be made of."""

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
