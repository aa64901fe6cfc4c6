"""
Lines: those who wait for one limit. By priority; within one in turns between keys; within a key in order of arrival.

The turns are those of start-time fair queueing: each key has a clock of its own that goes on by what it is served, and
who has had the least comes first. A key that had nothing to ask for saves nothing up.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from typing import Any, Final

MANY_KEYS: Final = 1_000
MANY_OVER: Final = 64


class Line:
    """
    Those who wait. They have `priority`, `key`, `number` (of arrival), `occupy`, and `over` once they wait no more.

    Attributes:
        rows: Those of one priority and key.
        heap: The rows with somebody in them: priority, turn, number of the first, and which row it is.
        turns: When the next of each key is due, on the clock of the priority.
        size, over: Those in all rows, and those of them who wait no more.
    """

    def __init__(self) -> None:
        self.rows: dict[tuple[int, str], deque[Any]] = {}
        self.heap: list[tuple[int, float, int, tuple[int, str]]] = []
        self.turns: dict[tuple[int, str], float] = {}
        self.clock = 0.0
        self.size = self.over = 0

    def add(self, one: Any) -> None:
        """Have *one* wait behind all of its priority and key."""
        self.size += 1
        place = (one.priority, one.key)
        row = self.rows.get(place)
        if row is not None:
            row.append(one)
            return
        self.rows[place] = deque([one])
        self.push(place, max(self.clock, self.turns.get(place, 0.0)), one.number)

    def push(self, place: tuple[int, str], turn: float, number: int) -> None:
        """Have a row come in its turn."""
        heapq.heappush(self.heap, (-place[0], turn, number, place))

    def first(self) -> Any:
        """Give who comes next; None where nobody waits."""
        while self.heap:
            place = self.heap[0][3]
            row = self.rows[place]
            while row and row[0].over:
                row.popleft()
                self.size -= 1
                self.over -= 1
            if row:
                return row[0]
            heapq.heappop(self.heap)
            del self.rows[place]
        return None

    def listed(self, most: int) -> list[Any]:
        """List at most so many of those who wait, in the order in which they came."""
        rows = itertools.islice(self.rows.values(), most)  # which began to wait in this order
        waiting = [one for row in rows for one in itertools.islice((one for one in row if not one.over), most)]
        return sorted(waiting, key=lambda one: one.number)[:most]

    def ended(self) -> None:
        """Hear that one of the line waits no more. It is let go of when it comes first, or when they are many."""
        self.over += 1
        if self.over < MANY_OVER or 2 * self.over < self.size:
            return
        for row in self.rows.values():
            left = [one for one in row if not one.over]
            row.clear()
            row.extend(left)
        self.heap = [entry for entry in self.heap if self.rows[entry[3]]]
        heapq.heapify(self.heap)
        self.rows = {place: row for place, row in self.rows.items() if row}
        self.size, self.over = self.size - self.over, 0

    def served(self) -> None:
        """Let the first go: it was served, and its key comes again when the others have had as much."""
        _, turn, _, place = heapq.heappop(self.heap)
        row = self.rows[place]
        one = row.popleft()
        self.size -= 1
        self.clock = max(self.clock, turn)
        if len(self.turns) > MANY_KEYS:
            ahead = sorted((due, key) for key, due in self.turns.items() if due > self.clock)
            self.turns = {key: due for due, key in ahead[-MANY_KEYS // 2 :]}  # those who have had the most
        self.turns[place] = due = turn + one.occupy
        if row:
            self.push(place, due, row[0].number)
        else:
            del self.rows[place]
