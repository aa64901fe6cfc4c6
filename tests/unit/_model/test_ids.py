"""Ids: how they are put together, taken apart, and turned into those of traces."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from headrace._model import ids

PREFIX = "45a66923-114d-499f-98e3-"


@given(st.integers(0, 2**48 - 1))
def test_a_run_id_is_a_uuid_that_gives_its_prefix_back(number: int) -> None:
    run = ids.run_id(PREFIX, number)

    assert str(uuid.UUID(run)) == run
    assert ids.prefix_of(run) == PREFIX
    assert int(run[ids.PREFIX_LENGTH :], 16) == number


@given(st.integers(0, 2**47), st.integers(0, 2**47))
def test_run_ids_sort_as_their_numbers_do(one: int, other: int) -> None:
    assert (ids.run_id(PREFIX, one) < ids.run_id(PREFIX, other)) == (one < other)


@given(st.uuids(version=4))
def test_trace_and_span_ids_fit_their_fields_and_are_never_zero(root: uuid.UUID) -> None:
    assert 0 < ids.trace_id(str(root)) < 1 << 128
    assert 0 < ids.span_id(ids.span_base(ids.prefix_of(str(root))), 0) < 1 << 64


def test_equal_runs_have_equal_trace_ids_in_every_process() -> None:
    assert f"{ids.trace_id(PREFIX + ids.FIRST):032x}" == f"{ids.trace_id(PREFIX + ids.FIRST):032x}"
    assert ids.trace_id(PREFIX + ids.FIRST) != ids.trace_id(PREFIX + "000000000001")


def test_ten_thousand_spans_and_their_segments_do_not_collide() -> None:
    base = ids.span_base(PREFIX)
    spans = {ids.span_id(base, number) for number in range(10_000)}
    segments = {ids.segment_id(span, turn) for span in spans for turn in (1, 2, 3)}

    assert len(spans) == 10_000
    assert len(segments | spans) == 40_000
