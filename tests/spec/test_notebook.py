"""Flows in the cells of a notebook: a real kernel, whose event loop runs on the thread that runs the cells."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest
from jupyter_client.manager import KernelManager

import headrace
from tests.chaos.processes import recorded, states

WITHIN = 60.0
FIRST_CELL = """
import asyncio, threading, time
from headrace import flow, run, task

@task
def double(x):
    return 2 * x

@task
async def triple(x):
    await asyncio.sleep(0)
    return 3 * x
"""


@attrs.frozen
class Cell:
    """What a cell shows: the value of its last line, the name and text of its error, and all that it printed."""

    value: str | None
    error: str | None
    printed: str


class Notebook:
    """A kernel at work, and who types into it."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.manager = KernelManager(kernel_name="python3", connection_file=str(folder / "kernel.json"))
        settings = {name: value for name, value in os.environ.items() if not name.startswith(("HEADRACE_", "PYTHON"))}
        settings |= {
            "HEADRACE_HOME": str(self.home),
            "HEADRACE_LOG_LEVEL": "OFF",
            "IPYTHONDIR": str(folder),
            "PYTHONPATH": str(Path(headrace.__file__).parents[1]),
        }
        self.complaints = open(folder / "kernel.err", "wb")  # noqa: SIM115 - closed with the kernel
        self.manager.start_kernel(env=settings, cwd=str(folder), stderr=self.complaints)
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=WITHIN)

    def run(self, code: str, meanwhile: tuple[str, Callable[[], None]] | None = None) -> Cell:
        """Run a cell to its end; once it has printed the words of *meanwhile*, do what comes with them."""
        value: str | None = None
        error: str | None = None
        printed = ""
        asked = self.client.execute(code)
        deadline = time.monotonic() + WITHIN
        while True:
            message = self.client.get_iopub_msg(timeout=deadline - time.monotonic())
            content = message["content"]
            if message["parent_header"].get("msg_id") != asked:
                continue
            match message["msg_type"]:
                case "execute_result":
                    value = content["data"]["text/plain"]
                case "error":
                    error = f"{content['ename']}: {content['evalue']}"
                case "stream":
                    printed += content["text"]
                case "status" if content["execution_state"] == "idle":
                    return Cell(value, error, printed)
                case _:
                    pass
            if meanwhile is not None and meanwhile[0] in printed:
                meanwhile[1]()
                meanwhile = None

    def close(self) -> None:
        """End the kernel, as closing the notebook does."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=False)
        self.complaints.close()


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """Open a notebook whose first cell has been run."""
    notebook = Notebook(tmp_path_factory.mktemp("notebook"))
    try:
        assert notebook.run(FIRST_CELL) == Cell(None, None, "")
        yield notebook
    finally:
        notebook.close()


def test_an_async_flow_is_awaited_at_top_level_on_the_notebooks_loop(notebook: Notebook) -> None:
    cell = notebook.run("""
@flow
async def awaited(x):
    return await triple(x), asyncio.get_running_loop() is loop

loop = asyncio.get_running_loop()
await awaited(2)
""")

    assert cell == Cell("(6, True)", None, "")
    assert states(notebook.home, "awaited") == ["Completed"]


def test_async_flows_gathered_in_a_cell_run_side_by_side(notebook: Notebook) -> None:
    cell = notebook.run("""
both = asyncio.Barrier(2)

@flow
async def gathered(x):
    await both.wait()
    return await triple(x)

await asyncio.gather(gathered(1), gathered(2))
""")

    assert cell == Cell("[3, 6]", None, "")
    assert states(notebook.home, "gathered") == ["Completed"] * 2


def test_a_sync_flow_at_top_level_blocks_and_gives_its_value(notebook: Notebook) -> None:
    cell = notebook.run("""
@flow
def called(x):
    return double(x) + double(x), threading.current_thread() is threading.main_thread()

called(2)
""")

    assert cell == Cell("(8, True)", None, "")
    assert states(notebook.home, "called") == ["Completed"]


def test_a_sync_flow_waits_in_the_cell_for_what_it_submitted_to_threads_and_to_a_loop(notebook: Notebook) -> None:
    cell = notebook.run("""
@flow
def submits(n):
    futures = [double.submit(x) for x in range(n)] + [triple.submit(x) for x in range(n)]
    return [future.result(timeout=30) for future in futures], sum(double.map(range(n)).result())

submits(3)
""")

    assert cell == Cell("([0, 2, 4, 0, 3, 6], 6)", None, "")
    assert states(notebook.home, "submits") == ["Completed"]


def test_an_async_flow_in_a_cell_submits_to_the_notebooks_loop_and_awaits(notebook: Notebook) -> None:
    cell = notebook.run("""
@task
async def where():
    return asyncio.get_running_loop() is loop

@flow
async def maps(n):
    return await triple.map(range(n)), await double.map(range(n)), await where.submit()

loop = asyncio.get_running_loop()
await maps(3)
""")

    assert cell == Cell("([0, 3, 6], [0, 2, 4], True)", None, "")
    assert states(notebook.home, "maps") == ["Completed"]


def test_blocking_in_an_async_flow_is_refused_and_not_a_deadlock(notebook: Notebook) -> None:
    cell = notebook.run("""
@flow
async def blocks():
    return triple.submit(1).result()

await blocks()
""")

    assert cell.error is not None
    assert cell.error.startswith("RunningLoopError: ")
    assert "await" in cell.error
    assert states(notebook.home, "blocks") == ["Failed"]


def test_an_error_in_a_flow_is_shown_as_the_users_own(notebook: Notebook) -> None:
    cell = notebook.run("""
@flow
async def broken():
    raise LookupError("nothing there")

await broken()
""")

    assert cell.error == "LookupError: nothing there"
    assert states(notebook.home, "broken") == ["Failed"]


def test_run_is_refused_in_a_cell_with_a_sentence_that_names_await(notebook: Notebook) -> None:
    cell = notebook.run("run(triple(1))")

    assert cell.error == (
        "RunningLoopError: headrace.run would block the event loop that runs on this thread. "
        "Write `await` before the call instead."
    )


STOPPED = {
    "time.sleep(60)": """
@flow
def stopped():
    print("begun", flush=True)
    time.sleep(60)

stopped()
""",
    # In steps: the kernel hears of the button once its loop wakes, with or without a flow.
    "await": """
@flow
async def stopped():
    print("begun", flush=True)
    for _ in range(6000):
        await asyncio.sleep(0.01)

await stopped()
""",
}


@pytest.mark.parametrize("waits", STOPPED)
def test_the_stop_button_cancels_the_flow_of_the_cell(notebook: Notebook, waits: str) -> None:
    before = len(states(notebook.home, "stopped")) if recorded(notebook.home) else 0  # it may be the kernel's first

    cell = notebook.run(STOPPED[waits], meanwhile=("begun", notebook.manager.interrupt_kernel))

    assert cell.error in {"KeyboardInterrupt: ", "CancelledError: "}
    assert states(notebook.home, "stopped")[before:] == ["Cancelled"]
    assert notebook.run("double(1)") == Cell("2", None, "")
