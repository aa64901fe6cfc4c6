"""The light span: what it keeps, and what it makes of values that no exporter could send."""

from __future__ import annotations

import threading

import pytest
from opentelemetry.sdk.trace import SpanLimits
from opentelemetry.trace import SpanContext, Status, StatusCode

from headrace._telemetry.light import Bounds, LightSpan, stack, text
from headrace.errors import ParameterTypeError


@pytest.fixture
def span() -> LightSpan:
    return LightSpan(SpanContext(1, 2, False), None, Bounds(SpanLimits(), lambda: 5))


def test_a_value_of_no_type_that_can_be_sent_is_not_kept_as_it_is(span: LightSpan) -> None:
    value = object()
    span.set_attribute("object", value)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    span.set_attribute("list", [1, 2])

    assert span.kept is not None
    assert span.kept.attributes.get("object") is not value
    assert span.kept.attributes["list"] == (1, 2)


def test_nothing_is_kept_once_closed(span: LightSpan) -> None:
    span.close()
    span.set_attribute("a", 1)
    span.add_event("b")
    span.add_link(SpanContext(3, 4, False))
    span.record_exception(ValueError())
    span.set_status(StatusCode.ERROR)

    assert span.kept is None
    assert not span.is_recording()


def test_an_ok_status_is_final_and_unset_changes_nothing(span: LightSpan) -> None:
    span.set_status(StatusCode.ERROR, "at first")
    span.set_status(StatusCode.UNSET)
    assert span.kept is not None
    assert span.kept.status is not None
    assert span.kept.status.description == "at first"

    span.set_status(Status(StatusCode.OK))
    span.set_status(StatusCode.ERROR, "too late")
    assert span.kept.status.is_ok


def test_threads_that_set_attributes_at_once_lose_none(span: LightSpan) -> None:
    gate = threading.Barrier(8)

    def work(number: int) -> None:
        gate.wait()
        span.set_attribute(f"key {number}", number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert span.kept is not None
    assert len(span.kept.attributes) == 8


class Mute(Exception):
    """An exception that cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError


def test_an_exception_that_cannot_be_put_into_words_is_recorded_all_the_same(span: LightSpan) -> None:
    span.record_exception(Mute())

    assert text(Mute()) == "<its __str__ raises RuntimeError>"
    assert "Mute" in stack(Mute())
    assert span.kept is not None
    assert len(span.kept.events) == 1


def test_an_exception_that_is_its_own_cause_ends() -> None:
    error = ValueError("round")
    error.__cause__ = error

    assert "round" in stack(error)


def test_a_misfit_in_a_group_is_not_quoted() -> None:
    misfit = ParameterTypeError("work", [("count", "'s3cret' is not a valid int")])

    shown = stack(ExceptionGroup("two", [misfit, ValueError("x")]))
    assert "s3cret" not in shown
    assert "count: does not fit" in shown
