"""Which pages are checked, and how one is run: in a process and a home of its own. Knows no pytest."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECONDS = 100


def pages() -> list[Path]:
    readme = ROOT / "README.md"
    return ([readme] if readme.exists() else []) + sorted((ROOT / "docs").rglob("*.md"))


def run(page: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run *page* in *folder*, which is empty; its Headrace home lies inside."""
    settings = {name: value for name, value in os.environ.items() if not name.startswith(("HEADRACE_", "OTEL_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{settings.get('PATH', '')}"
    home = str(folder / ".headrace")
    settings |= {
        "HEADRACE_HOME": home,
        "PATH": path,
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "110",
        "NO_COLOR": "1",
    }
    return subprocess.run(
        [sys.executable, "-m", "tests.docs.run_page", page, folder],
        cwd=ROOT,
        env=settings,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
