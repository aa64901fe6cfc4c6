"""What the testing kit refuses to do, and the sentence that says so. Catches nothing."""

from __future__ import annotations

from headrace.errors import HeadraceError


class VirtualTimeError(HeadraceError, RuntimeError):
    """Virtual time cannot be had here; the message says why and what to do instead."""


def nested() -> VirtualTimeError:
    """Refuse a second virtual time inside the first."""
    return VirtualTimeError(
        "virtual_time() is in force in this process already, and there can be only one. Use the one there is: "
        "`clock` of `with virtual_time() as clock`, or the fixture headrace_virtual_time."
    )


def foreign_loop(loop: object) -> VirtualTimeError:
    """Refuse an event loop, or a policy that makes such, whose timers are out of reach."""
    kind = type(loop)
    name = f"{kind.__module__}.{kind.__qualname__}"
    return VirtualTimeError(
        f"virtual_time() cannot move the timers of {name}: they are not asyncio's own. "
        "Run this test on asyncio's selector loop (asyncio.SelectorEventLoop), without uvloop's policy or loop factory."
    )


def backwards(seconds: float) -> VirtualTimeError:
    """Refuse to turn time back."""
    return VirtualTimeError(f"Time does not go back: advance() takes seconds of at least 0, not {seconds!r}.")


def naive(start: object) -> VirtualTimeError:
    """Refuse a moment that could be any of 24."""
    return VirtualTimeError(
        f"virtual_time(start={start!r}) says no time zone. Give one: datetime(2030, 1, 1, tzinfo=UTC)."
    )
