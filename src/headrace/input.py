"""
Inputs: classes of what flow runs wait for and send each other, and the same for values of any type.

They travel as signals do (`headrace.signals`), so what a durable flow receives is on record. Functions here block;
`headrace.aio` has the awaitable ones.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from types import new_class
from typing import Any, Final, Generic, TypeVar, cast, dataclass_transform, get_origin, get_type_hints

import attrs

from headrace import _runtime
from headrace._engine.coercion import fit, reason
from headrace._engine.context import current_run
from headrace._engine.life import drive
from headrace._engine.schemas import DESCRIPTION, fields_of, refuse_no_type
from headrace._model.records import FlowRun
from headrace._model.signals import Signal
from headrace._ports import Host
from headrace.errors import OptionError, nearest
from headrace.errors.signals import SignalContextError, SignalTimeout, SignalTypeError
from headrace.signals import MISSING, coming, sending

__all__ = ["Received", "ReceivedWith", "RunInput", "RunInputMetadata", "receive_input", "send_input"]

T = TypeVar("T")
I = TypeVar("I", bound="RunInput")  # noqa: E741
AN_HOUR: Final = 3_600
METADATA: Final = "__run_input_metadata__"


@attrs.frozen
class RunInputMetadata:
    """
    How an input was sent.

    Attributes:
        sender: The flow run that sent it; None for a program outside of one.
        receiver: The flow run that received it.
        at: When it was sent.
    """

    sender: str | None
    receiver: str
    at: datetime


@attrs.frozen
class ReceivedWith(Generic[T]):
    """A value that was received, and how it was sent."""

    value: T
    metadata: RunInputMetadata


@dataclass_transform(kw_only_default=True, field_specifiers=(attrs.field,))
class RunInput:
    """
    The base of classes of inputs: what a flow run waits for, or other runs send it.

    Its subclasses are attrs classes, whose fields are given by name; with pydantic's BaseModel beside it, pydantic's.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not hasattr(cls, "model_validate"):
            attrs.define(cls, slots=False, kw_only=True, field_transformer=in_order)

    @property
    def metadata(self) -> RunInputMetadata | None:
        """How it was sent; None for one that was not received."""
        return vars(self).get(METADATA)

    @classmethod
    def with_initial_data(cls: type[I], description: str | None = None, **initial: Any) -> type[I]:
        """
        Give the class with other defaults, and a *description* for people, who see both when they are asked.

        Raises:
            OptionError: It has no field of such a name.
        """
        for name in initial:
            if name not in names_of(cls):
                raise OptionError(f"{cls.__name__} has no field {name!r}{nearest(name, names_of(cls))}")
        hints = get_type_hints(cls, include_extras=True)
        body = {
            **initial,
            DESCRIPTION: description,
            "__annotations__": {name: hints[name] for name in initial},
            "__module__": cls.__module__,
            "__qualname__": cls.__qualname__,
            "__doc__": cls.__doc__,
        }
        return cast("type[I]", new_class(cls.__name__, (cls,), {}, lambda space: space.update(body)))

    @classmethod
    def receive(
        cls: type[I],
        timeout: float | None = AN_HOUR,
        *,
        raise_timeout_error: bool = False,
        key_prefix: str | None = None,
    ) -> Received[I]:
        """Give the inputs of this class that are sent to the flow run around, as `receive_input` does."""
        return Received(cls, timeout, raise_timeout_error, key_prefix)

    def send_to(self, flow_run_id: FlowRun | str, key_prefix: str | None = None) -> None:
        """Send it to a flow run, as `send_input` does."""
        send_input(self, flow_run_id, key_prefix)

    def respond(self, run_input: Any, key_prefix: str | None = None) -> None:
        """
        Send *run_input* to the flow run that sent this.

        Raises:
            SignalContextError: No flow run has.
            Exception: What `send_input` raises.
        """
        send_input(run_input, sender_of(self), key_prefix)


def in_order(kind: type, fields: list[Any]) -> list[Any]:
    """Give the *fields* of the class *kind* in the order of those it has from its base, also where it changes them."""
    known = [field.name for field in getattr(kind.__base__, "__attrs_attrs__", ())]
    return sorted(fields, key=lambda field: known.index(field.name) if field.name in known else len(known))


def send_input(run_input: Any, flow_run_id: FlowRun | str, key_prefix: str | None = None) -> None:
    """
    Send *run_input* to a flow run, which receives it by its type.

    As `headrace.signals.send`, and raises what that raises.

    Args:
        key_prefix: What it is received by, in place of the name of its type.
    """
    drive(sending_input(blocking("send_input"), run_input, flow_run_id, key_prefix))


def receive_input(
    run_input_type: Any,
    timeout: float | None = AN_HOUR,
    *,
    raise_timeout_error: bool = False,
    key_prefix: str | None = None,
    with_metadata: bool = False,
) -> Received[Any]:
    """
    Give the inputs of a type that are sent to the flow run around, one after the other, by `for` or `async for`.

    Args:
        timeout: Seconds that each is waited for, an hour by default; None for ever. Then there are no more.
        raise_timeout_error: Whether SignalTimeout is raised then.
        key_prefix: What they are sent by, in place of the name of their type.
        with_metadata: Whether each comes as a `ReceivedWith`, with its `metadata` beside its `value`.

    Raises:
        OptionTypeError: *run_input_type* is no type.
    """
    refuse_no_type(run_input_type, "run_input_type")
    return Received(run_input_type, timeout, raise_timeout_error, key_prefix, with_metadata)


@attrs.define
class Received(Generic[T]):
    """
    The inputs of one type that are sent to a flow run, as they come.

    Raises, as each is asked for:
        SignalTimeout: None came in time, if that is wanted.
        SignalTypeError: What came does not fit; it counts as read, and the next may be asked for.
        MissingContextError, SignalContextError: Nothing can be sent to the code here.
    """

    kind: Any
    timeout: float | None
    raises: bool
    prefix: str | None
    with_metadata: bool = False

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        found = drive(self.following(blocking("receive_input")))
        if found is MISSING:
            raise StopIteration
        return cast("T", found)

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        found = await self.following(_runtime.host_for(True))
        if found is MISSING:
            raise StopAsyncIteration
        return cast("T", found)

    async def following(self, host: Host) -> Any:
        """Give the next; MISSING where there is none."""
        name = named(self.kind, self.prefix)
        try:
            signal = await coming(host, name, self.timeout, MISSING)
        except SignalTimeout as late:
            if not self.raises:
                return MISSING
            by = "" if self.prefix is None else f", key_prefix={self.prefix!r}"
            step = f"headrace.input.send_input(value, {late.run_id!r}{by})"
            raise SignalTimeout(name, late.seconds, late.run_id, step) from None
        assert signal is not None
        sender, value = opened(signal)
        try:
            found = fit(value, self.kind)
        except Exception as error:
            raise SignalTypeError(signal.name, reason(error, value, self.kind)) from None
        metadata = RunInputMetadata(sender, signal.run_id, signal.at)
        if isinstance(found, RunInput):
            vars(found)[METADATA] = metadata
        return ReceivedWith(found, metadata) if self.with_metadata else found


def blocking(name: str) -> Host:
    """
    Give the host of code that blocks, which calls *name*.

    Raises:
        RunningLoopError: It runs on an event loop's thread.
    """
    instead = "`await headrace.aio.send_input(...)`" if name == "send_input" else "`async for`"
    return _runtime.thread_host.here(f"headrace.input.{name}", instead)


async def sending_input(host: Host, value: Any, run: FlowRun | str, prefix: str | None) -> None:
    """Send *value* to *run*, and with it whose it is."""
    around = current_run.get()
    sender = None if around is None else around.scope.flow_run_id
    await sending(host, run, named(type(value), prefix), {"from": sender, "value": value}, None)


def opened(signal: Signal) -> tuple[str | None, Any]:
    """
    Give who sent an input, and its value.

    Raises:
        SignalTypeError: It was not sent as one.
    """
    said: Any = signal.value
    if said.__class__ is not dict or "value" not in said:
        raise SignalTypeError(signal.name, "it was sent as a signal, and not by send_input")
    return said.get("from"), said["value"]


def named(kind: Any, prefix: str | None) -> str:
    """Give the name of the signals that inputs of a type, or of a *prefix* of their own, are sent as."""
    whole = get_origin(kind) or kind
    return f"input {prefix or getattr(whole, '__name__', str(whole)).lower()}"


def sender_of(given: RunInput) -> str:
    """
    Give the flow run that sent *given*.

    Raises:
        SignalContextError: No flow run has.
    """
    metadata = given.metadata
    if metadata is None or metadata.sender is None:
        why = "no flow run has sent what is to be responded to. Send it to a run by send_to."
        raise SignalContextError(named(type(given), None), why)
    return metadata.sender


def names_of(kind: type[RunInput]) -> list[str]:
    """Give the names of the fields of *kind*."""
    found: Any = fields_of(kind) or getattr(kind, "model_fields", {})
    return list(found)
