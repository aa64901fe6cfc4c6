"""
The command that shows a run, as it must be typed in the shell that this program was started from.

Two ways to have Headrace are told apart: installed, so that `headrace` is a command, or only found through
PYTHONPATH. It never looks at the run itself.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from shlex import quote

import headrace

SETTINGS = ("PYTHONPATH", "HEADRACE_HOME", "HEADRACE_DATABASE_URL")


def where_to_look(run_id: str) -> str:
    """A line that names the command showing the run's tree."""
    if os.environ.get("HEADRACE_DATABASE_URL", "").startswith("memory:"):
        return "The run was recorded in memory only: it ends with this process."
    return f"See the run: {command_for(run_id, os.environ, _found_through(os.environ.get('PYTHONPATH', '')))}"


def command_for(run_id: str, environment: Mapping[str, str], through_pythonpath: bool) -> str:
    """Put the command together for a POSIX shell."""
    # Given for one command only (`HEADRACE_HOME=x python3 ...`), settings are gone at the next prompt. Repeat
    # them, but none that may hold a password.
    settings = {name: environment[name] for name in SETTINGS if environment.get(name)}
    if "@" in settings.get("HEADRACE_DATABASE_URL", ""):
        del settings["HEADRACE_DATABASE_URL"]
    if not through_pythonpath:
        settings.pop("PYTHONPATH", None)
    command = shutil.which("headrace", path=environment.get("PATH"))
    if command and _is_ours(command) and not through_pythonpath:
        program = "headrace"
    else:
        program = f"{_python(environment)} -m headrace"
    repeated = [f"{name}={quote(value)}" for name, value in settings.items()]
    return " ".join([*repeated, program, "flow-run", "inspect", run_id])


def _found_through(pythonpath: str) -> bool:
    """Whether the Headrace at work was imported from a folder of PYTHONPATH."""
    origin = Path(headrace.__file__).resolve().parents[1]
    return any(Path(folder).resolve() == origin for folder in pythonpath.split(os.pathsep) if folder)


def _python(environment: Mapping[str, str]) -> str:
    """The shortest name by which the shell finds the interpreter at work."""
    for name in ("python3", "python"):
        found = shutil.which(name, path=environment.get("PATH"))
        if found and _is_ours(found) and os.path.samefile(found, sys.executable):
            return name
    return quote(sys.executable)


def _is_ours(program: str) -> bool:
    """Whether a program stands beside the interpreter. Links are not followed: a venv is made of them."""
    return Path(program).absolute().parent == Path(sys.executable).absolute().parent
