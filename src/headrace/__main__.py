"""`python -m headrace`: the command line, where `headrace` itself is not on the path. Nothing else."""

from __future__ import annotations

from headrace.cli import main

if __name__ == "__main__":
    main()
