"""
The pipeline of `airports.py` with async functions: they wait on the event loop, and only what blocks takes a thread.

    python3 examples/airports_async.py [--out FOLDER]

The tasks that wait for nothing are those of `airports.py`: submitted, they work in threads beside the event loop.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from airports import clean_airports, clean_temperatures, clean_weather, join, write
from airports_parts.joining import Report
from airports_parts.looking import where_to_look
from airports_parts.server import Page, Record, get_page, unreliable_server
from airports_parts.writing import output_folder, summary
from anyio import to_thread

from headrace import flow, task
from headrace.context import get_run_context
from headrace.tasks import exponential_backoff


@task(retries=5, retry_delay_seconds=exponential_backoff(0.05))
async def fetch(address: str, dataset: str, page: int) -> Page:
    """Get one page. Its client blocks, so it works on a thread; an async client would be awaited."""
    return await to_thread.run_sync(get_page, address, dataset, page)


@flow
async def download(address: str, dataset: str) -> list[Record]:
    """Get all pages of a dataset: the first one, which tells how many there are, then the others at once."""
    first = await fetch(address, dataset, 1)
    others = await fetch.map(address, dataset, range(2, first.pages + 1))
    return [record for page in (first, *others) for record in page.records]


@flow
async def airports(address: str, folder: Path) -> tuple[Report, str]:
    """The whole pipeline: its report, and the id to look this run up by."""
    temperatures = {
        "Seattle": clean_temperatures.submit("Seattle", download.submit(address, "seattle-temps")),
        "San Francisco": clean_temperatures.submit("San Francisco", download.submit(address, "sf-temps")),
    }
    weather = clean_weather.submit(download.submit(address, "seattle-weather"))
    everywhere = clean_airports.submit(download.submit(address, "airports"))
    report = await join.submit(temperatures, weather, everywhere)
    await write.submit(report, folder)
    return report, str(get_run_context().flow_run.id)


def main() -> None:
    folder = output_folder()
    with unreliable_server() as server:
        report, run_id = asyncio.run(airports(server.address, folder))
    print(summary(report, server, folder))
    print(where_to_look(run_id))


if __name__ == "__main__":
    main()
