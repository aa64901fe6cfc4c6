"""Results in a trace: a run that found its result links to the one that computed it; what was rolled back shows it."""

from __future__ import annotations

import pytest

from headrace.cache_policies import INPUTS
from headrace.transactions import transaction
from tests.spec.forms import Form, call
from tests.spec.keeping import Counted
from tests.spec.seen import Tracing


def test_a_cached_run_links_to_the_span_of_the_run_that_computed_it(app: Tracing, form: Form) -> None:
    counted = Counted(form, {"a": 1}, cache_policy=INPUTS)

    async def body() -> None:
        await call(counted.task, 1)

    form.in_flow(body)
    form.in_flow(body)

    spans = app.spans().named("counted")
    computed, found = sorted(spans, key=lambda span: span.start)
    assert (computed.links, found.links) == ((), (computed.id,))
    assert computed.trace != found.trace
    assert found.attributes["headrace.cached_from"] == computed.run_id
    assert found.attributes["headrace.result.key"] == computed.attributes["headrace.result.key"]
    assert [name for name, _, _ in found.events] == ["Cached"]
    assert (computed.status, found.status) == ("OK", "OK")


def test_a_run_that_was_rolled_back_has_a_span_that_says_so(app: Tracing, form: Form) -> None:
    @form.task()
    async def step() -> None: ...

    async def body() -> None:
        with transaction():
            await call(step)
            raise KeyError("why")

    with pytest.raises(KeyError):
        form.in_flow(body)

    (run,) = app.spans().named("step")
    (undone,) = app.spans().named("RolledBack")
    assert (undone.parent, undone.trace) == (run.id, run.trace)
    assert undone.start == undone.end >= run.end
    assert [name for name, _, _ in run.events] == ["Completed"]
