"""Limits for async code, under the names that people know: `async with concurrency(...)`, `await rate_limit(...)`."""

from __future__ import annotations

from collections.abc import Iterable

from headrace import concurrency as both
from headrace.errors import LimitError as ConcurrencySlotAcquisitionError
from headrace.errors import SlotTimeout as AcquireConcurrencySlotTimeoutError

__all__ = ["AcquireConcurrencySlotTimeoutError", "ConcurrencySlotAcquisitionError", "concurrency", "rate_limit"]

concurrency = both.concurrency


async def rate_limit(
    names: str | Iterable[str], occupy: int = 1, timeout_seconds: float | None = None, strict: bool = False
) -> None:
    """
    Suspend until a rate lets this one through; as `headrace.concurrency.rate_limit` says.

    Raises:
        SlotTimeout: It did not within *timeout_seconds*.
        LimitNotFound: *strict*, and there is no such limit.
        NotARate: Its slots do not come free by themselves.
        LimitTooSmall: It never lets so many through at once.
    """
    async with both.rate_limit(names, occupy, timeout_seconds, strict):
        return
