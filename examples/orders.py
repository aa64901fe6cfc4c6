"""
Orders: charged and shipped, then asked about. A customer who says nothing for three days gets a mail all the same.

    python3 examples/orders.py [NUMBER ...]

Begins these orders, and serves all that are open until none is. Kill it while they wait: nothing is charged or shipped
twice, and who serves next goes on. PATIENCE=60 has it wait for a minute in place of three days.
"""

import os
import sys

from headrace import Runtime, aio, flow, run, task
from headrace.errors import FlowPauseTimeout
from headrace.input import RunInput

THREE_DAYS = 3 * 24 * 3600.0


class Answer(RunInput):
    content: bool
    words: str = ""


@task(retries=3, retry_delay_seconds=1)
def charge(number: int) -> str:
    print(f"charging {number}", flush=True)
    return f"receipt {number}"


@task(retries=3, retry_delay_seconds=1)
def ship(number: int) -> str:
    print(f"shipping {number}", flush=True)
    return f"parcel {number}"


@task(retries=3, retry_delay_seconds=1)
def mail(number: int, text: str) -> None:
    print(f"mailing {number}: {text}", flush=True)


@flow(durable=True)
async def order(number: int, patience: float = THREE_DAYS) -> str:
    receipt = charge(number)
    parcel = ship(number)
    try:
        answer = await aio.suspend_flow_run(wait_for_input=Answer, timeout=patience)
    except FlowPauseTimeout:
        text = f"Have you got {parcel}?"
    else:
        text = "Thank you!" if answer.content else f"We are sorry. Send {parcel} back with {receipt}."
    mail(number, text)
    return text


async def serve(numbers: list[int], patience: float) -> None:
    async with Runtime() as runtime:
        begun = [runtime.submit(order, number, patience) for number in numbers]
        while not all(one.done() for one in begun) or await left_open():
            await aio.sleep(0.5)


async def left_open() -> bool:
    return any(one.flow_name == order.name and not one.state.is_final() for one in await aio.flow_runs())


if __name__ == "__main__":
    run(serve([int(number) for number in sys.argv[1:]], float(os.environ.get("PATIENCE", THREE_DAYS))))
