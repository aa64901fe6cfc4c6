"""A terminal: a pair of ends that the kernel joins, and a screen that obeys what is written to it, as xterm would."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import struct
import termios
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final, TextIO

WITHIN: Final = 60.0
PIECES: Final = re.compile(r"\x1b\[[\d;?]*[A-Za-z]|\x1b[^\[]|[^\x1b]", re.DOTALL)


class Screen:
    """
    What a terminal of so many columns and rows shows, and what has moved out at its top.

    Knows what Headrace says and refuses all else. As with most terminals, a sign in the last column leaves the cursor
    there, and only the next sign goes on in the next row.
    """

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        self.columns = columns
        self.rows = [" " * columns for _ in range(rows)]
        self.gone: list[str] = []
        self.row = self.column = 0
        self.full = False
        self.saved = 0, 0
        self.begun = ""

    def feed(self, text: str) -> None:
        """Obey *text*, but for the beginning of a sequence at its end."""
        done = 0
        for piece in PIECES.finditer(self.begun + text):
            self.obey(piece[0])
            done = piece.end()
        self.begun = (self.begun + text)[done:]

    def obey(self, piece: str) -> None:
        """Obey one sign or sequence."""
        match piece:
            case "\r":
                self.column, self.full = 0, False
            case "\n" | "\x1bD":
                self.down()
            case "\x1b7":
                self.saved = self.row, self.column
            case "\x1b8":
                (self.row, self.column), self.full = self.saved, False
            case "\x1b[A":
                self.row, self.full = max(self.row - 1, 0), False
            case "\x1b[B":
                self.row, self.full = min(self.row + 1, len(self.rows) - 1), False
            case "\x1b[J":
                blank = " " * self.columns
                self.rows[self.row] = self.rows[self.row][: self.column].ljust(self.columns)
                self.rows[self.row + 1 :] = [blank] * (len(self.rows) - self.row - 1)
            case _ if piece.isprintable():
                self.put(piece)
            case _:
                assert re.fullmatch(r"\x1b\[[\d;]*m", piece), f"unknown to this terminal: {piece!r}"

    def put(self, sign: str) -> None:
        """Show *sign* where the cursor is."""
        if self.full:
            self.column = 0
            self.down()
        row = self.rows[self.row]
        self.rows[self.row] = row[: self.column] + sign + row[self.column + 1 :]
        self.full = self.column == self.columns - 1
        self.column = min(self.column + 1, self.columns - 1)

    def down(self) -> None:
        """Go to the next row, in the same column; at the bottom all moves up."""
        self.full = False
        if self.row < len(self.rows) - 1:
            self.row += 1
            return
        self.gone.append(self.rows[0])
        self.rows = [*self.rows[1:], " " * self.columns]

    @property
    def lines(self) -> list[str]:
        """All that was ever shown and not taken away, from the top to the last row in which something stands."""
        lines = [row.rstrip() for row in [*self.gone, *self.rows]]
        while lines and not lines[-1]:
            lines.pop()
        return lines


class Terminal:
    """Both ends of a terminal: a file to write to, and a screen."""

    def __init__(self, ours: int, theirs: int, columns: int, rows: int) -> None:
        self.ours = ours
        self.theirs = theirs
        self.screen = Screen(columns, rows)
        self.written = ""
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def file(self, encoding: str = "utf-8") -> TextIO:
        """Open the writers' end, as Python opens stderr."""
        return open(os.dup(self.theirs), "w", encoding=encoding, buffering=1)

    def leave(self) -> None:
        """Let go of the writers' end, once all writers have it."""
        if self.theirs >= 0:
            os.close(self.theirs)
            self.theirs = -1

    def read(self, seconds: float = 0) -> bool:
        """Take what was written, waiting *seconds* for something; tell whether the other end is still open."""
        while select.select([self.ours], [], [], seconds)[0]:
            try:
                piece = os.read(self.ours, 65_536)
            except OSError:
                return False  # how Linux tells that nobody holds the other end any more
            text = self.decoder.decode(piece)
            self.written += text
            self.screen.feed(text)
            seconds = 0
        return True

    @property
    def lines(self) -> list[str]:
        """What the screen shows now, or showed in the end."""
        if self.ours >= 0:
            self.read()
        return self.screen.lines

    def wait_for_the_end(self) -> None:
        """Wait until nobody holds the writers' end any more."""
        deadline = time.monotonic() + WITHIN
        while self.read(0.1):
            assert time.monotonic() < deadline, self.screen.lines

    def wait_for(self, what: Callable[[list[str]], bool]) -> list[str]:
        """Wait until the lines on the screen are as *what* wants them; give them."""
        deadline = time.monotonic() + WITHIN
        while not what(self.screen.lines):
            assert time.monotonic() < deadline, self.screen.lines
            assert self.read(0.1) or what(self.screen.lines), self.screen.lines
        return self.screen.lines


@contextmanager
def terminal(columns: int = 80, rows: int = 24) -> Generator[Terminal]:
    """Open a terminal for the block."""
    ours, theirs = pty.openpty()
    made = Terminal(ours, theirs, columns, rows)
    try:
        yield made
    finally:
        os.close(ours)
        made.ours = -1
        made.leave()
