"""The rules that tests/conftest.py adds to pytest, seen from outside: a small suite is run under them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).parents[1] / "conftest.py"
SKIPPED = "import pytest\n@pytest.mark.skip(reason='no database')\n{mark}\ndef test_a(): ...\n"
REQUIRED = SKIPPED.format(mark="@pytest.mark.required")


def outcome(folder: Path, text: str, ci: str = "true", **settings: str) -> str:
    """Run a suite of one module, *text*, under our conftest; return what pytest printed."""
    (folder / "conftest.py").write_text(CONFTEST.read_text(encoding="utf-8"), encoding="utf-8")
    (folder / "test_it.py").write_text(text, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = required: must run\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-rsE", "-p", "no:cacheprovider", str(folder)]
    env = {**os.environ, "CI": ci, **settings}
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False).stdout


def test_in_ci_a_skipped_test_that_is_required_fails(tmp_path: Path) -> None:
    printed = outcome(tmp_path, REQUIRED)

    assert "test_a is required, but was skipped: Skipped: no database" in printed
    assert " 1 error in " in printed


def test_in_ci_any_other_test_may_be_skipped(tmp_path: Path) -> None:
    assert " 1 skipped in " in outcome(tmp_path, SKIPPED.format(mark=""))


def test_in_ci_a_module_that_skips_itself_whole_fails(tmp_path: Path) -> None:
    printed = outcome(tmp_path, "import pytest\npytest.skip('no database', allow_module_level=True)\n")

    assert "skip its tests, not the module: Skipped: no database" in printed


def test_elsewhere_a_required_test_may_be_skipped(tmp_path: Path) -> None:
    assert " 1 skipped in " in outcome(tmp_path, REQUIRED, ci="")


@pytest.mark.parametrize("name", ["HEADRACE_DATABASE_URL", "OTEL_EXPORTER_OTLP_ENDPOINT"])
def test_the_suite_is_not_led_by_the_settings_of_who_runs_it(tmp_path: Path, name: str) -> None:
    check = f"import os\ndef test_a():\n    assert {name!r} not in os.environ\n"

    assert " 1 passed in " in outcome(tmp_path, check, **{name: "elsewhere"})


def test_the_suite_has_an_empty_home_of_its_own_and_takes_it_away(tmp_path: Path) -> None:
    check = "import os\ndef test_a():\n    assert os.listdir(os.environ['HEADRACE_HOME']) == []\n"

    assert " 1 passed in " in outcome(tmp_path, check, TMPDIR=str(tmp_path))
    assert list(tmp_path.glob("headrace-tests-*")) == []
