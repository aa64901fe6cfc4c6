"""
Meters: how many slots of limits are in use and waited for in this process, and how long the waits took.

For whoever has OpenTelemetry's metrics set up; the instruments do nothing where nobody has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import Any, Final

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Observation

from headrace._model.limits import KEY

NAME: Final = "headrace.limit.name"


def metered(desk: Any) -> Callable[[Iterable[str], float], None]:
    """
    Have the slots of *desk* measured; give what is to be told of each wait, with its seconds.

    Those of keys are left out: there are too many keys to be told apart.
    """
    meter = metrics.get_meter("headrace")

    def observed(look: Callable[[Any], Any]) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_options: CallbackOptions) -> Iterable[Observation]:
            with desk.guard:
                found = [(name, look(counter)) for name, counter in desk.counters.items() if KEY not in name]
            return [Observation(count, {NAME: name}) for name, count in found]

        return observe

    for what, about in (
        ("used", "Slots in use in this process"),
        ("waiting", "Slots that are waited for in this process"),
        ("held", "Slots leased to this process"),
    ):
        meter.create_observable_gauge(
            f"headrace.limit.{what}", callbacks=[observed(attrgetter(what))], unit="{slot}", description=about
        )
    waits = meter.create_histogram(
        "headrace.limit.wait.duration", unit="s", description="How long slots were waited for"
    )

    def waited(names: Iterable[str], seconds: float) -> None:
        for name in names:
            if KEY not in name:
                waits.record(seconds, {NAME: name})

    return waited
