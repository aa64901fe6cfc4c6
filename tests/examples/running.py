"""A script of the examples run as its reader runs it: as a process, from the root of the repository."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import headrace

ROOT = Path(__file__).parents[2]
LEFT_OUT = ("HEADRACE_", "OTEL_", "PYTHON")


@dataclass(frozen=True, slots=True)
class Finished:
    """What a finished process leaves behind."""

    out: Path
    stdout: str
    stderr: str
    environment: dict[str, str]

    @property
    def command(self) -> str:
        """The command in the last line, which shows the run."""
        found = re.search(r"^See the run: (.+)\n\Z", self.stdout, re.MULTILINE)
        assert found, self.stdout
        return found[1]


def run_example(script: str, folder: Path) -> Finished:
    """Run a script with a home and an output folder of its own; raise if it fails."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(LEFT_OUT)}
    environment["HEADRACE_HOME"] = str(folder / "home")
    environment["PYTHONPATH"] = str(Path(headrace.__file__).parents[1])
    out = folder / "out"
    done = subprocess.run(
        [sys.executable, f"examples/{script}", "--out", str(out)],
        cwd=ROOT,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return Finished(out, done.stdout, done.stderr, environment)
