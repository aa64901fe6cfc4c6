"""The packages of an installation, with their sizes. Standard library only: it runs where nothing else is.

Run as a script in an environment that holds headrace alone, it prints them and fails beyond MOST.
"""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

MOST = 18
SEEDED = {"pip", "setuptools", "wheel"}  # what makes an environment, not what we bring


def kilobytes(distribution: importlib.metadata.Distribution) -> int:
    """The size of what was installed, without bytecode, which Python adds or not as it likes."""
    files = [Path(str(file.locate())) for file in distribution.files or () if file.suffix != ".pyc"]
    return round(sum(file.stat().st_size for file in files if file.exists()) / 1024)


def main() -> int:
    here = {item.name.lower(): item for item in importlib.metadata.distributions() if item.name not in SEEDED}
    for name, distribution in sorted(here.items()):
        print(f"{name:40} {distribution.version:12} {kilobytes(distribution):6} kB")
    total = sum(map(kilobytes, here.values()))
    print(f"{len(here)} packages of at most {MOST}, {total / 1024:.1f} MB")
    return 0 if "headrace" in here and len(here) <= MOST else 1


if __name__ == "__main__":
    sys.exit(main())
