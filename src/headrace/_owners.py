"""Owners: how a process is named so that its end can be proved. Asks the system; holds nothing."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any, Final

PROCESS: Final = "process "  # and the owner: the name of the lease by which others see that a process lives
SILENCE: Final = 15_000_000_000  # nanoseconds
ENDED: Final = ("Z", "X")  # states of a process that has ended, and that nobody has asked about yet


def owner() -> str:
    """Name this host and process, with the process's start and the machine's boot, so that its end can be proved."""
    parts: list[Any] = [socket.gethostname(), os.getpid(), started(os.getpid()), boot()]
    return ":".join(str(part) for part in parts)


def gone(owner: str) -> bool:
    """Tell whether the process that *owner* names is proved to have ended: it was of this machine, and is no more."""
    if owner.count(":") < 3:
        return False
    host, pid, began, booted = owner.rsplit(":", 3)  # a host may have colons in its name
    now = boot()
    if host != socket.gethostname() or not (booted and now and began and pid.isdecimal()):
        return False
    return booted != now or started(int(pid)) != began


def dead(owner: str, leases: Mapping[str, int], since: int, now: int) -> bool:
    """
    Tell whether the process *owner* has ended, or was silent for longer than its lease.

    Args:
        leases: The leases by which processes show that they live, each with its end, in nanoseconds since 1970.
        since: When it is known to have lived, should it have no lease: one is taken after a moment.
    """
    return gone(owner) or leases.get(f"{PROCESS}{owner}", since + SILENCE) <= now


def started(pid: int) -> str:
    """Give when process *pid* started, in clock ticks since boot; "" where it has ended, or that cannot be known."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as stat:
            fields = stat.read().rpartition(")")[2].split()
            return "" if fields[0] in ENDED else fields[19]
    except (OSError, IndexError):
        return ""


def boot() -> str:
    """Give the id of this boot of the machine; "" where the system does not say."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="utf-8") as file:
            return file.read().strip()[:8]
    except OSError:
        return ""
