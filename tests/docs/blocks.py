"""Code blocks of a Markdown page: what they are and what is to be done with each. Reads; runs nothing.

The convention is written for authors in CONTRIBUTING.md, under 'Code in the docs'.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FENCE = re.compile(r"^(?P<indent>[ ]*)(?P<fence>```+|~~~+)[ ]*(?P<info>[^`]*)$")
COMMENT = re.compile(r"^\s*<!--\s*(?P<words>.*?)\s*-->\s*$")
TITLE = re.compile(r'title="([^"]*)"')
SHELLS = {"console", "sh", "bash", "shell"}


class BadPage(Exception):
    """A page that cannot be checked as it is written."""


@dataclass(frozen=True)
class Block:
    page: Path
    line: int  # of the first line of code, counted from 1
    language: str
    title: str
    code: str
    mark: str  # the words of the comment right above: '', 'run', 'pytest', 'not run: ...'

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def is_code(self) -> bool:
        """Whether output shown below can be this block's."""
        return self.language == "python" or self.language in SHELLS

    @property
    def kind(self) -> str:
        """One of: python, pytest, console, file, output, log, shown."""
        if self.mark.startswith("not run"):
            return "shown"
        if self.language in SHELLS:
            return "console" if self.mark == "run" else "shown"
        if self.title in {"output", "log"}:
            return self.title
        if re.fullmatch(r"[\w./-]+\.\w+", self.title):
            return "file"
        if self.language == "python":
            return "pytest" if self.mark == "pytest" else "python"
        return "shown"


def read_page(page: Path) -> list[Block]:
    """Return the blocks of *page* in order, and refuse marks that say less than they must."""
    blocks = list(_blocks(page, page.read_text(encoding="utf-8").splitlines()))
    for block in blocks:
        _refuse_idle_marks(block)
    _refuse_idle_files(blocks)
    return blocks


def _blocks(page: Path, lines: list[str]) -> Iterator[Block]:
    mark, number = "", 0
    while number < len(lines):
        line = lines[number]
        number += 1
        comment, opening = COMMENT.match(line), FENCE.match(line)
        if comment:
            mark = comment["words"]
        elif opening:
            start, number = number, _closing(page, lines, number, opening["fence"])
            code = textwrap.dedent("\n".join(lines[start : number - 1]) + "\n")
            language, _, rest = opening["info"].strip().partition(" ")
            title = TITLE.search(rest)
            yield Block(page, start + 1, language.lower(), title[1] if title else "", code, mark)
            mark = ""
        elif line.strip():
            mark = ""


def _closing(page: Path, lines: list[str], start: int, fence: str) -> int:
    """Return the number of the line after the one that closes the block opened by *fence*."""
    for number in range(start, len(lines)):
        text = lines[number].strip()
        if text.startswith(fence) and not text.strip(fence[0]):
            return number + 1
    raise BadPage(f"{page.name}:{start}: the block is never closed")


def _refuse_idle_marks(block: Block) -> None:
    if block.mark.startswith("not run") and not re.fullmatch(r"not run: \S.+", block.mark):
        raise BadPage(f"{block}: say why: <!-- not run: needs a Jaeger server -->")
    if block.mark == "run" and block.language not in SHELLS:
        raise BadPage(f"{block}: <!-- run --> is for console blocks; Python runs unasked")
    if block.kind == "console" and not commands(block):
        raise BadPage(f"{block}: nothing to run: no line starts with '$ '")


def _refuse_idle_files(blocks: list[Block]) -> None:
    """A page that shows a Python file must also run it, in a console block."""
    spoken = " ".join(command for block in blocks if block.kind == "console" for command, _ in commands(block))
    for block in blocks:
        if block.kind == "file" and block.language == "python" and Path(block.title).stem not in spoken:
            raise BadPage(f"{block}: {block.title} is shown but no console block marked <!-- run --> runs it")


def commands(block: Block) -> list[tuple[str, str]]:
    """Split a console block into (command, the output shown below it)."""
    found: list[tuple[str, str]] = []
    for line in block.code.splitlines(keepends=True):
        if line.startswith("$ "):
            found.append((line[2:].strip(), ""))
        elif found:
            command, output = found[-1]
            found[-1] = (command, output + line)
    return found


CHANGING = [
    (re.compile(r"\b\d\d:\d\d:\d\d\.\d{3}\b"), "<time>"),
    (re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b"), "<id>"),
    (re.compile(r"(?<=[Ff]low run ')[a-z]+-[a-z]+(?=')"), "<name>"),
    (re.compile(r"(?<=-)[0-9a-f]{3}(?=')"), "<hex>"),
    (re.compile(r"\x1b\[[0-9;]*m"), ""),
]


def same(shown: str, printed: str) -> bool:
    """Whether *printed* is what was *shown*: times, ids and generated names may differ, `...` is anything."""
    pieces = [re.escape(piece) for piece in _steady(shown).split("...")]
    return re.fullmatch(".*?".join(pieces), _steady(printed), re.DOTALL) is not None


def _steady(text: str) -> str:
    for pattern, word in CHANGING:
        text = pattern.sub(word, text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())
