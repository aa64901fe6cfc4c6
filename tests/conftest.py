"""What holds for every test: a home of its own, asyncio as the loop, and no silent gap in CI."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from typing import Any, cast

import pytest
from hypothesis import settings

# No test is timed: how long an example takes is the machine's affair.
settings.register_profile("headrace", deadline=None)
settings.load_profile("headrace")
collect_ignore = ["typing"]  # read by mypy and pyright, never run
HOME = pytest.StashKey[str]()
IN_CI = os.environ.get("CI", "").lower() == "true"


def pytest_configure(config: pytest.Config) -> None:
    """Point Headrace at an empty folder before any test module is imported: no test reads or writes yours."""
    for name in [name for name in os.environ if name.startswith(("HEADRACE_", "OTEL_"))]:
        del os.environ[name]
    config.stash[HOME] = os.environ["HEADRACE_HOME"] = tempfile.mkdtemp(prefix="headrace-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    shutil.rmtree(config.stash[HOME], ignore_errors=True)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run async tests on asyncio, the loop we support."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Any]:
    """Run a PostgreSQL server, as in `tests.contract.postgres_server`, for all tests of this process that need one."""
    from tests.contract import postgres_server  # here: small suites of other folders stand under these rules, too

    server = postgres_server.started()
    yield server
    server.remove()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a skipped test that is marked `required`, where CI=true: what CI did not run, nobody ran; mend reports."""
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail") and item.get_closest_marker("required"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} is required, but was skipped: {reason(report.longrepr)}"
    # What tests say may hold signs that cannot be encoded, and xdist's workers could not hand such a report on.
    report.sections = [(name, text.encode(errors="backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a module that skips itself whole, where CI=true: the marks of its tests were never read."""
    report = yield
    if IN_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"{collector.nodeid}: skip its tests, not the module: {reason(report.longrepr)}"
    return report


def reason(longrepr: object) -> str:
    """The words of a skip: pytest keeps (path, line, words)."""
    return cast("tuple[str, int, str]", longrepr)[2] if isinstance(longrepr, tuple) else str(longrepr)
