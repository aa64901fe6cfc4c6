"""Caching, results and transactions, as checkers see them: options keep the signature, what is wrong is an error."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any, assert_type

from headrace import flow, task, transaction
from headrace.cache_policies import DEFAULT, INPUTS, TASK_SOURCE, CachePolicy, IsolationLevel
from headrace.context import TaskRunContext
from headrace.runs import FlowRun, TaskRun, flow_run, flow_runs, task_runs
from headrace.serializers import CompressedSerializer
from headrace.tasks import task_input_hash
from headrace.transactions import Transaction


@task(cache_policy=INPUTS, cache_expiration=timedelta(hours=1), persist_result=True, refresh_cache=False)
def square(x: int) -> int:
    return x * x


@task(cache_key_fn=task_input_hash, result_storage=Path("/tmp"), result_serializer=CompressedSerializer())
async def fetch(url: str) -> bytes:
    return url.encode()


@flow(persist_result=True, result_storage="s3://bucket/results", result_serializer="json")
def main() -> list[int]:
    return [square(2)]


@square.on_rollback
def undo(work: Any) -> None:
    assert_type(work.get("path"), Any)


def key(context: TaskRunContext, parameters: dict[str, Any]) -> str | None:
    return f"{context.task_run.name}-{parameters['x']}"


keyed = square.with_options(cache_key_fn=key, cache_policy=None)

assert_type(square(2), int)
assert_type(keyed(2), int)
assert_type(main(), list[int])
assert_type(INPUTS + TASK_SOURCE - "x", CachePolicy)
assert_type(DEFAULT.configure(isolation_level=IsolationLevel.SERIALIZABLE), CachePolicy)
assert_type(flow_runs(limit=3), list[FlowRun])
assert_type(flow_run("3f"), FlowRun)
assert_type(task_runs("3f"), list[TaskRun])

with transaction("report", isolation_level="SERIALIZABLE") as block:
    assert_type(block, Transaction)
    block.stage(1)
    assert_type(block.is_committed(), bool)


async def asynchronous() -> None:
    assert_type(await fetch("x"), bytes)
    async with transaction() as inner:
        assert_type(inner, Transaction)


square("2")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
task(cache_policy=INPUTS, cache_key_fn=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
