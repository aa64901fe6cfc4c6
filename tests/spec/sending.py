"""What tests of signals share: sending and receiving as code of either form does it, from within a run and outside."""

from __future__ import annotations

from typing import Any

from headrace import aio, runtime, signals
from tests.spec.forms import Form


async def send(form: Form, run: Any, name: str, value: Any = None, **more: Any) -> bool:
    """Send as code of this form does."""
    return await aio.send(run, name, value, **more) if form.is_async else signals.send(run, name, value, **more)


async def to_myself(form: Form, name: str, *values: Any) -> None:
    """Send *values* to the flow run around."""
    for value in values:
        await send(form, me(), name, value)


async def receive(form: Form, name: str, kind: Any = None, **more: Any) -> Any:
    """Receive as code of this form does."""
    return await aio.receive(name, kind, **more) if form.is_async else signals.receive(name, kind, **more)


async def request(form: Form, name: str, kind: Any = None, **more: Any) -> Any:
    """Receive a request as code of this form does."""
    if form.is_async:
        return await aio.receive_request(name, kind, **more)
    return signals.receive_request(name, kind, **more)


async def answer(form: Form, asked: Any, value: Any) -> None:
    """Answer a request as code of this form does."""
    if form.is_async:
        await asked.answer(value)
    else:
        asked.answer(value)


async def ask(form: Form, run: Any, name: str, value: Any = None, kind: Any = None, **more: Any) -> Any:
    """Ask as code of this form does."""
    if form.is_async:
        return await aio.ask(run, name, value, kind, **more)
    return signals.ask(run, name, value, kind, **more)


def me() -> str:
    """Give the id of the flow run around."""
    run_id = runtime.flow_run.id
    assert run_id is not None
    return run_id
