"""Processes that share limits on a database server, killed amid their work: never more at once than there are slots."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from headrace._model.slots import Limit
from headrace._stores.postgres import PostgresStore
from tests.chaos.limited import ABOVE, HEAD, MOST, NAME, Board
from tests.chaos.processes import Child, until
from tests.contract.postgres_server import Server

SLOTS = 4


@pytest.mark.required
def test_processes_share_a_limit_one_is_killed_the_server_starts_anew_and_all_is_given_back(
    postgresql: Server, tmp_path: Path
) -> None:
    name = postgresql.database()
    url, board = postgresql.url(name), Board(tmp_path / "board")
    asyncio.run(PostgresStore(url).limits.define(Limit(NAME, SLOTS)))
    board.limit(SLOTS)
    home = tmp_path / "home"
    crowd = [
        Child("tests.chaos.limited", "works", board.path, place, home=home, HEADRACE_DATABASE_URL=url)
        for place in range(4)
    ]
    try:
        until(lambda: all(count > 20 for count in board.done[:4]))
        victim = crowd.pop()
        with board.locked() as cells:
            victim.send(signal.SIGKILL)
            victim.process.wait()
            cells[HEAD + 3] = 0
        postgresql.stop()
        postgresql.start()
        before = board.done
        until(lambda: all(now > then + 20 for now, then in zip(board.done[:3], before[:3], strict=True)))
    finally:
        board.stop()

    for child in crowd:
        end = child.ended(60)
        assert (end.status, end.out, end.err) == (0, "done\n", "")
    assert (board.head(ABOVE), board.head(MOST)) == (0, SLOTS)
    assert postgresql.psql("SELECT count(*) FROM headrace.slot_claim WHERE held > 0", name) == [["0"]]
