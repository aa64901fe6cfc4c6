"""Spans that bodies open in worker processes reach the collector, below the runs that they belong to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.spec.receiver import program, receiving

PIPELINE = """
from headrace import flow, task
from headrace.task_runners import ProcessPoolTaskRunner
from opentelemetry import trace


@task
def work(number):
    with trace.get_tracer("mine").start_as_current_span(f"inner {number}"):
        return called(number)


@task
def called(number):
    with trace.get_tracer("mine").start_as_current_span(f"innermost {number}"):
        return number


@flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
def pipeline():
    return work.map([1, 2]).result()


if __name__ == "__main__":
    print(pipeline())
"""
OWN_PROVIDER = """
import sys

from opentelemetry import trace as api
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint="{endpoint}/v1/traces")))
api.set_tracer_provider(provider)
"""


@pytest.mark.parametrize("by", ["environment", "program"])
def test_spans_of_bodies_are_sent_before_their_workers_go(by: str, tmp_path: Path) -> None:
    with receiving() as receiver:
        if by == "environment":
            ran = program(PIPELINE, tmp_path / "home", OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint)
        else:
            ran = program(OWN_PROVIDER.format(endpoint=receiver.endpoint) + PIPELINE, tmp_path / "home")

        assert (ran.code, ran.out) == (0, "[1, 2]\n"), ran.lines
        spans = receiver.all()
    for number in (1, 2):
        inner, innermost = spans.one(f"inner {number}"), spans.one(f"innermost {number}")
        assert (spans.parent_name(inner), spans.parent_name(innermost)) == ("work", "called")
        (called,) = [span for span in spans.below(inner) if span.is_run]
        assert called.id == innermost.parent
    assert len({span.trace for span in spans.all}) == 1
