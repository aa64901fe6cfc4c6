"""A task runner that shows the places it has given out: what tests look at when everything has ended."""

from __future__ import annotations

import time
from typing import Any

from headrace._runners.places import Places
from headrace.task_runners import ConcurrentTaskRunner


class Watched(ConcurrentTaskRunner):
    """A runner that keeps what it opened."""

    def __init__(self, limit: int | None = None) -> None:
        super().__init__(limit)
        self.opened: list[Any] = []

    def open(self, shop: Any, crew: Any, home: Any) -> Any:
        """Make the lanes of one flow run, and keep them."""
        lanes = super().open(shop, crew, home)
        self.opened.append(lanes)
        return lanes

    @property
    def places(self) -> list[Places]:
        """The places of each flow run that had its own."""
        return [lanes.places for lanes in self.opened if lanes.places is not None]

    def rests(self) -> bool:
        """Tell whether no place is taken any more; a thread gives its own back a moment after its run has ended."""
        deadline = time.monotonic() + 20
        while any(places.taken for places in self.places) and time.monotonic() < deadline:
            time.sleep(0.001)
        return not any(places.taken for places in self.places)
