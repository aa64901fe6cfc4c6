"""Errors of limits: slots that there are not, or that did not come in time."""

from __future__ import annotations

import shlex

from headrace.errors.base import HeadraceError


class LimitError(HeadraceError):
    """Slots of a limit cannot be had."""


class LimitNotFound(LimitError):
    """There is no limit of that name."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"There is no limit {name!r}. Create it with: headrace gcl create {shlex.quote(name)} --limit 5"
        )


class LimitTooSmall(LimitError, ValueError):
    """More slots are asked for than a limit has."""

    def __init__(self, name: str, slots: int, occupy: int) -> None:
        super().__init__(
            f"The limit {name!r} has {slots} slot{'s' * (slots != 1)}, so {occupy} can never be had. Ask for fewer, or "
            f"raise it with: headrace gcl update {shlex.quote(name)} --limit {max(occupy, 1)}"
        )


class NotARate(LimitError):
    """A limit whose slots do not come free by themselves was asked for a turn."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The limit {name!r} is no rate: its slots come free when they are given back. Use concurrency({name!r}), "
            f"or make it a rate with: headrace gcl update {shlex.quote(name)} --slot-decay-per-second 10"
        )


class SlotTimeout(LimitError, TimeoutError):
    """Slots did not come free in time."""

    def __init__(self, names: str, seconds: float) -> None:
        super().__init__(f"No slot of {names} came free within {seconds:g} s. See who has them: headrace gcl ls")
