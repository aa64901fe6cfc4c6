"""Homes with recorded runs, made once, and copies that each test may change."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.unit.cli.recorded import CACHING, KILLED, PIPELINE, Shop, Teller, record, rewritten


@pytest.fixture(scope="session")
def recorded_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("recorded") / "home"
    record(PIPELINE, home)
    record(KILLED, home, status=-9)
    return home


@pytest.fixture(scope="session")
def tell(recorded_home: Path) -> Teller:
    """Runs to read: a pipeline with retries, a subflow and a failed task; one that failed; one that was killed."""
    return Teller(recorded_home)


@pytest.fixture
def tell_own(recorded_home: Path, tmp_path: Path) -> Teller:
    """The same in a copy of the test's own."""
    shutil.copytree(recorded_home, tmp_path / "own")
    return Teller(tmp_path / "own")


@pytest.fixture
def tell_fresh(tmp_path: Path) -> Teller:
    """A machine on which nothing has run."""
    return Teller(tmp_path / "fresh")


@pytest.fixture(scope="session")
def cached_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("cached") / "home"
    record(CACHING, home)
    return home


@pytest.fixture(scope="session")
def tell_cached(cached_home: Path) -> Teller:
    """A cache to look at: a flow that filled it, and one that found two results in it."""
    return Teller(cached_home)


@pytest.fixture
def tell_own_cache(cached_home: Path, tmp_path: Path) -> Teller:
    """The same in a copy of the test's own."""
    own = tmp_path / "own"
    shutil.copytree(cached_home, own)
    rewritten(own, "UPDATE result SET storage = ? WHERE storage IS NOT NULL", str(own / "results"))
    return Teller(own)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A program whose durable flows are left behind."""
    return Shop(tmp_path)
