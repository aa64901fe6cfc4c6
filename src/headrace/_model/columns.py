"""Columns: what room text takes on a terminal, and text that does nothing to one. Pure; draws and colours nothing."""

from __future__ import annotations

import itertools
import re
import unicodedata
from typing import Final

# What surely takes one column each, and need not be looked at sign by sign: Latin letters, frames and blocks, and
# the signs that the command line uses.
NARROW: Final = re.compile("[ -\u02ff\u2500-\u259f…✓✗■▶]*")


def width(text: str) -> int:
    """Give the number of columns that *text* takes in a terminal."""
    return len(text) if NARROW.fullmatch(text) else sum(map(columns_of, text))


def columns_of(sign: str) -> int:
    """Give the number of columns that *sign* takes: two for wide ones, none for marks that join the sign before."""
    if unicodedata.combining(sign) or unicodedata.category(sign) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(sign) in "WF" else 1


def shortened(text: str, columns: int) -> str:
    """Give the beginning of *text* that takes at most *columns*."""
    if NARROW.fullmatch(text):
        return text[:columns]
    ends = itertools.accumulate(map(columns_of, text))
    return text[: sum(end <= columns for end in ends)].rstrip()


def plain(value: object) -> str:
    """Give *value* as text on one line that does nothing to a terminal."""
    text = str(value)
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
