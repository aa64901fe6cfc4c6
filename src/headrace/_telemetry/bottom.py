"""
The bottom line: one line of text below all else on a terminal, which nothing that is written meanwhile breaks.

It stands in the row below the cursor, and the cursor stays where it was, so whatever others write (a prompt, a line
of a subprocess) goes on in its own place. What this process writes to the terminal passes here while the line stands,
be it a log line, a print or a traceback: the line is taken away, the text written, the line put below it again.

Nothing here knows what the line says, or when.
"""

from __future__ import annotations

import os
import select
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final, TextIO, TypeAlias

Words: TypeAlias = Callable[[int], str]  # gives what to say in so many columns

PATIENCE: Final = 0.5
CLEAR: Final = "\x1b[J"  # from the cursor to the end of the screen
# Make sure that there is a row below (at the bottom all moves up), go there and back; the cursor keeps its column.
BELOW: Final = "\x1bD\x1b[A\x1b7\x1b[B\r{}\x1b8"


class BottomLine:
    """
    The line below all else on *stream*, a terminal.

    Attributes:
        text: What stands there; "" for none.
        columns: How many it may take.
        problem: Why nothing is shown any more: the stream failed. There is no other place to say so.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.text = ""
        self.columns = 0
        self.problem: Exception | None = None
        # Reentrant, and never waited for long: a signal's handler may write while its own thread holds this, and wait
        # for what a third one holds that is here. A line in disorder is better than a program that hangs.
        self.lock = threading.RLock()
        self.taps: list[Tap] = []
        self.raw: Callable[[str], int] = stream.write
        self.pid = os.getpid()

    def show(self, words: Words) -> bool:
        """
        Have stand there what *words* says; tell whether it does.

        Waits for nobody. While someone else writes, or the terminal takes no text (Ctrl-S, a slow one), it is not
        drawn: it comes with the next line that is written above it.
        """
        with self.held(patience=0) as held:
            if held:
                descriptor = self.stream.fileno()
                columns, rows = size(descriptor)
                # In the last column, a terminal may or may not go on to the next row.
                self.columns = columns - 1
                # Another stderr: what is written is for elsewhere, or someone else draws on this terminal.
                if sys.stderr is not self.stream or rows < 2 or not in_front(descriptor):
                    self.take_away()
                else:
                    self.tap()
                    self.text = words(self.columns)
                    if takes_text(descriptor):
                        self.draw()
            elif self.text and self.is_open():
                self.text = words(self.columns)
        return bool(self.text)

    def hide(self, last: Words | None = None) -> None:
        """Take the line away, if one stands there; write what *last* says as a line in its stead."""
        if not self.text:
            return
        with self.held(patience=PATIENCE) as held:
            if held:
                self.take_away(last)

    def take_away(self, last: Words | None = None) -> None:
        """Clear the row, once the terminal takes that, and let others write directly again. The lock is held."""
        shown, self.text = self.text, ""
        self.untap()
        descriptor = self.stream.fileno()
        if not shown or not in_front(descriptor):
            return
        self.raw(CLEAR)
        if last is not None:
            columns, _ = size(descriptor)
            # As many blanks as there are columns end in the next row if something stands in this one, else in this.
            self.raw(f"{' ' * columns}\r{CLEAR}{last(columns - 1)}\n")
        self.stream.flush()

    def is_open(self) -> bool:
        """Tell whether to draw: in this process, not one that it forked; and until the stream is closed or fails."""
        return self.pid == os.getpid() and self.problem is None and not self.stream.closed

    @contextmanager
    def held(self, patience: float) -> Generator[bool]:
        """Hold the lock where there is something to draw on and it is had within *patience* seconds; tell so."""
        if not self.is_open() or not self.lock.acquire(timeout=patience):
            yield False
            return
        try:
            with self.trying():
                yield True
        finally:
            self.lock.release()

    @contextmanager
    def trying(self) -> Generator[None]:
        """End it all where the stream fails: a run never does because of this line."""
        try:
            yield
        except Exception as error:
            self.problem, self.text = error, ""
            self.untap()

    def tap(self) -> None:
        """Have what is written to the terminal pass here. The lock is held."""
        if self.taps:
            return
        self.raw = self.stream.write
        self.taps.append(Tap(self, self.stream))
        if sys.stdout is not self.stream and same(sys.stdout, self.stream):
            self.taps.append(Tap(self, sys.stdout))

    def untap(self) -> None:
        """Let others write directly again."""
        for tap in self.taps:
            tap.undo()
        self.taps = []

    def draw(self) -> None:
        """Put the text below the cursor. The lock is held."""
        self.raw(self.after(""))
        self.stream.flush()

    def after(self, text: str) -> str:
        """Give *text* as it is written when the line stands below it, before and afterwards."""
        return f"{CLEAR}{text}{BELOW.format(self.text)}"


class Tap:
    """
    Stands in for the `write` of one stream while the line is there.

    For that of the object, so that it does not matter who holds it: `print`, a handler of logging made long before, a
    wrapper around it.
    """

    def __init__(self, line: BottomLine, stream: Any) -> None:
        self.line = line
        self.stream = stream
        self.before: Callable[[str], int] = stream.write
        self.replaced = own(stream).get("write")
        # One object: asked for twice, a method is two.
        self.put: Callable[[str], int] = self.write
        self.active = True
        stream.write = self.put

    def undo(self) -> None:
        """Put back what was there; where somebody wrapped this meanwhile it stays below, and only passes on."""
        self.active = False
        if own(self.stream).get("write") is not self.put:
            return
        if self.replaced is None:
            del self.stream.write
        else:
            self.stream.write = self.replaced

    def write(self, text: Any) -> int:
        """
        Write *text* above the line.

        All at once, or the line would flicker: under load a thousand lines a second pass here. What ends no line stays
        in its row, and the line below it stays, too.
        """
        line = self.line
        ends = isinstance(text, str) and "\n" in text
        if not ends or not self.active or not line.is_open() or not line.lock.acquire(timeout=PATIENCE):
            return self.before(text)
        try:
            if not line.text:
                return self.before(text)
            self.before(line.after(text))
            self.stream.flush()
            return len(text)
        finally:
            line.lock.release()


def own(stream: Any) -> dict[str, Any]:
    """Give the attributes that the object *stream* has itself."""
    attributes: dict[str, Any] = stream.__dict__
    return attributes


def same(one: Any, other: TextIO) -> bool:
    """Tell whether *one* is a file, open, on the terminal that *other* is on, in the same encoding."""
    if one is None or getattr(one, "closed", False) or getattr(one, "encoding", None) != other.encoding:
        return False
    return hasattr(one, "isatty") and one.isatty() and os.path.sameopenfile(one.fileno(), other.fileno())


def size(descriptor: int) -> tuple[int, int]:
    """Give columns and rows of the terminal; what is usual where it does not know them."""
    columns, rows = os.get_terminal_size(descriptor)
    return columns or 80, rows or 24


def in_front(descriptor: int) -> bool:
    """Tell whether the terminal is this process's to draw on: not where a shell has put it into the background."""
    try:
        group = os.tcgetpgrp(descriptor)
    except OSError:
        return True  # not the terminal that controls this process, so no shell shares it
    # 0 where the owner is out of sight, in another container.
    return group in {0, os.getpgrp()}


def takes_text(descriptor: int) -> bool:
    """Tell whether the terminal takes text without a wait; else Ctrl-S would hold up whoever draws."""
    return bool(select.select((), (descriptor,), (), 0)[1])
