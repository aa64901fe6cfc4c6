"""Flows and tasks travel to other processes by name, as functions do."""

from __future__ import annotations

import multiprocessing
import pickle

import pytest

from headrace import task


@task
def double(number: int) -> int:
    return number * 2


def test_a_task_is_found_again_where_its_module_says() -> None:
    assert pickle.loads(pickle.dumps(double)) is double  # noqa: S301 - our own bytes


def test_a_task_without_a_global_name_says_that_it_cannot_be_pickled() -> None:
    @task
    def local() -> None: ...

    with pytest.raises((pickle.PicklingError, AttributeError), match="local"):
        pickle.dumps(local)


def test_a_pool_of_processes_maps_a_task() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(double, [1, 2, 3]) == [2, 4, 6]
