"""Digests are the same in every process, under every hash seed, in other Pythons, and from one release to the next."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from headrace._model.hashing import combined, digest
from tests.unit._model import test_hashing_values as values

ROOT = Path(__file__).resolve().parents[3]
PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
OTHERS = [path for version in range(11, 20) for path in sorted(PYENV.glob(f"3.{version}.*/bin/python3"))]
NEEDED = "import attrs, orjson, sys, zoneinfo; zoneinfo.ZoneInfo('Europe/Berlin'); assert sys.version_info >= (3, 11)"

# A change of one of these loses everybody's caches: it needs a reason, and a line in the changelog.
PINNED: list[tuple[Any, str]] = [
    (None, "5a1a5e2b7740f6a5cace178c36380c2b"),
    (1, "f5523bb32047c52f297a0f88c5f42c61"),
    ("text", "9c49bc3e014cf4fa118885eafaef1239"),
    ({"x": 1, "y": "a"}, "5ecfd5cf5069b921c9e80a7daecf48e9"),
    ({"rows": [{"id": 1, "score": 0.5, "note": None}], "ok": True}, "112216ccb4d13ac5d07699184648285f"),
    ([1e16, 1e-7, -0.0], "de7e0251e74ca38a421b4e6f99240b64"),
    (float("nan"), "f90959f74de4df58d3d0849d7a2f9469"),
    (2**64, "59e7bea31a7f5aaea066c2a3994f0b5a"),
    ((1, "a", b"b"), "d7d692735756ce88da053cb97cb5479f"),
    ({1, "a", None}, "635a0f479dd6d3af18ad6c24f907ccfe"),
    ({1: {"a": [1.5]}, (2, 3): None}, "26ffe9b3ab735655a90fd527514a1d4f"),
    (dt.datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=dt.UTC), "7f417578f3fe7518741109462432f807"),
    (Path, "657db6caed6ef6e78d869e4f64d7aad3"),
    (values.Color.BLUE, "672acad7cc89edd966d707eb2e72bcb0"),
    (values.Record("a", [1]), "2a59b5add6d6f94c69b9fddd213ac21b"),
    (values.Plain(a=1, b=(2,)), "fc04caa71c565c8852a3ab04e87df1d5"),
    (values.Both((1,), None), "11722c989709089ed4f0b90ace515893"),
]


def elsewhere(python: str | Path, function: str, **environment: str) -> list[str]:
    """Give what *function* of the module of values gives in a process of its own."""
    script = f"import json; from tests.unit._model import test_hashing_values as v; print(json.dumps(v.{function}()))"
    paths = os.pathsep.join((str(ROOT / "src"), str(ROOT)))
    done = subprocess.run(
        [python, "-c", script],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    answer: list[str] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("seed", ["0", "1", "4711"])
def test_digests_are_the_same_under_every_hash_seed(seed: str) -> None:
    assert elsewhere(sys.executable, "digests", PYTHONHASHSEED=seed) == values.digests()


def test_functions_have_the_same_digests_in_every_process() -> None:
    for each in values.FUNCTIONS[:1] * 5_000:
        each()  # until the interpreter has made its code faster
    before = values.function_digests()

    assert elsewhere(sys.executable, "function_digests", PYTHONHASHSEED="5") == before


@pytest.mark.parametrize("python", OTHERS, ids=[path.parts[-3] for path in OTHERS] or None)
def test_digests_are_the_same_in_other_pythons(python: Path) -> None:
    if subprocess.run([python, "-c", NEEDED], capture_output=True, check=False, timeout=60).returncode:
        pytest.skip("it has no orjson, attrs or time zones")

    assert elsewhere(python, "digests") == values.digests()


@pytest.mark.parametrize(("value", "expected"), PINNED, ids=[str(place) for place in range(len(PINNED))])
def test_digests_are_those_of_earlier_releases(value: Any, expected: str) -> None:
    assert digest(value) == expected


def test_combined_digests_are_those_of_earlier_releases() -> None:
    assert combined("a", None, "") == "91cfe049b7a2021f9126ba9ed0cb78d9"
