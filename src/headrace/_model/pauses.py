"""Pauses: what a paused flow run waits for, as it lies in its record for whoever is to resume it. A frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from headrace._model.records import instant
from headrace._model.schemas import Schema, misfits, worded

NOTHING: Final[Mapping[str, Any]] = {}


@attrs.frozen
class Pause:
    """
    What a flow run waits for.

    Attributes:
        place: What its answer is sent as, and under which key: so that of several answers the first counts.
        schema: What the input is to be, as JSON Schema; None: it takes none.
        until: When its time is over, in nanoseconds since 1970; None for never.
        refused: Why the last input was refused by the run; "" while none was.
    """

    place: str
    schema: Schema | None = None
    until: int | None = None
    refused: str = ""

    def problems(self, given: Any) -> list[tuple[str, str]]:
        """Give what of the input *given* does not fit, each with the field, "" for the whole, and a sentence."""
        if self.schema is None:
            return [] if given is None else [("", "It takes no input.")]
        return misfits(self.schema, {} if given is None and self.form else given)

    @property
    def form(self) -> dict[str, Schema]:
        """The fields of the input, by name; none where it is one value, or there is no input."""
        return {} if self.schema is None else dict(self.schema.get("properties", {}))

    @property
    def wanted(self) -> str:
        """What it waits for, in words."""
        if self.schema is None:
            return "to be resumed"
        required = self.schema.get("required", ())
        fields = [
            f"{name} ({worded(one, self.schema)}{'' if name in required else ', may be left out'})"
            for name, one in self.form.items()
        ]
        return f"for an input: {', '.join(fields) or worded(self.schema, self.schema)}"

    @property
    def said(self) -> str:
        """What the state of the run says of it."""
        time = "" if self.until is None else f", until {instant(self.until):%Y-%m-%d %H:%M:%S} UTC"
        return f"It waits {self.wanted}{time}."


def key_of(run_id: str) -> str:
    """Give what the record of what the flow run *run_id* waits for is kept under."""
    return f"{run_id} pause"
