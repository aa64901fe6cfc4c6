"""
The pipeline of `airports.py` with async functions: all pages of all datasets are fetched at once.

    python3 examples/airports_async.py [--out FOLDER]

The tasks that wait for nothing are those of `airports.py`: an async flow calls a sync task as any function.
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
    async with asyncio.TaskGroup() as group:
        others = [group.create_task(fetch(address, dataset, number)) for number in range(2, first.pages + 1)]
    return [record for page in (first, *(each.result() for each in others)) for record in page.records]


@flow
async def airports(address: str, folder: Path) -> tuple[Report, str]:
    """The whole pipeline: its report, and the id to look this run up by."""
    async with asyncio.TaskGroup() as group:
        seattle, san_francisco, weather, everywhere = (
            group.create_task(download(address, dataset))
            for dataset in ("seattle-temps", "sf-temps", "seattle-weather", "airports")
        )
    temperatures = {
        "Seattle": clean_temperatures("Seattle", seattle.result()),
        "San Francisco": clean_temperatures("San Francisco", san_francisco.result()),
    }
    report = join(temperatures, clean_weather(weather.result()), clean_airports(everywhere.result()))
    write(report, folder)
    return report, str(get_run_context().flow_run.id)


def main() -> None:
    folder = output_folder()
    with unreliable_server() as server:
        report, run_id = asyncio.run(airports(server.address, folder))
    print(summary(report, server, folder))
    print(where_to_look(run_id))


if __name__ == "__main__":
    main()
