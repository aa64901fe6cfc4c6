"""The programs that people already have which cache: what they write, what they see. Each runs in its own process."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.spec.test_cheat_sheet import RUN, Ended

CACHING = """
from headrace import flow, task
from headrace.tasks import task_input_hash
from datetime import timedelta
import time

@task(
    cache_key_fn=task_input_hash,
    cache_expiration=timedelta(hours=1),
    log_prints=True,
)
def expensive_query(sql: str) -> list[dict]:
    print(f"Running query: {sql}")
    time.sleep(0.01)  # simulate slow DB call
    return [{"result": 42}]

@flow
def pipeline():
    # First call — runs the query
    r1 = expensive_query("SELECT * FROM big_table")
    # Second call with same input — returns cached result instantly
    r2 = expensive_query("SELECT * FROM big_table")
    print(r1, r2)

pipeline()
"""


def test_caching_skips_unchanged_tasks(tmp_path: Path) -> None:
    first = Ended(tmp_path, CACHING)

    assert (first.status, first.out) == (0, "[{'result': 42}] [{'result': 42}]\n")
    first.said(
        rf"INFO +\| headrace\.engine - Created flow run '{RUN}' for flow 'pipeline'",
        r"INFO +\| Task run 'expensive_query-001' - Running query: SELECT \* FROM big_table",
        r"INFO +\| Task run 'expensive_query-001' - Finished in state Completed\(\)",
        r"INFO +\| Task run 'expensive_query-002' - Finished in state Cached\(type=COMPLETED\)",
        rf"INFO +\| Flow run '{RUN}' - Finished in state Completed\(\)",
    )

    again = Ended(tmp_path, CACHING)

    assert again.out == first.out
    assert "Running query" not in again.err


ETL = """
from datetime import timedelta
from headrace import flow, task
from headrace.tasks import task_input_hash

@task(retries=3, retry_delay_seconds=0, cache_key_fn=task_input_hash,
      cache_expiration=timedelta(hours=6))
def extract(source: str) -> list[dict]:
    import httpx2 as httpx
    r = httpx.get(source, timeout=10)
    r.raise_for_status()
    return r.json()

@task
def transform(rows: list[dict], min_score: int) -> list[dict]:
    return [r for r in rows if r.get("score", 0) >= min_score]

@task(retries=2)
def load(rows: list[dict], dest: str) -> int:
    import json, pathlib
    pathlib.Path(dest).write_text(json.dumps(rows, indent=2))
    return len(rows)

@flow(name="etl", log_prints=True)
def etl(source: str, dest: str = "out.json", min_score: int = 50) -> int:
    raw = extract(source)
    cleaned = transform(raw, min_score)
    return load(cleaned, dest)

if __name__ == "__main__":
    import sys
    print(etl(sys.argv[1], sys.argv[2], min_score=75))
"""


class Items(BaseHTTPRequestHandler):
    """Fails the first request, then answers with 200 items; counts both."""

    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        body = json.dumps([{"id": x, "score": x % 100} for x in range(200)]).encode()
        self.send_response(503 if self.asked == 1 else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    """Give the address of a server that fails once."""
    Items.asked = 0
    with ThreadingHTTPServer(("127.0.0.1", 0), Items) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/items"
        server.shutdown()
        thread.join()


def test_parameterised_etl_with_retries_and_caching(tmp_path: Path, address: str) -> None:
    out = tmp_path / "out.json"

    first = Ended(tmp_path, ETL, address, str(out))

    assert (first.status, first.out, Items.asked) == (0, "50\n", 2)
    assert len(json.loads(out.read_text())) == 50
    assert [line for line in first.lines if "Attempt 1 of 4 failed" in line]
    for name, number in (("extract", 1), ("transform", 2), ("load", 3)):
        assert f"INFO    | Task run '{name}-00{number}' - Finished in state Completed()" in first.lines

    again = Ended(tmp_path, ETL, address, str(out))

    assert (again.status, again.out, Items.asked) == (0, "50\n", 2)  # nobody was asked
    assert "INFO    | Task run 'extract-001' - Finished in state Cached(type=COMPLETED)" in again.lines
