"""
Runtime: what the code inside a run asks about it, by attribute; outside of runs nothing raises.

Each attribute of `flow_run`, `task_run` and `deployment` can be set from the environment for tests, as in
`HEADRACE__RUNTIME__FLOW_RUN__NAME=nightly`. Read at each use, unlike settings, since a test sets it around a call.
Nothing here is made up: what nothing can tell yet (`api_url`, `ui_url`, `job_variables`) is not there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, NoReturn, TypeVar, cast, overload

import attrs

from headrace._engine import present
from headrace._engine.present import cancelled
from headrace._hosts.clock import wall
from headrace._model.later import FACTS
from headrace._model.records import instant
from headrace.errors import SettingError, nearest

__all__ = ["cancelled", "deployment", "flow_run", "task_run"]

T = TypeVar("T")


# -- values from the environment ----------------------------------------------------------------------------


@attrs.frozen
class Reading:
    """
    How the text of a variable becomes a value.

    Attributes:
        wanted: What the text must be, for who wrote something else.
        read: Gives the value; a ValueError means that the text is none.
    """

    wanted: str
    read: Callable[[str], Any]


def moment(text: str) -> datetime:
    """Give an ISO 8601 moment; one that names no time zone is in UTC."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def words(text: str) -> list[str]:
    """Give what stands between commas."""
    return [word for part in text.split(",") if (word := part.strip())]


def mapping(text: str) -> dict[str, Any]:
    """Give a JSON object."""
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(text)
    return cast("dict[str, Any]", found)


TEXT: Final = Reading("text", str)
NUMBER: Final = Reading("a whole number", int)
MOMENT: Final = Reading("a moment such as 2026-03-01T08:00:00Z", moment)
WORDS: Final = Reading("words with commas between them", words)
MAPPING: Final = Reading('a JSON object such as {"day": "monday"}', mapping)


class Fact(Generic[T]):
    """An attribute that gives what the environment says, where it says something, else what *ask* does."""

    def __init__(self, reading: Reading, ask: Callable[[Any], T]) -> None:
        self.reading = reading
        self.ask = ask
        self.__doc__ = ask.__doc__

    def __set_name__(self, owner: type[Facts], name: str) -> None:
        self.variable = f"HEADRACE__RUNTIME__{owner.subject}__{name}".upper()

    @overload
    def __get__(self, instance: None, owner: type) -> Fact[T]: ...
    @overload
    def __get__(self, instance: Facts, owner: type) -> T: ...

    def __get__(self, instance: Facts | None, owner: type) -> Any:
        if instance is None:
            return self
        given = os.environ.get(self.variable)
        if not given:
            return self.ask(instance)
        try:
            return self.reading.read(given)
        except ValueError:
            raise SettingError(self.variable, given, self.reading.wanted) from None


def fact(reading: Reading) -> Callable[[Callable[[Any], T]], Fact[T]]:
    """Make a method an attribute whose value can be set from the environment."""
    return lambda ask: Fact(reading, ask)


class Facts:
    """What the three have in common: they hold nothing, list what they can tell and name the nearest of the rest."""

    __slots__ = ()
    subject: ClassVar[str]

    def __dir__(self) -> list[str]:
        return sorted(name for name, value in vars(type(self)).items() if isinstance(value, Fact))

    def __repr__(self) -> str:
        return f"<headrace.runtime.{self.subject}>"

    if not TYPE_CHECKING:  # a checker would take it to have every attribute

        def __getattr__(self, name: str) -> NoReturn:
            """Say that there is no such attribute, and which comes nearest or what to do today."""
            today = FACTS.get(name)
            hint = nearest(name, dir(self)) if today is None else f" yet. {today}"
            raise AttributeError(f"headrace.runtime.{self.subject} has no {name!r}{hint}")


# -- what can be asked --------------------------------------------------------------------------------------


def unknown(_facts: Facts) -> str | None:
    """None: no run belongs to a deployment yet."""
    return None


def empty(_facts: Facts) -> dict[str, Any]:
    """Empty: no run belongs to a deployment yet."""
    return {}


class FlowRunFacts(Facts):
    """The flow run this code is in, also from within a task of it; outside of flows None, [] and {}."""

    __slots__ = ()
    subject = "flow_run"

    @fact(TEXT)
    def id(self) -> str | None:
        """The run's UUID."""
        run = present.flow_around()
        return None if run is None else run.id

    @fact(TEXT)
    def name(self) -> str | None:
        """The run's name, such as nimble-falcon."""
        run = present.flow_around()
        return None if run is None else run.name

    @fact(TEXT)
    def flow_name(self) -> str | None:
        """The flow's name."""
        run = present.flow_around()
        return None if run is None else run.spec.name

    @fact(TEXT)
    def flow_version(self) -> str | None:
        """The flow's version, where it was given one."""
        run = present.flow_around()
        return None if run is None else run.spec.version

    @fact(WORDS)
    def tags(self) -> list[str]:
        """The run's tags, sorted."""
        run = present.flow_around()
        return [] if run is None else sorted(run.tags)

    @fact(MAPPING)
    def parameters(self) -> dict[str, Any]:
        """What the flow was called with, by name: the body's own objects, defaults included."""
        run = present.flow_around()
        return {} if run is None else present.parameters(run)

    @fact(MOMENT)
    def scheduled_start_time(self) -> datetime | None:
        """The moment the run was due; a flow that is called is due at once, so when it began."""
        run = present.flow_around()
        # Where its name is being made it has not begun yet, and does within the moment.
        return None if run is None else instant(run.started or wall.read())

    @fact(TEXT)
    def parent_flow_run_id(self) -> str | None:
        """The id of the flow run that called it, itself or in a task; None for one that none called."""
        run = present.flow_around()
        above = None if run is None else present.nearest_flow(run.parent)
        return None if above is None else above.id

    @fact(TEXT)
    def root_flow_run_id(self) -> str | None:
        """The id of the outermost flow run around it; its own where there is none."""
        run = present.flow_around()
        return None if run is None else present.root_flow(run).id

    parent_deployment_id = Fact(TEXT, unknown)

    @fact(NUMBER)
    def run_count(self) -> int | None:
        """How many attempts have begun."""
        run = present.flow_around()
        return None if run is None else run.attempt


class TaskRunFacts(Facts):
    """The task run this code is in; outside of tasks, as in a flow's own body, None, [] and {}."""

    __slots__ = ()
    subject = "task_run"

    @fact(TEXT)
    def id(self) -> str | None:
        """The run's UUID."""
        run = present.task_around()
        return None if run is None else run.id

    @fact(TEXT)
    def name(self) -> str | None:
        """The run's name, such as fetch-001."""
        run = present.task_around()
        return None if run is None else run.name

    @fact(TEXT)
    def task_name(self) -> str | None:
        """The task's name."""
        run = present.task_around()
        return None if run is None else run.spec.name

    @fact(WORDS)
    def tags(self) -> list[str]:
        """The run's tags, sorted."""
        run = present.task_around()
        return [] if run is None else sorted(run.tags)

    @fact(MAPPING)
    def parameters(self) -> dict[str, Any]:
        """What the task was called with, by name: the body's own objects, defaults included."""
        run = present.task_around()
        return {} if run is None else present.parameters(run)

    @fact(NUMBER)
    def run_count(self) -> int | None:
        """How many attempts have begun."""
        run = present.task_around()
        return None if run is None else run.attempt


class DeploymentFacts(Facts):
    """The deployment the run belongs to. There are none yet: None and {}, unless the environment says otherwise."""

    __slots__ = ()
    subject = "deployment"

    id = Fact(TEXT, unknown)
    name = Fact(TEXT, unknown)
    version = Fact(TEXT, unknown)
    flow_run_id = Fact(TEXT, unknown)
    parameters = Fact(MAPPING, empty)


flow_run: Final = FlowRunFacts()
task_run: Final = TaskRunFacts()
deployment: Final = DeploymentFacts()
