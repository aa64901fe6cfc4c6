"""Every page does what it shows."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, pages, run


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_does_what_it_shows(page: Path, tmp_path: Path) -> None:
    done = run(page, tmp_path)

    assert done.returncode == 0, done.stderr


def test_every_page_is_in_the_navigation_and_the_other_way_round() -> None:
    named = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("nav:")[2])

    assert sorted(named) == sorted(str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("ending", ["examples/airports.py", "-m nox"])
def test_the_readme_says_each_of_its_two_commands_on_one_line(ending: str) -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()

    assert len([line for line in lines if line.startswith("python3 -m pip ") and line.endswith(ending)]) == 1
