"""
Clean values joined into the report. Pure functions: equal input gives an equal report, to the byte.

Numbers are rounded here, once, so that no machine's last digit reaches the report.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from math import asin, cos, fsum, radians, sin, sqrt
from statistics import fmean

from airports_parts.cleaning import Airport, Hour, Weather

EARTH_RADIUS_KM = 6371.0
CITIES = {"Seattle": (47.6062, -122.3321), "San Francisco": (37.7749, -122.4194)}


@dataclass(frozen=True, slots=True)
class City:
    """A city's year; the days are those of the lowest and the highest daily mean, the first of equals."""

    city: str
    mean_celsius: float
    coldest_day: date
    warmest_day: date


@dataclass(frozen=True, slots=True)
class Day:
    """A city's day, and how many of its hours were filled in."""

    city: str
    day: date
    mean_celsius: float
    lowest_celsius: float
    highest_celsius: float
    hours_filled: int


@dataclass(frozen=True, slots=True)
class Month:
    """
    A month's mean temperatures in 2010, beside Seattle's in the years of the weather file, 2012 to 2015.

    A later day's mean is that of its lowest and highest temperature, as the weather file has no hours; the
    precipitation is the month's in a mean year.
    """

    month: int
    seattle_celsius: float
    san_francisco_celsius: float
    seattle_later_celsius: float
    seattle_later_precipitation_mm: float


@dataclass(frozen=True, slots=True)
class State:
    state: str
    airports: int


@dataclass(frozen=True, slots=True)
class Near:
    """An airport near a city's centre, as the crow flies."""

    city: str
    iata: str
    name: str
    km: float


@dataclass(frozen=True, slots=True)
class Report:
    """All that the pipeline finds out."""

    cities: list[City]
    days: list[Day]
    months: list[Month]
    states: list[State]
    nearest: list[Near]
    airports: int
    airports_without_state: list[str]
    hours_filled: list[str]


def join(temperatures: Mapping[str, list[Hour]], weather: list[Weather], airports: list[Airport]) -> Report:
    """Join the four clean datasets; *temperatures* are keyed by the names in CITIES."""
    days = {city: daily(city, hours) for city, hours in temperatures.items()}
    return Report(
        cities=[yearly(city, of_city) for city, of_city in days.items()],
        days=[day for of_city in days.values() for day in of_city],
        months=monthly(temperatures, weather),
        states=by_state(airports),
        nearest=[near for city in CITIES for near in nearest(city, airports)],
        airports=len(airports),
        airports_without_state=[airport.iata for airport in airports if airport.state is None],
        hours_filled=[
            f"{city} {hour.time:%Y-%m-%d %H:%M}"
            for city, hours in temperatures.items()
            for hour in hours
            if hour.filled
        ],
    )


def yearly(city: str, days: list[Day]) -> City:
    """One city's days as a year."""
    return City(
        city=city,
        mean_celsius=round(fmean(day.mean_celsius for day in days), 2),
        coldest_day=min(days, key=lambda day: day.mean_celsius).day,
        warmest_day=max(days, key=lambda day: day.mean_celsius).day,
    )


def daily(city: str, hours: Iterable[Hour]) -> list[Day]:
    """One city's hours by day."""
    by_day: defaultdict[date, list[Hour]] = defaultdict(list)
    for hour in hours:
        by_day[hour.time.date()].append(hour)
    return [
        Day(
            city=city,
            day=day,
            mean_celsius=round(fmean(hour.celsius for hour in of_day), 2),
            lowest_celsius=round(min(hour.celsius for hour in of_day), 2),
            highest_celsius=round(max(hour.celsius for hour in of_day), 2),
            hours_filled=sum(hour.filled for hour in of_day),
        )
        for day, of_day in sorted(by_day.items())
    ]


def monthly(temperatures: Mapping[str, list[Hour]], weather: Iterable[Weather]) -> list[Month]:
    """The twelve months of 2010 beside those of the later years."""
    in_2010 = {
        (city, month): fmean(hour.celsius for hour in hours if hour.time.month == month)
        for city, hours in temperatures.items()
        for month in range(1, 13)
    }
    later: defaultdict[int, list[Weather]] = defaultdict(list)
    for day in weather:
        later[day.day.month].append(day)
    return [
        Month(
            month=month,
            seattle_celsius=round(in_2010["Seattle", month], 2),
            san_francisco_celsius=round(in_2010["San Francisco", month], 2),
            seattle_later_celsius=round(fmean((day.lowest + day.highest) / 2 for day in days), 2),
            seattle_later_precipitation_mm=round(
                fsum(day.precipitation for day in days) / len({day.day.year for day in days}), 1
            ),
        )
        for month, days in sorted(later.items())
    ]


def by_state(airports: Iterable[Airport]) -> list[State]:
    """How many airports each state or territory has, most first; airports of no known state are left out."""
    counts = Counter(airport.state for airport in airports if airport.state is not None)
    most_first = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return [State(state, number) for state, number in most_first]


def nearest(city: str, airports: Iterable[Airport], at_most: int = 5) -> list[Near]:
    """The airports nearest to a city's centre, nearest first."""
    here = CITIES[city]
    found = [Near(city, each.iata, each.name, round(_distance_km(here, each), 1)) for each in airports]
    return sorted(found, key=lambda near: (near.km, near.iata))[:at_most]


def _distance_km(here: tuple[float, float], airport: Airport) -> float:
    """The length of the great circle's arc, by the haversine formula."""
    latitude, longitude = map(radians, here)
    there = radians(airport.latitude)
    half_chord_squared = (
        sin((there - latitude) / 2) ** 2
        + cos(latitude) * cos(there) * sin((radians(airport.longitude) - longitude) / 2) ** 2
    )
    return 2 * EARTH_RADIUS_KM * asin(sqrt(half_chord_squared))
