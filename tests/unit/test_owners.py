"""Owners: whether a process that holds something is proved to have ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from headrace._owners import boot, gone, owner, started
from tests.chaos.processes import until


def test_a_process_that_was_killed_is_gone_also_while_nobody_has_asked_after_it() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        host = owner().rsplit(":", 3)[0]
        named = f"{host}:{child.pid}:{started(child.pid)}:{boot()}"
        assert not gone(named)

        os.kill(child.pid, signal.SIGKILL)

        until(lambda: gone(named))  # before it is waited for
    assert gone(named)


def test_this_process_goes_on_and_what_is_no_owner_is_not_proved_to_have_ended() -> None:
    assert not gone(owner())
    assert not gone("nobody")
    assert not gone("another-host:1:2:3")
