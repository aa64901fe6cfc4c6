"""The orders of the examples: three days in a moment, and for real, killed while they wait, on both databases."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orders
import pytest

import headrace
from headrace import aio
from headrace.testing import virtual_time
from tests.examples.running import LEFT_OUT, ROOT

DAY = 24 * 3600
SUNDAY = datetime(2026, 3, 1, tzinfo=UTC)
SUSPENDED = re.compile("^([0-9a-f]{8}) .*Suspended", re.MULTILINE)


def test_who_says_nothing_for_three_days_gets_a_mail(capsys: pytest.CaptureFixture[str]) -> None:
    async def main() -> float:
        async with headrace.Runtime() as runtime:
            waits = runtime.submit(orders.order, 7)
            await asyncio.sleep(2.9 * DAY)
            assert waits.state.name == "Suspended"
            began = asyncio.get_running_loop().time()
            assert await waits == "Have you got parcel 7?"
            return asyncio.get_running_loop().time() - began

    with virtual_time(start=SUNDAY):
        assert asyncio.run(main()) == pytest.approx(0.1 * DAY, abs=1)
    assert capsys.readouterr().out.splitlines() == ["charging 7", "shipping 7", "mailing 7: Have you got parcel 7?"]


@pytest.mark.parametrize(
    ("content", "text"), [(True, "Thank you!"), (False, "We are sorry. Send parcel 8 back with receipt 8.")]
)
def test_who_answers_is_written_to_at_once(content: bool, text: str) -> None:
    async def main() -> str:
        async with headrace.Runtime() as runtime:
            waits = runtime.submit(orders.order, 8)
            await asyncio.sleep(DAY)
            await aio.resume_flow_run(waits.flow_run_id or "", {"content": content})
            return await waits

    with virtual_time(start=SUNDAY):
        assert asyncio.run(main()) == text


@pytest.fixture(params=["sqlite", "postgresql"])
def started(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Give what starts a program of the reader's, on one database."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(LEFT_OUT)}
    environment |= {"HEADRACE_HOME": str(tmp_path), "PYTHONPATH": str(Path(headrace.__file__).parents[1])}
    if request.param == "postgresql":
        server = request.getfixturevalue("postgresql")
        environment["HEADRACE_DATABASE_URL"] = server.url(server.database())
    begun: list[subprocess.Popen[str]] = []

    def start(*command: str, **more: str) -> subprocess.Popen[str]:
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        begun.append(subprocess.Popen([sys.executable, *command], cwd=ROOT, env=environment | more, **pipes))
        return begun[-1]

    yield start
    for one in begun:
        one.kill()
        one.wait()


def test_nothing_is_done_twice_when_who_serves_is_killed(started: Callable[..., subprocess.Popen[str]]) -> None:
    def said(*command: str) -> str:
        return started("-m", "headrace", "flow-run", *command).communicate()[0]

    first = started("examples/orders.py", "7", "8")
    ends = time.monotonic() + 60
    while len(waiting := SUSPENDED.findall(said("ls"))) < 2:
        assert time.monotonic() < ends, said("ls")
    first.kill()
    done = first.communicate()[0]
    second = started("examples/orders.py")
    for order in waiting:
        done += said("resume", order, "-p", "content=yes")
    done += second.communicate(timeout=60)[0]

    steps = Counter(line for line in done.splitlines() if line.startswith(("charging", "shipping", "mailing")))
    assert steps == Counter(
        f"{step} {number}{text}"
        for number in (7, 8)
        for step, text in (("charging", ""), ("shipping", ""), ("mailing", ": Thank you!"))
    )
