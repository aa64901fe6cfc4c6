"""
Airports and weather: fetched from a server that keeps failing, cleaned, joined, written down.

    python3 examples/airports.py [--out FOLDER]

All datasets are fetched at once, each with its pages at once. `airports_async.py` is the same with async functions;
`airports_parts` holds what is neither flow nor task.
"""

from __future__ import annotations

from pathlib import Path

from airports_parts import cleaning, joining
from airports_parts.cleaning import Hour
from airports_parts.joining import Report
from airports_parts.looking import where_to_look
from airports_parts.server import Page, Record, get_page, unreliable_server
from airports_parts.writing import output_folder, summary, write_report

from headrace import flow, get_run_logger, task
from headrace.context import get_run_context
from headrace.tasks import exponential_backoff


@task(retries=5, retry_delay_seconds=exponential_backoff(0.05))
def fetch(address: str, dataset: str, page: int) -> Page:
    """Get one page. The server refuses every fifth request; the error is raised and the task tried again."""
    return get_page(address, dataset, page)


@flow
def download(address: str, dataset: str) -> list[Record]:
    """Get all pages of a dataset: the first one, which tells how many there are, then the others at once."""
    first = fetch(address, dataset, 1)
    others = fetch.map(address, dataset, range(2, first.pages + 1))
    return [record for page in (first, *others.result()) for record in page.records]


@task
def clean_temperatures(city: str, records: list[Record]) -> list[Hour]:
    """Make the hours of one file like those of the other, and say which of them were never measured."""
    hours = cleaning.clean_hours(records)
    for hour in hours:
        if hour.filled:
            get_run_logger().warning("%s: %s is missing; took the mean of its neighbours", city, hour.time)
    return hours


clean_weather = task(cleaning.clean_weather)
clean_airports = task(cleaning.clean_airports)
join = task(joining.join)


@task(log_prints=True)
def write(report: Report, folder: Path) -> None:
    """Write the database and the JSON document; with *log_prints* the prints are log lines of this task."""
    for path in write_report(report, folder):
        print(f"Wrote {path.name}, {path.stat().st_size:,} bytes")


@flow
def airports(address: str, folder: Path) -> tuple[Report, str]:
    """The whole pipeline: its report, and the id to look this run up by. A task waits for the futures it is given."""
    temperatures = {
        "Seattle": clean_temperatures.submit("Seattle", download.submit(address, "seattle-temps")),
        "San Francisco": clean_temperatures.submit("San Francisco", download.submit(address, "sf-temps")),
    }
    weather = clean_weather.submit(download.submit(address, "seattle-weather"))
    everywhere = clean_airports.submit(download.submit(address, "airports"))
    report = join.submit(temperatures, weather, everywhere).result()
    write(report, folder)
    return report, str(get_run_context().flow_run.id)


def main() -> None:
    folder = output_folder()
    with unreliable_server() as server:
        report, run_id = airports(server.address, folder)
    print(summary(report, server, folder))
    print(where_to_look(run_id))


if __name__ == "__main__":
    main()
