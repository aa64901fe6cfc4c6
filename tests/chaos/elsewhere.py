"""
Runs a program of `durable_programs` as if on a machine of another name: `python -m tests.chaos.elsewhere HOST PROGRAM`.

Whether a process of another machine has ended cannot be looked up, so that its leases alone tell.
"""

from __future__ import annotations

import asyncio
import importlib
import socket
import sys

if __name__ == "__main__":
    host, program, *given = sys.argv[1:]
    setattr(socket, "gethostname", lambda: host)  # noqa: B010 - before anybody asks for it
    made = getattr(importlib.import_module("tests.chaos.durable_programs"), program)(*given)
    if asyncio.iscoroutine(made):
        asyncio.run(made)
