"""What `pip install headrace` brings: few packages, each with a reason, each used."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.budget.fresh_install import MOST, kilobytes

ROOT = Path(__file__).parents[2]
PYPROJECT = ROOT / "pyproject.toml"
WRITTEN = re.compile(r'^  "(?P<requirement>[^"]+)", # (?P<reason>[^;]+); (?P<size>\d+) kB(?: \(.*\))?$')


def closure(name: str) -> set[str]:
    """Every package that *name* needs on this machine, itself included, by the installed metadata."""
    seen: set[str] = set()
    wanted = [canonicalize_name(name)]
    while wanted:
        one = wanted.pop()
        if one in seen:
            continue
        seen.add(one)
        for line in importlib.metadata.requires(one) or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                wanted.append(canonicalize_name(requirement.name))
    return seen


def declared() -> list[str]:
    with PYPROJECT.open("rb") as file:
        return [str(line) for line in tomllib.load(file)["project"]["dependencies"]]


def beside(requirement: str) -> re.Match[str] | None:
    """The line of pyproject.toml that declares *requirement*, if it is written as we write them."""
    lines = (WRITTEN.match(line) for line in PYPROJECT.read_text(encoding="utf-8").splitlines())
    return next((line for line in lines if line and line["requirement"] == requirement), None)


def modules_of(distribution: str) -> set[str]:
    """The names under which *distribution* is imported: `opentelemetry.sdk`, not the shared folder above."""
    files = importlib.metadata.files(distribution) or []
    packages = {file.parent.parts for file in files if file.name == "__init__.py" and ".." not in file.parts}
    return {".".join(parts) for parts in packages} | {file.stem for file in files if len(file.parts) == 1}


def imported_by_us() -> set[str]:
    """The modules that some module of ours imports, at its top or later."""
    modules: set[str] = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return modules


@pytest.mark.required
def test_a_fresh_install_is_at_most_eighteen_packages() -> None:
    packages = closure("headrace")

    assert {"headrace", "anyio", "opentelemetry-sdk"} <= packages
    assert len(packages) <= MOST, sorted(packages)


@pytest.mark.parametrize("requirement", declared())
def test_a_dependency_says_why_it_is_here_and_how_large_it_is(requirement: str) -> None:
    line = beside(requirement)
    assert line, f'write it as:  "{requirement}", # the reason; 123 kB (what it brings, its size)'

    size = kilobytes(importlib.metadata.distribution(Requirement(requirement).name))
    assert size / 1.5 <= int(line["size"]) <= size * 1.5, f"{size} kB are installed"


@pytest.mark.parametrize("requirement", declared())
def test_a_dependency_is_imported_by_our_own_code(requirement: str) -> None:
    assert modules_of(Requirement(requirement).name) & imported_by_us()
