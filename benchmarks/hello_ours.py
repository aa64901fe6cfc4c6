"""The smallest program with Headrace: one flow, one task. Run as a whole process by `benchmarks`."""

from __future__ import annotations

from headrace import flow, task


@task
def greet(name: str) -> str:
    return f"Hello, {name}!"


@flow
def hello() -> None:
    print(greet("world"))


if __name__ == "__main__":
    hello()
