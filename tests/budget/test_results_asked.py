"""What results ask of the store: a hit that is known asks nothing, a miss goes with the end of its run."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from headrace import _runtime, flow, task
from headrace._model.records import StoredResult
from headrace._ports import Batch
from headrace._runtime import Runtime
from headrace._stores import schema
from headrace._stores.sqlite import SQLiteStore
from headrace.cache_policies import INPUTS
from tests.spec.keeping import runtime_at

ITEMS = 1_000


class Asked(SQLiteStore):
    """A store that notes its batches, and the keys that are looked for in it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.batches: list[Batch] = []
        self.looked: list[str] = []
        look = self.results.look

        def noted(key: str) -> StoredResult | None:
            self.looked.append(key)
            return look(key)

        self.results.look = noted  # type: ignore[method-assign]

    async def append(self, batch: Batch) -> None:
        self.batches.append(batch)
        await super().append(batch)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Asked]:
    store = Asked(tmp_path / "headrace.db")
    with runtime_at(tmp_path) as made:
        runtime = Runtime(made.settings, store)
        before = _runtime.replace(runtime)
        yield store
        _runtime.replace(before)
        runtime.close()


@task(cache_policy=INPUTS)
def step(x: int) -> dict[str, int]:
    return {"x": x}


@flow
def maps(first: int) -> list[dict[str, int]]:
    return step.map(range(first, first + ITEMS)).result()


@flow
def repeats() -> None:
    for _ in range(ITEMS):
        step(1)


def test_a_hit_in_a_warm_process_asks_the_store_nothing(store: Asked) -> None:
    step(1)
    store.looked.clear()

    repeats()

    assert store.looked == []


def test_a_result_is_committed_with_the_end_of_its_run(store: Asked) -> None:
    maps(0)
    _runtime.current().office.close()

    with_ends = [batch for batch in store.batches if batch.kept_runs]
    assert sum(len(batch.results) for batch in with_ends) == ITEMS
    for batch in with_ends:
        assert {row[6] for row in batch.kept_runs} == {one.key for one in batch.results}


def test_misses_are_told_by_the_filter_once_it_knows_all_keys(store: Asked) -> None:
    maps(0)
    store.looked.clear()

    maps(ITEMS)

    assert len(store.looked) < ITEMS / 10


def test_no_question_about_keys_walks_the_table(store: Asked) -> None:
    step(1)
    _runtime.current().office.close()
    questions: dict[str, dict[str, str] | tuple[int, int]] = {
        schema.LOOK: {"key": "k"},
        schema.RECALL: {"keys": '["k"]'},
        schema.KEYS: (0, 10),
    }
    with closing(sqlite3.connect(store.path)) as connection:
        for question, values in questions.items():
            plan = [row[-1] for row in connection.execute(f"EXPLAIN QUERY PLAN {question}", values)]
            assert [step for step in plan if step.startswith("SCAN") and "json_each" not in step] == [], question
