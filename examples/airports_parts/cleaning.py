"""
Raw CSV records into typed values. Pure functions: no network, no files, no flows.

What is wrong with the records, and what is done about it:

- The temperature files order their columns differently: columns are read by name.
- They write dates differently (`2010/01/01 00:00`, `2010/01/01 00:00:00`): both are read.
- They miss an hour on 14 March 2010, when summer time began, and repeat none in autumn. It gets the mean of
  its two neighbours and is marked as filled: every day has 24 hours, and the report names the one made up.
- They are in degrees Fahrenheit, the weather file in Celsius: all become Celsius.
- Twelve airports have the city and state `NA`, not available: they get None.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from airports_parts.server import Record

AN_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Hour:
    """A city's temperature at an hour of its local time."""

    time: datetime
    celsius: float
    filled: bool = False


@dataclass(frozen=True, slots=True)
class Airport:
    iata: str
    name: str
    city: str | None
    state: str | None
    latitude: float
    longitude: float


@dataclass(frozen=True, slots=True)
class Weather:
    """A day's weather: temperatures in degrees Celsius, precipitation in millimetres."""

    day: date
    highest: float
    lowest: float
    precipitation: float


def clean_hours(records: Iterable[Record]) -> list[Hour]:
    """
    Read hourly temperatures in any order and fill a missing hour between two known ones.

    Raises:
        ValueError: More than one hour is missing in a row, or an hour comes twice.
    """
    hours: list[Hour] = []
    known = (Hour(_moment(each["date"]), _celsius(float(each["temp"]))) for each in records)
    for hour in sorted(known, key=lambda each: each.time):
        if hours:
            hours.extend(_between(hours[-1], hour))
        hours.append(hour)
    return hours


def _between(before: Hour, after: Hour) -> list[Hour]:
    step = after.time - before.time
    if step == AN_HOUR:
        return []
    if step == 2 * AN_HOUR:
        return [Hour(before.time + AN_HOUR, (before.celsius + after.celsius) / 2, filled=True)]
    raise ValueError(f"{before.time} is followed by {after.time}: only a single missing hour can be filled")


def clean_airports(records: Iterable[Record]) -> list[Airport]:
    """Read airports, sorted by code."""
    airports = (
        Airport(
            iata=each["iata"],
            name=each["name"],
            city=_known(each["city"]),
            state=_known(each["state"]),
            latitude=float(each["latitude"]),
            longitude=float(each["longitude"]),
        )
        for each in records
    )
    return sorted(airports, key=lambda airport: airport.iata)


def clean_weather(records: Iterable[Record]) -> list[Weather]:
    """Read days of weather, sorted by day."""
    days = (
        Weather(
            day=_moment(each["date"]).date(),
            highest=float(each["temp_max"]),
            lowest=float(each["temp_min"]),
            precipitation=float(each["precipitation"]),
        )
        for each in records
    )
    return sorted(days, key=lambda weather: weather.day)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("/", "-"))


def _celsius(fahrenheit: float) -> float:
    return (fahrenheit - 32) * 5 / 9


def _known(text: str) -> str | None:
    return None if text == "NA" else text
