"""A durable flow of a script that is killed, or told to end, goes on by the command line: with its own classes, too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import os, signal
from dataclasses import dataclass
from headrace import flow, task

@dataclass
class Order:
    number: int

@task
def pay(order: Order) -> Order:
    print("pay", order.number, flush=True)
    return Order(order.number + 1)

@task
def ship(order: Order) -> str:
    print("ship", order.number, flush=True)
    if os.environ.get("ENDS"):
        os.kill(os.getpid(), getattr(signal, os.environ["ENDS"]))
    return f"parcel {order.number}"

@flow(durable=True)
def sell(number: int) -> str:
    return ship(pay(Order(number)))

if __name__ == "__main__":
    sell(7)
"""


@pytest.mark.required
@pytest.mark.parametrize(("ends", "status"), [("SIGKILL", -9), ("SIGTERM", 143)])
def test_what_a_script_left_behind_goes_on_by_the_command_line(tmp_path: Path, ends: str, status: int) -> None:
    (tmp_path / "shop.py").write_text(SCRIPT, encoding="utf-8")
    home = {**os.environ, "HEADRACE_HOME": str(tmp_path / "home"), "HEADRACE_LOG_LEVEL": "CRITICAL"}

    def ran(*command: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env={**home, **more},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    ended = ran("shop.py", ENDS=ends)
    assert (ended.returncode, ended.stdout) == (status, "pay 7\nship 8\n"), ended.stderr

    resumed = ran("-m", "headrace", "flow-run", "resume", "last")

    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.startswith("ship 8\n"), "what was paid is not paid again"
    assert "completed and returned 'parcel 8'" in resumed.stdout
    assert ran("-m", "headrace", "flow-run", "resume", "last").returncode == 2, "it has ended"


@pytest.mark.required
def test_a_process_that_is_told_to_end_again_and_again_makes_no_crash_loop(tmp_path: Path) -> None:
    """As one is whose service is deployed anew more often than its step needs."""
    (tmp_path / "shop.py").write_text(SCRIPT, encoding="utf-8")
    home = {**os.environ, "HEADRACE_HOME": str(tmp_path / "home"), "HEADRACE_LOG_LEVEL": "CRITICAL"}
    commands = [["shop.py"], *[["-m", "headrace", "flow-run", "resume", "last"]] * 7]

    ended = [
        subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            env={**home, "ENDS": "SIGTERM" if place < 7 else ""},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        for place, command in enumerate(commands)
    ]

    assert [one.returncode for one in ended] == [143] * 7 + [0], ended[-1].stderr
    assert "completed and returned 'parcel 8'" in ended[-1].stdout
