"""What is given of a limit on the command line: its name, its slots, its rate. Pure; each is refused in a sentence."""

from __future__ import annotations

import re
from typing import Final

import click

from headrace._model.limits import MOST, can_be_seen
from headrace.errors import short

WHOLE: Final = re.compile(r"[+]?[0-9]+", re.ASCII)
NUMBER: Final = re.compile(r"[+]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.ASCII | re.IGNORECASE)
DIGITS: Final = 400  # the longest number that is read at all


def name_given(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    """
    Give the name of a limit that is to be.

    Raises:
        BadParameter: No limit can be called that.
    """
    if not can_be_seen(value):
        raise click.BadParameter(f"{short(value, 80)} is no name of a limit. Give one of signs that can be seen.")
    return value


def slots_given(_context: click.Context, _parameter: click.Parameter, value: str | None) -> int | None:
    """
    Read a number of slots.

    Raises:
        BadParameter: It is none.
    """
    if value is None:
        return None
    text = value.strip()
    if not WHOLE.fullmatch(text) or len(text) > DIGITS or int(text) > MOST:
        raise click.BadParameter(f"{short(value, 80)} is no number of slots. Give a whole number from 0 on, such as 5.")
    return int(text)


def decay_given(_context: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    """
    Read a number of slots a second, 0 among them.

    Raises:
        BadParameter: It is none.
    """
    if value is None:
        return None
    text = value.strip()
    if not NUMBER.fullmatch(text) or len(text) > DIGITS or float(text) == float("inf"):
        raise click.BadParameter(
            f"{short(value, 80)} is no number of slots a second. Give one above 0, such as 10 or 0.5; 0 makes it no "
            f"rate."
        )
    return float(text)
