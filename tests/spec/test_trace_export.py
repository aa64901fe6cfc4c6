"""Sending: a program with nothing but OTEL_EXPORTER_OTLP_ENDPOINT set sends its runs to a collector over HTTP."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from headrace._model import ids
from headrace._model.records import FlowRun, TaskRun, nanoseconds
from headrace._stores.sqlite import SQLiteStore
from tests.spec.receiver import Ran, Receiver, environment, program, receiving
from tests.spec.seen import Seen, Spans

HELLO = """
from headrace import flow, task

@task
def step(): ...

@flow
def hello():
    step()

hello()
"""
EVERYTHING = """
import threading
import headrace
from headrace import flow, task
from opentelemetry import trace

left = {"slow start": 3, "second try": 2}

@task(retries=2, retry_delay_seconds=[0.01, 0])
def flaky(name):
    left[name] -= 1
    if left[name]:
        raise ConnectionError(f"\\ud800 {left[name]} to go")
    trace.get_current_span().set_attribute("found", "caf\\xe9 \\udcff")
    return name

@task
def broken():
    raise ValueError("as ever")

@task
def nested():
    with trace.get_tracer("mine").start_as_current_span("by hand"):
        return flaky("second try")

over = threading.Event()

@task(timeout_seconds=0.05)
def slow():
    over.wait(20)

@task(timeout_seconds=20)
def in_a_thread():
    return nested.fn.__name__

@task(tags=["numbers"])
def numbers():
    yield from range(3)

@task
async def later(x):
    return x

@flow
async def asynchronous():
    return [await later(x) for x in range(3)]

@flow(retries=1)
def below():
    broken()

@flow(name="with everything", log_prints=True, on_completion=[lambda *_: None])
def everything(secret):
    print("begun")
    flaky("slow start")
    nested()
    in_a_thread()
    broken(return_state=True)
    slow(return_state=True)
    over.set()
    list(numbers())
    headrace.run(asynchronous())
    below(return_state=True)
    return "done"

everything("s3cret")
"""


@pytest.fixture(scope="module")
def collector() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def ran(collector: Receiver, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ran, Path]:
    home = tmp_path_factory.mktemp("everything")
    return program(EVERYTHING, home, OTEL_EXPORTER_OTLP_ENDPOINT=collector.endpoint), home


@pytest.fixture(scope="module")
def spans(ran: tuple[Ran, Path], collector: Receiver) -> Spans:
    assert ran[0].code == 0, ran[0].lines
    return collector.all()


def stored(home: Path) -> dict[str, list[tuple[str, int]]]:
    """Give the states in the database by run: name and microsecond."""

    async def read() -> list[FlowRun | TaskRun]:
        store = SQLiteStore(home / "headrace.db", None)
        await store.open()
        try:
            return [*await store.flow_runs(), *await store.task_runs("")]
        finally:
            await store.close()

    return {run.id: [(name, nanoseconds(at) // 1_000) for _, name, at, _ in run.transitions] for run in anyio.run(read)}


def test_a_run_with_everything_in_it_arrives_as_one_whole_trace(spans: Spans) -> None:
    spans.whole()

    root = spans.one("with everything")
    assert root.parent is None
    assert root.trace == f"{ids.trace_id(root.run_id):032x}"
    names = "with everything, flaky, nested, in_a_thread, broken, slow, numbers, asynchronous, later, below"
    assert {span.name for span in spans.all if span.is_run} == set(names.split(", "))


def test_every_transition_in_the_database_arrives_as_an_edge_or_an_event(ran: tuple[Ran, Path], spans: Spans) -> None:
    runs = {span.run_id: span for span in spans.all if span.is_run}

    assert len(runs) == 15
    assert {run_id: states_shown(spans, span) for run_id, span in runs.items()} == stored(ran[1])


def states_shown(spans: Spans, run: Seen) -> list[tuple[str, int]]:
    """Give what the spans tell of the states of *run*: name and microsecond."""
    edges = [(str(state.attributes.get("headrace.state.name", state.name)), state.start) for state in spans.states(run)]
    events = [(name, at) for name, at, _ in run.events if name != "exception"]
    return [(name, at // 1_000) for name, at in edges + events]


def test_what_calls_what_is_seen(spans: Spans) -> None:
    parents = {span.name: spans.parent_name(span) for span in spans.all if span.is_run}
    assert parents == {
        "with everything": None,
        "flaky": "by hand",
        "nested": "with everything",
        "in_a_thread": "with everything",
        "broken": "below",
        "slow": "with everything",
        "numbers": "with everything",
        "asynchronous": "with everything",
        "later": "asynchronous",
        "below": "with everything",
    }
    assert spans.parent_name(spans.one("by hand")) == "nested"


def test_text_that_has_no_utf_8_form_arrives_escaped(spans: Spans) -> None:
    first = spans.named("flaky")[0]

    assert first.attributes["found"] == "café \\udcff"
    assert {about.get("exception.message") for _, _, about in first.events} == {
        "\\ud800 2 to go",
        "\\ud800 1 to go",
        None,
    }
    assert "\\ud800 2 to go" in spans.states(first)[0].description


def test_no_parameter_is_sent(spans: Spans) -> None:
    assert "s3cret" not in repr(spans.all)


def test_the_service_is_headrace_and_the_form_is_protobuf(collector: Receiver, spans: Spans) -> None:
    assert {resource["service.name"] for resource in collector.resources} == {"headrace"}
    assert {resource["telemetry.sdk.name"] for resource in collector.resources} == {"opentelemetry"}
    assert {(path, kind) for path, kind, _ in collector.requests} == {("/v1/traces", "application/x-protobuf")}
    assert {span.scope for span in spans.all} == {"headrace", "mine"}


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({"OTEL_SERVICE_NAME": "billing"}, "billing"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "team=a,service.name=billing"}, "billing"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "my.service.name=billing"}, "headrace"),
    ],
)
def test_the_environment_may_name_the_service(tmp_path: Path, variables: dict[str, str], name: str) -> None:
    with receiving() as receiver:
        program(HELLO, tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, **variables)

    assert {resource["service.name"] for resource in receiver.resources} == {name}


def test_the_exporters_own_variables_hold(tmp_path: Path) -> None:
    with receiving() as receiver:
        program(
            HELLO,
            tmp_path,
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{receiver.endpoint}/elsewhere",
            OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
            OTEL_BSP_MAX_QUEUE_SIZE="600",
        )

    assert {(path, encoding) for path, _, encoding in receiver.requests} == {("/elsewhere", "gzip")}
    receiver.all().whole()
    assert len(receiver.spans) == 5


def test_a_sampler_of_the_environment_holds(tmp_path: Path) -> None:
    with receiving() as receiver:
        ran = program(HELLO, tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, OTEL_TRACES_SAMPLER="always_off")

    assert (ran.code, receiver.spans) == (0, [])


def test_a_process_started_with_a_traceparent_joins_that_trace(tmp_path: Path) -> None:
    with receiving() as receiver:
        above = f"{5:032x}", f"{7:016x}"
        program(
            HELLO, tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, TRACEPARENT=f"00-{above[0]}-{above[1]}-01"
        )

    root = receiver.all().whole(outside=above[1]).one("hello")
    assert (root.trace, root.parent) == above


@pytest.mark.parametrize(
    ("ending", "code"),
    [("sys.exit(3)", 3), ("raise ZeroDivisionError", 1), ("os.kill(os.getpid(), signal.SIGTERM); time.sleep(20)", 143)],
)
def test_however_a_process_ends_its_spans_are_sent(tmp_path: Path, ending: str, code: int) -> None:
    source = f"import os, signal, sys, time\n{HELLO.replace('    step()', f'    step(); {ending}')}"
    with receiving() as receiver:
        ran = program(source, tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint)

    assert ran.code == code
    receiver.all().whole()
    assert receiver.all().one("hello").end > 0


def test_a_long_flow_is_seen_at_the_collector_while_it_runs(tmp_path: Path) -> None:
    source = "from headrace import flow\n@flow\ndef long():\n    input()\n\nlong()\n"
    with receiving() as receiver:
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "20"}
        process = subprocess.Popen(
            [sys.executable, "-c", source],
            env=environment(tmp_path, **variables),
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        receiver.wait_for(lambda seen: bool(seen.spans))
        assert process.poll() is None
        (early,) = receiver.spans
        process.communicate(b"\n", timeout=30)

    assert early.name == "run started"
    assert receiver.all().whole().one("long").id == early.parent


def test_without_the_exporter_one_sentence_names_the_command_and_nothing_is_traced(tmp_path: Path) -> None:
    blocked = "import sys; sys.modules['opentelemetry.exporter'] = None\n"
    ran = program(blocked + HELLO + "hello()\n", tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")

    said = [line for line in ran.lines if "headrace.traces" in line]
    assert ran.code == 0
    sentence = (
        "Sending traces to OTEL_EXPORTER_OTLP_ENDPOINT needs packages that are not installed. "
        'Run: pip install "headrace[otlp]"; until then nothing is traced'
    )
    assert [line.partition(" - ")[2] for line in said] == [sentence]


def test_a_protocol_we_do_not_speak_is_said_once(tmp_path: Path) -> None:
    ran = program(
        HELLO + "hello()\n",
        tmp_path,
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:4317",
        OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
    )

    (said,) = [line for line in ran.lines if "headrace.traces" in line]
    assert "OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc', and headrace sends http/protobuf only" in said
    assert ran.code == 0


@pytest.mark.parametrize("off", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_sending_can_be_switched_off(tmp_path: Path, off: dict[str, str]) -> None:
    with receiving() as receiver:
        ran = program(HELLO, tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, **off)

    assert (ran.code, receiver.requests) == (0, [])


def test_a_provider_that_the_application_has_set_is_not_replaced(tmp_path: Path) -> None:
    own = (
        "from opentelemetry import trace\nfrom opentelemetry.sdk.trace import TracerProvider\n"
        "mine = TracerProvider()\ntrace.set_tracer_provider(mine)\n"
    )
    with receiving() as receiver:
        ran = program(
            own + HELLO + "print(trace.get_tracer_provider() is mine)\n",
            tmp_path,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
        )

    assert (ran.out, receiver.requests) == ("True\n", [])


def test_a_provider_of_another_make_is_not_replaced_and_it_is_said(tmp_path: Path) -> None:
    own = (
        "from opentelemetry import trace\nclass Other(trace.TracerProvider):\n"
        "    def get_tracer(self, *_, **__):\n        return trace.NoOpTracer()\n"
        "trace.set_tracer_provider(Other())\n"
    )
    ran = program(
        own + HELLO + "hello()\nprint(type(trace.get_tracer_provider()).__name__)\n",
        tmp_path,
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
    )

    (said,) = [line for line in ran.lines if "headrace.traces" in line]
    assert (ran.out, ran.code) == ("Other\n", 0)
    assert "tracer provider is a __main__.Other, not one of opentelemetry-sdk; runs are not traced" in said


def test_who_neither_traces_nor_asks_for_it_never_loads_opentelemetry(tmp_path: Path) -> None:
    logs = "from headrace import get_run_logger\n"
    source = logs + HELLO.replace("    step()", "    step(); get_run_logger().info('ids please')")
    ran = program(source + "import sys; print([m for m in sys.modules if 'opentelemetry' in m])", tmp_path)

    assert ran.out == "[]\n"


def test_a_collector_that_cannot_be_reached_harms_no_run(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        ran = program(
            HELLO + "print('went on')",
            tmp_path,
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}",
            OTEL_EXPORTER_OTLP_TIMEOUT="1",
        )

    assert (ran.code, ran.out) == (0, "went on\n")
    assert len(stored(tmp_path)) == 2
    assert ran.seconds < 15


def test_a_collector_that_never_answers_holds_an_exit_up_no_longer_than_its_timeout(tmp_path: Path) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        ran = program(
            HELLO + "print('went on')",
            tmp_path,
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{mute.getsockname()[1]}",
            OTEL_EXPORTER_OTLP_TIMEOUT="1",
        )

    assert (ran.code, ran.out) == (0, "went on\n")
    assert ran.seconds < 15


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs os.fork")
def test_a_forked_childs_runs_are_traced_too(tmp_path: Path) -> None:
    source = HELLO + "import os, sys\npid = os.fork()\nif pid == 0:\n    hello(); sys.exit()\nos.waitpid(pid, 0)\n"
    with receiving() as receiver:
        ran = program("import warnings; warnings.simplefilter('ignore')\n" + source, tmp_path,
                      OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint)  # fmt: skip

    assert ran.code == 0
    receiver.all().whole(traces=2)
    assert len(receiver.all().named("hello")) == 2
