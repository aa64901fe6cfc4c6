"""Programs: flows drawn by a seed, as a durable flow runs them, and as plain Python says what they come to."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from headrace import durable, flow, runtime, task

Node = tuple[str, Any]
LEAVES = ("step", "step", "fail", "flaky", "draw")
BRANCHES = ("all", "submit", "map", "sub", "nested", "again")


def program(seed: int, size: int = 9) -> list[Node]:
    """The program of *seed*: a list of nodes, about *size* of them."""
    drawn = random.Random(seed)
    left = [size]

    def node(depth: int) -> Node:
        left[0] -= 1
        kind = drawn.choice(LEAVES if depth > 2 or left[0] < 2 else LEAVES + BRANCHES)
        if kind in LEAVES:
            return kind, drawn.randrange(4)
        if kind == "map":
            return kind, [drawn.randrange(4) for _ in range(drawn.randrange(1, 5))]
        return kind, [node(depth + 1) for _ in range(drawn.randrange(1, 4))]

    nodes: list[Node] = []
    while left[0] > 0:
        nodes.append(node(0))
    return nodes


def meaning(nodes: list[Node]) -> list[Any]:
    """What *nodes* come to, by plain Python."""
    return [meaning_of(kind, given) for kind, given in nodes]


def meaning_of(kind: str, given: Any) -> Any:
    if kind in {"step", "flaky"}:
        return given * 2 + 1
    if kind == "fail":
        return f"no {given}"
    if kind == "draw":
        return True
    if kind == "map":
        return [x * 2 + 1 for x in given]
    return meaning(given)


@task
async def step(x: int) -> int:
    await asyncio.sleep(0)
    return x * 2 + 1


@task
async def fail(x: int) -> int:
    raise ValueError(f"no {x}")


@task(retries=1)
async def flaky(x: int) -> int:
    if runtime.task_run.run_count == 1:
        raise ConnectionError("not yet")
    return x * 2 + 1


@task
async def nested(nodes: list[Node]) -> list[Any]:
    return await perform(nodes)


@flow
async def sub(nodes: list[Any]) -> list[Any]:
    return await perform(nodes)


@flow(retries=1)
async def again(nodes: list[Any]) -> list[Any]:
    came = await perform(nodes)
    if runtime.flow_run.run_count == 1:
        raise ConnectionError("once more")
    return came


@flow(durable=True)
async def runs(nodes: list[Any]) -> list[Any]:
    """Run a program."""
    return await perform(nodes)


async def perform(nodes: list[Any]) -> list[Any]:
    return [await perform_one(kind, given) for kind, given in nodes]


async def perform_one(kind: str, given: Any) -> Any:
    if kind == "step":
        return await step(given)
    if kind == "flaky":
        return await flaky(given)
    if kind == "fail":
        try:
            return await fail(given)
        except ValueError as error:
            return str(error)
    if kind == "draw":
        return 0 <= durable.random() < 1
    if kind == "map":
        return await step.map(given)
    if kind == "all":
        return list(await asyncio.gather(*[perform_one(*one) for one in given]))
    if kind == "submit":
        return [await future for future in [nested.submit([one]) for one in given]] and [
            (await nested([one]))[0] for one in given
        ]
    if kind == "nested":
        return await nested(given)
    return await (sub if kind == "sub" else again)(given)
