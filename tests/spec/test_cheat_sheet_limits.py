"""The programs that people already have which limit themselves, against a server that refuses who does not."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

import headrace
from tests.spec.test_cheat_sheet import Ended

AT_ONCE = 5
BATCH = """
from headrace import flow, task
from headrace.concurrency.sync import concurrency

@task
def api_call(endpoint: str) -> dict:
    with concurrency("external-api", occupy=1):
        import httpx2 as httpx
        return httpx.get(endpoint).json()

@flow
def batch_requests(endpoints: list[str]) -> list[dict]:
    futures = [api_call.submit(ep) for ep in endpoints]
    return [f.result() for f in futures]

if __name__ == "__main__":
    import sys
    print(sorted(answer["id"] for answer in batch_requests(sys.argv[1:])))
"""
FANOUT = """
from headrace import flow, task
from headrace.concurrency.sync import rate_limit, concurrency

@task
def call_third_party(endpoint: str) -> dict:
    # Soft concurrency cap (max 5 in-flight)
    with concurrency("third-party", occupy=1):
        # Hard rate limit (10 requests / second)
        rate_limit("third-party-rps", occupy=1)
        import httpx2 as httpx
        return httpx.get(endpoint, timeout=5).json()

@flow
def fanout(endpoints: list[str]):
    futures = [call_third_party.submit(e) for e in endpoints]
    return [f.result() for f in futures]

if __name__ == "__main__":
    import sys
    print(sorted(answer["id"] for answer in fanout(sys.argv[1:])))
"""


class Strict(BaseHTTPRequestHandler):
    """
    Refuses who comes while as many as may are there; has each stay for *patience* seconds, or until *enough* is more.

    Attributes:
        now, most: How many are there, and were at most.
        arrivals: When each came.
        full, refused: How often it was as full as it may be, and how many were refused.
    """

    guard: ClassVar = threading.Condition()
    now: ClassVar[int] = 0
    most: ClassVar[int] = 0
    refused: ClassVar[int] = 0
    full: ClassVar[int] = 0
    arrivals: ClassVar[list[float]] = []
    patience: ClassVar[float] = 0
    enough: ClassVar[str] = "full"

    def do_GET(self) -> None:
        kind = type(self)
        with kind.guard:
            kind.arrivals.append(time.monotonic())
            if kind.now >= AT_ONCE:
                kind.refused += 1
                kind.guard.notify_all()
                self.send_error(429)
                return
            kind.now += 1
            kind.most = max(kind.most, kind.now)
            before = kind.full if kind.enough == "full" else 0
            if kind.now == AT_ONCE:
                kind.full += 1
                kind.guard.notify_all()
            kind.guard.wait_for(lambda: getattr(kind, kind.enough) > before, kind.patience)
            kind.now -= 1
        body = b'{"id": %s}' % self.path.removeprefix("/").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    """Give the address of a server of which nobody has asked anything yet."""
    Strict.now = Strict.most = Strict.refused = Strict.full = 0
    Strict.arrivals, Strict.enough = [], "full"
    with ThreadingHTTPServer(("127.0.0.1", 0), Strict) as one:
        thread = threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{one.server_port}"
        one.shutdown()
        thread.join()


def create(folder: Path, *words: str) -> None:
    """Create a limit once, as the cheat sheet says, and see that nothing is wrong."""
    source = str(Path(headrace.__file__).parents[1])
    env = {**os.environ, "HEADRACE_HOME": str(folder / "home"), "PYTHONPATH": source}
    command = [sys.executable, "-m", "headrace", *words]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_at_most_so_many_requests_are_under_way_and_as_many_as_may(tmp_path: Path, server: str) -> None:
    Strict.patience = 20
    create(tmp_path, "concurrency-limit", "create", "external-api", str(AT_ONCE))

    ended = Ended(tmp_path, BATCH, *[f"{server}/{number}" for number in range(4 * AT_ONCE)])

    assert (ended.status, ended.out) == (0, f"{list(range(4 * AT_ONCE))}\n"), ended.err
    assert (Strict.most, Strict.refused, len(Strict.arrivals)) == (AT_ONCE, 0, 4 * AT_ONCE)
    assert ended.task_runs() == {("api_call", "COMPLETED"): 4 * AT_ONCE}


def test_so_they_are_of_several_programs_at_once(tmp_path: Path, server: str) -> None:
    Strict.patience = 0.05
    create(tmp_path, "concurrency-limit", "create", "external-api", str(AT_ONCE))
    endpoints = [f"{server}/{number}" for number in range(2 * AT_ONCE)]

    with ThreadPoolExecutor(3) as threads:
        ended = [one.result() for one in [threads.submit(Ended, tmp_path, BATCH, *endpoints) for _ in range(3)]]

    assert [one.status for one in ended] == [0] * 3, ended[0].err
    assert (Strict.refused, len(Strict.arrivals)) == (0, 6 * AT_ONCE)


def test_without_the_limit_the_server_refuses_and_the_program_is_told_what_to_create(
    tmp_path: Path, server: str
) -> None:
    Strict.patience, Strict.enough = 20, "refused"

    ended = Ended(tmp_path, BATCH, *[f"{server}/{number}" for number in range(4 * AT_ONCE)])

    assert ended.status == 1
    assert Strict.refused > 0
    assert [line for line in ended.lines if "There is no limit 'external-api', so nothing is limited." in line]


def test_a_batch_keeps_to_a_limit_and_to_a_rate(tmp_path: Path, server: str) -> None:
    Strict.patience = 0
    create(tmp_path, "concurrency-limit", "create", "third-party", str(AT_ONCE))
    create(tmp_path, "gcl", "create", "third-party-rps", "--limit", "10", "--slot-decay-per-second", "10")

    ended = Ended(tmp_path, FANOUT, *[f"{server}/{number}" for number in range(20)])

    assert (ended.status, ended.out) == (0, f"{list(range(20))}\n"), ended.err
    assert (Strict.refused, len(Strict.arrivals)) == (0, 20)
    first, last = min(Strict.arrivals), max(Strict.arrivals)
    assert last - first > 0.5, (
        "ten come at once, and the others one by one in a second; loading the client takes a while"
    )
