"""
What a measurement is made of: wall time, CPU time of the process and of each of its threads, memory.

Nothing here knows what is being measured, or compares two figures.
"""

from __future__ import annotations

import re
import resource
import sys
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

NUMBER = re.compile(r"[-_ ]?\d+$")


@dataclass
class Reading:
    """Seconds between the two ends of `measured`; *threads* is CPU time by the name of the thread."""

    wall: float = 0.0
    cpu: float = 0.0
    threads: dict[str, float] = field(default_factory=dict[str, float])


@contextmanager
def measured() -> Generator[Reading]:
    """Measure the block; the reading is complete once the block is left."""
    reading = Reading()
    threads = thread_clocks()
    wall, cpu = time.perf_counter(), time.process_time()
    yield reading
    reading.wall, reading.cpu = time.perf_counter() - wall, time.process_time() - cpu
    for name, seconds in thread_clocks().items():
        reading.threads[name] = seconds - threads.get(name, 0.0)


def thread_clocks() -> dict[str, float]:
    """
    CPU seconds so far of each living thread, by name; threads of one name are added up, and so are those that
    differ in a number at its end.

    A thread that ends inside a measured block is missing, so the parts may be less than the whole. Empty
    where the system has no clock of another thread (macOS).
    """
    clocks: dict[str, float] = {}
    if sys.platform == "linux":
        for thread in threading.enumerate():
            if thread.ident is not None:
                clock = time.pthread_getcpuclockid(thread.ident)
                name = NUMBER.sub("", thread.name)
                clocks[name] = clocks.get(name, 0.0) + time.clock_gettime(clock)
    return clocks


def peak_memory() -> float:
    """
    Peak resident memory of this process, in MB of 1,000,000 bytes.

    From /proc where there is one: on Linux `ru_maxrss` survives exec, so a child would report its parent's
    peak.
    """
    peak = _from_status("VmHWM:")
    if peak is not None:
        return peak
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / 1e6 if sys.platform == "darwin" else used * 1024 / 1e6


def memory() -> float:
    """
    Resident memory of this process now, in MB of 1,000,000 bytes; the peak so far where only that is told
    (macOS).
    """
    now = _from_status("VmRSS:")
    return peak_memory() if now is None else now


def _from_status(name: str) -> float | None:
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) * 1024 / 1e6
    return None
