"""Run one page as its reader would: top to bottom, in one namespace, in an empty folder. One process a page.

Usage: python -m tests.docs.run_page PAGE FOLDER. Works in FOLDER; ends with 1 at the first failing block.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import traceback
import types
from collections.abc import Generator
from pathlib import Path

from tests.docs.blocks import BadPage, Block, commands, read_page, same


class BlockFailed(Exception):
    """A block did not do what its page says."""


class Printed:
    """What one block wrote; taken at the descriptors, so handlers that kept a stream are seen too."""

    def __init__(self) -> None:
        self.output = ""
        self.log = ""


@contextlib.contextmanager
def printing() -> Generator[Printed, None, None]:
    printed = Printed()
    kept = os.dup(1), os.dup(2)
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as log:
        _point(output.fileno(), log.fileno())
        try:
            yield printed
        finally:
            _point(*kept)
            for descriptor in kept:
                os.close(descriptor)
            for file in (output, log):
                file.seek(0)
            printed.output, printed.log = output.read().decode(), log.read().decode()


def _point(output: int, log: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(output, 1)
    os.dup2(log, 2)


class Reader:
    """Someone who follows a page to the letter."""

    def __init__(self) -> None:
        self.main = types.ModuleType("__main__")  # what the page's functions see as their module
        self.printed = Printed()

    def follow(self, blocks: list[Block]) -> int:
        """Do what each block asks; return how many were run or compared."""
        sys.modules["__main__"] = self.main
        steps = {
            "python": self._python,
            "pytest": self._pytest,
            "file": self._file,
            "console": self._console,
            "output": self._output,
            "log": self._log,
        }
        done, left_out = 0, False
        for block in blocks:
            if block.is_code:
                left_out = block.kind == "shown"
            if block.kind != "shown" and not (left_out and block.kind in {"output", "log"}):
                steps[block.kind](block)
                done += 1
        return done

    def _python(self, block: Block) -> None:
        # Empty lines in front: tracebacks and inspect.getsource then find the code in the page itself.
        source = "\n" * (block.line - 1) + block.code
        failure = ""
        with printing() as self.printed:
            try:
                exec(compile(source, str(block.page), "exec"), self.main.__dict__)
            except (Exception, SystemExit):
                failure = traceback.format_exc()
        if failure:
            raise BlockFailed(f"{block} failed\n{self.printed.output}{self.printed.log}{failure}")

    def _pytest(self, block: Block) -> None:
        path = Path(f"test_line_{block.line}.py")
        path.write_text(block.code, encoding="utf-8")
        self._shell(block, f"python -m pytest -q -p no:cacheprovider {path}")

    def _file(self, block: Block) -> None:
        path = Path(block.title)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.code, encoding="utf-8")

    def _console(self, block: Block) -> None:
        for command, shown in commands(block):
            printed = self._shell(block, command)
            if shown.strip():
                self._compare(block, shown, printed)

    def _shell(self, block: Block, command: str) -> str:
        done = subprocess.run(
            command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if done.returncode:
            raise BlockFailed(f"{block} failed: '{command}' ended with {done.returncode}\n{done.stdout}")
        self.printed = Printed()
        self.printed.output = done.stdout
        return done.stdout

    def _output(self, block: Block) -> None:
        self._compare(block, block.code, self.printed.output)

    def _log(self, block: Block) -> None:
        self._compare(block, block.code, self.printed.log)

    def _compare(self, block: Block, shown: str, printed: str) -> None:
        if not same(shown, printed):
            raise BlockFailed(f"{block} shows\n{shown}\nbut this was printed\n{printed}")


def main(page: Path, folder: Path) -> int:
    try:
        blocks = read_page(page.resolve())
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        done = Reader().follow(blocks)
    except (BadPage, BlockFailed) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{page.name}: {done} of {len(blocks)} blocks run or compared")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
