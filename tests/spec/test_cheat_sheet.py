"""The programs that people already have: what they write, what they see. Each runs as a process of its own."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import headrace

RUN = r"[a-z]+-[a-z]+"


class Ended:
    """A program that ran to its end: what it printed, what it logged, without times, and what was recorded of it."""

    def __init__(self, folder: Path, text: str, *arguments: str) -> None:
        path = folder / "program.py"
        path.write_text(text, encoding="utf-8")
        source = str(Path(headrace.__file__).parents[1])
        env = {**os.environ, "HEADRACE_HOME": str(folder / "home"), "PYTHONPATH": source}
        command = [sys.executable, str(path), *arguments]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr
        self.lines = [re.sub(r"^\d\d:\d\d:\d\d\.\d\d\d \| ", "", line) for line in self.err.splitlines()]
        self.database = folder / "home" / "headrace.db"

    def said(self, *patterns: str) -> None:
        """See that the log is these lines and no others; *patterns* are regular expressions."""
        assert len(self.lines) == len(patterns), self.err
        for line, pattern in zip(self.lines, patterns, strict=True):
            assert re.fullmatch(pattern, line), f"{line!r} is not {pattern!r}"

    def ask(self, question: str) -> list[tuple[object, ...]]:
        """Give the rows of its record that answer *question*, in SQL."""
        with closing(sqlite3.connect(self.database)) as database:
            return database.execute(question).fetchall()

    def task_runs(self) -> Counter[tuple[object, ...]]:
        """Count the recorded task runs by the name of their task and the type of their state."""
        return Counter(self.ask("SELECT task_name, state_type FROM task_run"))


class Records(BaseHTTPRequestHandler):
    """Answers every request with three records, two of them active."""

    def do_GET(self) -> None:
        body = b'[{"id": 1, "active": true}, {"id": 2, "active": false}, {"id": 3, "active": true}]'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def address() -> Iterator[str]:
    """Serve the records over HTTP on this machine."""
    with HTTPServer(("127.0.0.1", 0), Records) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


QUICK = """
import sys
from headrace import flow, task

@task
def fetch_data(url: str) -> list[dict]:
    import json
    from urllib.request import urlopen
    with urlopen(url) as answer:
        return json.load(answer)

@task
def process(records: list[dict]) -> list[dict]:
    return [record for record in records if record.get("active")]

@flow(name="My Pipeline")
def pipeline(url: str) -> list[dict]:
    return process(fetch_data(url))

if __name__ == "__main__":
    print(pipeline(sys.argv[1]))
"""


def test_the_first_pipeline_fetches_and_filters(tmp_path: Path, address: str) -> None:
    ended = Ended(tmp_path, QUICK, address)

    assert (ended.status, ended.out) == (0, "[{'id': 1, 'active': True}, {'id': 3, 'active': True}]\n")
    ended.said(
        rf"INFO    \| headrace\.engine - Created flow run '{RUN}' for flow 'My Pipeline'",
        r"INFO    \| Task run 'fetch_data-[0-9a-f]{3}' - Finished in state Completed\(\)",
        r"INFO    \| Task run 'process-[0-9a-f]{3}' - Finished in state Completed\(\)",
        rf"INFO    \| Flow run '{RUN}' - Finished in state Completed\(\)",
    )


def test_every_line_begins_with_the_time(tmp_path: Path, address: str) -> None:
    ended = Ended(tmp_path, QUICK, address)

    for line in ended.err.splitlines():
        assert re.match(r"\d\d:\d\d:\d\d\.\d\d\d \| INFO    \| ", line)
    assert "\x1b" not in ended.err


RETRIES = """
from headrace import flow, task

outcomes = iter([ConnectionError("Simulated network failure"), None])

@task(retries=3, retry_delay_seconds=0.01, timeout_seconds=30, log_prints=True)
def unreliable_api_call(endpoint: str) -> dict:
    problem = next(outcomes)
    if problem is not None:
        raise problem
    print(f"Called {endpoint} successfully")
    return {"status": "ok"}

@flow(retries=1, timeout_seconds=120, log_prints=True)
def robust_pipeline():
    result = unreliable_api_call("https://api.example.com/data")
    print(f"Result: {result}")

robust_pipeline()
"""


def test_retries_and_timeouts(tmp_path: Path) -> None:
    ended = Ended(tmp_path, RETRIES)

    assert (ended.status, ended.out) == (0, "")
    call = r"Task run 'unreliable_api_call-[0-9a-f]{3}'"
    ended.said(
        rf"INFO    \| headrace\.engine - Created flow run '{RUN}' for flow 'robust-pipeline'",
        rf"WARNING \| {call} - Attempt 1 of 4 failed: ConnectionError\('Simulated network failure'\); "
        r"retrying in 0\.01 s",
        rf"INFO    \| {call} - Called https://api\.example\.com/data successfully",
        rf"INFO    \| {call} - Finished in state Completed\(\)",
        rf"INFO    \| Flow run '{RUN}' - Result: \{{'status': 'ok'\}}",
        rf"INFO    \| Flow run '{RUN}' - Finished in state Completed\(\)",
    )


SUBFLOWS = """
from headrace import flow, task

@task
def validate(data: list) -> bool:
    return len(data) > 0

@flow(name="transform")
def transform_flow(data: list) -> list:
    if validate(data):
        return [x * 2 for x in data]
    return []

@flow(name="main")
def main_flow():
    result = transform_flow([1, 2, 3, 4, 5])
    print(f"Transformed: {result}")

main_flow()
"""


def test_subflows(tmp_path: Path) -> None:
    ended = Ended(tmp_path, SUBFLOWS)

    assert (ended.status, ended.out) == (0, "Transformed: [2, 4, 6, 8, 10]\n")
    ended.said(
        rf"INFO    \| headrace\.engine - Created flow run '{RUN}' for flow 'main'",
        rf"INFO    \| headrace\.engine - Created subflow run '{RUN}' for flow 'transform'",
        r"INFO    \| Task run 'validate-[0-9a-f]{3}' - Finished in state Completed\(\)",
        rf"INFO    \| Flow run '{RUN}' - Finished in state Completed\(\)",
        rf"INFO    \| Flow run '{RUN}' - Finished in state Completed\(\)",
    )


HOOKS = """
import sys
from headrace import flow, task
from headrace.states import State

@task(log_prints=True)
def my_task():
    print("task running")
    if "fail" in sys.argv:
        raise RuntimeError("asked to")
    return 42

def on_failure(flow, flow_run, state: State):
    print(f"Flow {flow.name} failed: {state.message}")

def on_completion(flow, flow_run, state: State):
    print(f"Flow {flow.name} completed successfully")

@flow(on_failure=[on_failure], on_completion=[on_completion], log_prints=True)
def instrumented_flow():
    result = my_task()
    print(f"Result: {result}")

instrumented_flow()
"""


def test_logging_and_state_hooks(tmp_path: Path) -> None:
    ended = Ended(tmp_path, HOOKS)

    assert (ended.status, ended.out) == (0, "")
    run = rf"INFO    \| Flow run '{RUN}'"
    ended.said(
        rf"INFO    \| headrace\.engine - Created flow run '{RUN}' for flow 'instrumented-flow'",
        r"INFO    \| Task run 'my_task-[0-9a-f]{3}' - task running",
        r"INFO    \| Task run 'my_task-[0-9a-f]{3}' - Finished in state Completed\(\)",
        rf"{run} - Result: 42",
        rf"{run} - Running hook 'on_completion' in response to entering state 'Completed'",
        rf"{run} - Flow instrumented-flow completed successfully",
        rf"{run} - Hook 'on_completion' finished",
        rf"{run} - Finished in state Completed\(\)",
    )


def test_state_hooks_of_a_failure(tmp_path: Path) -> None:
    ended = Ended(tmp_path, HOOKS, "fail")

    assert (ended.status, ended.out) == (1, "")
    words = "Flow run encountered an exception: RuntimeError: asked to"
    assert any(line.endswith(f"- Flow instrumented-flow failed: {words}") for line in ended.lines)
    assert any(line.endswith(f"- Finished in state Failed('{words}')") for line in ended.lines)
    assert not any("completed successfully" in line for line in ended.lines)
    assert ended.err.endswith("\nRuntimeError: asked to\n")


FAILED = """
from headrace import flow, task
from headrace.states import Completed, Failed

@task
def maybe_fail(x: int):
    if x < 0:
        return Failed(message=f"negative: {x}")
    return Completed(message=f"ok: {x}", data=x * 2)

@flow(log_prints=True)
def safe_flow(values: list[int]):
    for value in values:
        state = maybe_fail(value, return_state=True)
        if state.is_failed():
            print(f"SKIPPED: {state.message}")
            continue
        print(f"OK: {state.result()}")

safe_flow([1, -2, 3, -4])
"""


def test_recovering_from_a_failed_state(tmp_path: Path) -> None:
    ended = Ended(tmp_path, FAILED)

    assert (ended.status, ended.out) == (0, "")
    printed = [line.partition(" - ")[2] for line in ended.lines if line.startswith("INFO    | Flow run")]
    assert printed == [
        "OK: 2",
        "SKIPPED: negative: -2",
        "OK: 6",
        "SKIPPED: negative: -4",
        "Finished in state Completed()",
    ]
    states = [line.partition(" - ")[2] for line in ended.lines if "Task run" in line]
    assert states == [
        "Finished in state Completed('ok: 1')",
        "Finished in state Failed('negative: -2')",
        "Finished in state Completed('ok: 3')",
        "Finished in state Failed('negative: -4')",
    ]


PLAIN = """
from headrace import flow, task

@task(retries=5)
def transform(rows: list[dict], min_score: int) -> list[dict]:
    return [row for row in rows if row.get("score", 0) >= min_score]

@flow
def etl(source: str) -> int:
    raise OSError(source)

print(transform.fn([{"score": 10}, {"score": 80}], min_score=50))
state = etl("https://no-such-host.example", return_state=True)
print(state.is_failed(), state.message)
"""


def test_the_bare_function_and_the_state_of_a_failed_flow(tmp_path: Path) -> None:
    ended = Ended(tmp_path, PLAIN)

    assert ended.status == 0
    assert ended.out.splitlines() == [
        "[{'score': 80}]",
        "True Flow run encountered an exception: OSError: https://no-such-host.example",
    ]
    assert not any("transform" in line for line in ended.lines)


PARALLEL = """
from headrace import flow, task
from headrace.futures import wait
import time

@task(log_prints=True)
def process_item(item: int) -> int:
    time.sleep(0.5)
    return item ** 2

@flow
def parallel_pipeline(items: list[int]) -> list[int]:
    futures = [process_item.submit(item) for item in items]
    wait(futures)
    return [f.result() for f in futures]

result = parallel_pipeline(list(range(10)))
print(result)
"""


def test_parallel_task_submission(tmp_path: Path) -> None:
    ended = Ended(tmp_path, PARALLEL)

    assert (ended.status, ended.out) == (0, "[0, 1, 4, 9, 16, 25, 36, 49, 64, 81]\n")
    ended.said(
        rf"INFO    \| headrace\.engine - Created flow run '{RUN}' for flow 'parallel-pipeline'",
        *[r"INFO    \| Task run 'process_item-[0-9a-f]{3}' - Finished in state Completed\(\)"] * 10,
        rf"INFO    \| Flow run '{RUN}' - Finished in state Completed\(\)",
    )
    ((flow_took,),) = ended.ask("SELECT end_time - start_time FROM flow_run")
    ((tasks_took,),) = ended.ask("SELECT sum(end_time - start_time) FROM task_run")
    assert int(str(flow_took)) < int(str(tasks_took)), "one after another they would take as long as all together"


FORGIVEN = """
from headrace import flow, task, allow_failure

@task
def primary_source() -> dict:
    raise RuntimeError("primary down")

@task
def fallback_source() -> dict:
    return {"src": "fallback", "rows": [1, 2, 3]}

@task
def merge(primary: dict, fallback: dict) -> dict:
    return primary if primary else fallback

@flow(log_prints=True)
def resilient_fetch():
    p_future = primary_source.submit()
    f_future = fallback_source.submit()
    result = merge(allow_failure(p_future), f_future)
    print(result)

resilient_fetch()
"""


def test_conditional_branching_with_allow_failure(tmp_path: Path) -> None:
    ended = Ended(tmp_path, FORGIVEN)

    assert (ended.status, ended.out) == (0, "")
    said = [line for line in ended.lines if " - Finished in state " in line or " - {" in line]
    failure = "Failed('Task run encountered an exception: RuntimeError: primary down')"
    assert sorted(said[:2]) == [
        f"ERROR   | Task run 'primary_source-001' - Finished in state {failure}",
        "INFO    | Task run 'fallback_source-002' - Finished in state Completed()",
    ]
    assert said[2] == "INFO    | Task run 'merge-003' - Finished in state Completed()"
    assert said[3].endswith(" - {'src': 'fallback', 'rows': [1, 2, 3]}")
    assert said[4].endswith(" - Finished in state Completed()")
    assert not any("never asked" in line for line in ended.lines), "the failure was looked at"


MAPPED = """
from headrace import flow, task

@task
def process(item: int) -> int:
    return item * item

@flow
def map_pipeline(items: list[int]) -> list[int]:
    futures = process.map(items)
    return [f.result() for f in futures]

print(map_pipeline(list(range(10))))
"""


def test_map_fan_out(tmp_path: Path) -> None:
    ended = Ended(tmp_path, MAPPED)

    assert (ended.status, ended.out) == (0, "[0, 1, 4, 9, 16, 25, 36, 49, 64, 81]\n")
    assert ended.task_runs() == {("process", "COMPLETED"): 10}


ONE_BY_ONE = """
from headrace import flow, task

@task
def process_row(row): return row * 2

@flow
def slow(rows):
    return [process_row(r) for r in rows]

doubled = slow(list(range(10_000)))
print(len(doubled), doubled[-1])
"""
IN_BATCHES = """
from headrace import flow, task
from itertools import islice

@task
def process_batch(batch): return [r * 2 for r in batch]

@flow
def fast(rows):
    futures = []
    it = iter(rows)
    while batch := list(islice(it, 100)):
        futures.append(process_batch.submit(batch))
    return [r for f in futures for r in f.result()]

doubled = fast(list(range(10_000)))
print(len(doubled), doubled[-1])
"""


@pytest.mark.parametrize(
    ("text", "task_runs"),
    [
        pytest.param(ONE_BY_ONE, {("process_row", "COMPLETED"): 10_000}, id="one task a row"),
        pytest.param(IN_BATCHES, {("process_batch", "COMPLETED"): 100}, id="one task a hundred rows"),
    ],
)
def test_ten_thousand_rows_are_done_in_batches_and_as_ten_thousand_tasks(
    tmp_path: Path, text: str, task_runs: dict[tuple[str, str], int]
) -> None:
    """A program is given 60 s here. At 80 ms a task, 10,000 tasks would take 800."""
    ended = Ended(tmp_path, text)

    assert (ended.status, ended.out) == (0, "10000 19998\n")
    assert ended.task_runs() == task_runs
