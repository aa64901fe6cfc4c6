"""Runs to look at: recorded by really running flows, in a process and a home of their own. Looks at nothing itself."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Generator, Iterable, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import orjson
from click.testing import CliRunner, Result

from headrace.cli import headrace
from tests.chaos.processes import until

ROOT = Path(__file__).parents[3]

PIPELINE = """
import os, time
from headrace import flow, get_run_logger, tags, task

@task
def add(a, b):
    get_run_logger().info("adding %s", a)
    return a + b

@task(task_run_name="twice of {x}")
def twice(x):
    return add(x, x)

tries = []

@task(retries=2, retry_delay_seconds=0.05)
def flaky():
    tries.append(1)
    if len(tries) < 3:
        raise ConnectionError("the server is away")

@task
def broken():
    raise ValueError("no such column: price\\x1b[2J")

@flow
def child(x):
    return add(x, 1)

@flow(name="pipeline", version="7")
def pipeline(x, folder):
    get_run_logger().warning("begins with %s", x)
    flaky()
    twice(x)
    child(x)
    broken(return_state=True)
    return x

with tags("nightly", "blue"):
    pipeline(3, folder="out")

@flow
def fails():
    raise RuntimeError("ends badly")

fails(return_state=True)
add(1, 2)

@task(cache_key_fn=lambda context, parameters: "prices-today")
def prices():
    return {"tea": 1.5}

prices()
"""

CACHING = """
from datetime import timedelta
from headrace import flow, task
from headrace.cache_policies import INPUTS, NO_CACHE

@task(cache_policy=INPUTS, cache_expiration=timedelta(days=1))
def add(a, b):
    return a + b

@task(cache_policy=INPUTS, task_run_name="big of {size}")
def big(size):
    return b"x" * size

@task(cache_key_fn=lambda context, parameters: f"report-of-the-day-{parameters['day']:02}")
def report(day):
    return "x" * 20_000 if day > 1 else "".join(f"line {number}\\x1b[2J of the report\\n" for number in range(30))

class Trap:
    def __reduce__(self):
        return exec, ("open('sprung', 'w')",)

@task(cache_key_fn=lambda context, parameters: "trap\\x1b[2J")
def trap():
    return Trap()

@task(cache_policy=NO_CACHE, persist_result=True)
def alone():
    return list(range(400))

@task
def unkept():
    return 1

@flow(persist_result=True, name="caching")
def caching():
    add(1, 2)
    add(1, 2)
    big(100_000)
    report(1)
    report(2)
    trap()
    alone()
    return "done"

caching()

@flow(name="again")
def again():
    add(1, 2)
    big(100_000)
    unkept()

again()
"""

KILLED = """
import os, signal, sqlite3, time
from headrace import flow, task

@task
def kept():
    pass

def is_recorded(name):
    with sqlite3.connect(os.path.join(os.environ["HEADRACE_HOME"], "headrace.db")) as database:
        return database.execute("SELECT 1 FROM task_run WHERE task_name = ?", (name,)).fetchone()

@task
def stopped_short():
    kept()  # is recorded before the durable flow goes on; that this task is at work, a moment after
    while not is_recorded("stopped_short"):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)

@flow(durable=True)
def killed():
    stopped_short()

killed()
"""

ORDERS = """
import os, sys, time
from pathlib import Path
from headrace import flow, get_run_logger, run, task

HERE = Path(__file__).parent

@task
def charge(order):
    with open(HERE / "charged", "a") as file:
        print(order, file=file)
    return f"receipt {order}"

@task
def ship(order):
    if not (HERE / "mended").exists():
        os.kill(os.getpid(), 9)
    if order == "lost":
        raise LookupError("no such parcel\x1b[2J")
    get_run_logger().warning("shipping %s", order)
    while (HERE / "slow").exists():
        (HERE / "shipping").touch()
        time.sleep(0.01)
    return {"shipped": order}

@flow(durable=True)
def order(number):
    print("order", number)
    receipt = charge(number)
    return [receipt, ship(number)]

@flow(durable=True)
async def order_later(number):
    return order(number)

if __name__ == "__main__":
    called = globals()[sys.argv[1]](sys.argv[2])
    run(called) if sys.argv[1] == "order_later" else called
"""


class Shop:
    """A program whose durable flows end their process where they ship, until it is mended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.log = folder / "log"
        self.program = folder / "orders.py"
        self.program.write_text(ORDERS, encoding="utf-8")

    def killed(self, number: str, flow: str = "order") -> str:
        """Have the order *number* be left behind; give the id of its run."""
        done = self.ended(str(self.program), flow, number)
        assert done.returncode == -9, done.stderr
        return Teller(self.home).id_of(flow.replace("_", "-"))

    def mend(self) -> None:
        """Have orders be shipped from now on."""
        (self.folder / "mended").touch()

    def change(self, old: str, new: str) -> None:
        """Change the program."""
        text = self.program.read_text(encoding="utf-8")
        assert old in text
        self.program.write_text(text.replace(old, new), encoding="utf-8")

    @property
    def charged(self) -> list[str]:
        """The orders that were charged, one for each time."""
        return (self.folder / "charged").read_text(encoding="utf-8").split()

    def __call__(self, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Speak the command *words* in a process of its own; it must end with *status*."""
        done = self.ended("-m", "headrace", *words)
        assert done.returncode == status, done.stderr
        return done

    def ended(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run Python with *words* to its end."""
        return subprocess.run(
            [sys.executable, *words],
            env=environment(self.home),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @contextmanager
    def shipping(self, *words: str) -> Generator[subprocess.Popen[str]]:
        """Have Python with *words* ship an order for as long as the block lasts; what it says is in `log`."""
        slow = self.folder / "slow"
        slow.touch()
        with self.log.open("w", encoding="utf-8") as log:
            process = subprocess.Popen(
                [sys.executable, *words], env=environment(self.home), stdout=log, stderr=log, text=True
            )
        try:
            until((self.folder / "shipping").exists)
            yield process
        finally:
            slow.unlink()
            process.wait(60)


def record(program: str, home: Path, *, status: int = 0) -> None:
    """Run *program*, whose runs are recorded in *home*."""
    script = home.parent / f"{home.name}.py"
    script.write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)],
        env=environment(home),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == status, done.stderr


def rewritten(home: Path, statement: str, *values: object) -> None:
    """Change the database in *home* by *statement*."""
    with closing(sqlite3.connect(home / "headrace.db")) as database, database:
        database.execute(statement, values)


def goes_on(home: Path, flow_name: str) -> str:
    """Have the runs of *flow_name* in *home* stand as in progress, in a process nobody can look for; give one's id."""
    with closing(sqlite3.connect(home / "headrace.db")) as database, database:
        database.execute(
            "UPDATE flow_run SET state_type = 'RUNNING', state_name = 'Running', message = NULL, end_time = NULL, "
            "owner = 'elsewhere:4242:1:1' WHERE flow_name = ?",
            (flow_name,),
        )
        ((run_id,),) = database.execute("SELECT id FROM flow_run WHERE flow_name = ?", (flow_name,)).fetchall()
    return str(run_id)


def environment(home: Path, **more: str) -> dict[str, str]:
    """The environment of a process whose runs are recorded in *home*."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HEADRACE_", "OTEL_"))}
    return kept | {"HEADRACE_HOME": str(home), "PYTHONPATH": str(ROOT / "src"), **more}


class Teller:
    """Speaks `headrace` commands in this process, with *home* as Headrace's."""

    def __init__(self, home: Path, **settings: str | None) -> None:
        self.home = home
        self.settings: Mapping[str, str | None] = {"HEADRACE_HOME": str(home), "COLUMNS": "110", **settings}

    def __call__(self, *words: str, answers: str | None = None, status: int = 0, **settings: str | None) -> Result:
        """Give what the command *words* printed; it must end with *status*."""
        result = CliRunner().invoke(headrace, words, input=answers, env={**self.settings, **settings})
        assert result.exit_code == status, result.output
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result

    def json(self, *words: str) -> Any:
        """Give what the command *words* printed as JSON, with nothing else on stdout."""
        return orjson.loads(self(*words, "--output", "json").stdout)

    def id_of(self, flow_name: str) -> str:
        """Give the id of the newest run of *flow_name*."""
        runs: Iterable[dict[str, Any]] = self.json("flow-run", "ls")
        return next(str(run["id"]) for run in runs if run["flow_name"] == flow_name)
