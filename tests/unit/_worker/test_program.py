"""A worker process from within: what it does in the moments that no test from outside can hit at will."""

from __future__ import annotations

import logging
import os
import pickle
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from headrace._engine.mirrors import Facts, mirrored
from headrace._engine.runs import Run
from headrace._hosts.wire import Done, Errand, Line
from headrace._worker.program import Worker
from headrace.errors import RunCancelled

CALLED: list[str] = []
TASK = Facts("task", "body", "here.body", None, "0" * 24, 7, None, "off", None, frozenset(), 1, 1, 1, None, None, None)


def body(word: str) -> str:
    CALLED.append(word)
    return word


class Other:
    """The other end of a worker's connection: keeps what it is told, and can have something happen meanwhile."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.meanwhile: Callable[[], object] = lambda: None

    def send_bytes(self, data: bytes) -> None:
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        self.heard.append(pickle.loads(data)[1])  # noqa: S301 - our own bytes


@pytest.fixture
def other() -> Other:
    return Other()


@pytest.fixture
def worker(other: Other) -> Iterator[Worker]:
    """A worker in this process, on its main thread."""
    connection: Any = other
    reading, writing = os.pipe()
    before = signal.getsignal(signal.SIGINT)
    levels = logging.getLogger("headrace").level, logging.getLogger().level
    with os.fdopen(reading), os.fdopen(writing, "w") as taking:
        end: Any = taking
        made = Worker(connection, end)
        signal.signal(signal.SIGINT, made.signalled)
        yield made
        signal.signal(signal.SIGINT, before)
    made.forwarder.listen(*levels)
    logging.getLogger().removeHandler(made.forwarder)
    CALLED.clear()


def errand() -> Errand:
    return Errand((TASK,), False, 0, False, False, frozenset(), (0, 0), True, None, "")


def asked_to_stop(worker: Worker) -> Run:
    run = mirrored(TASK, None, worker.journal)
    run.stopping = "enough"
    return run


def test_a_stop_amid_a_message_is_heard_after_it(worker: Worker, other: Other) -> None:
    worker.run = asked_to_stop(worker)
    other.meanwhile = worker.signalled

    with pytest.raises(RunCancelled, match="enough"):
        worker.tell("output", "stdout", b"one")

    assert other.heard == [("output", "stdout", b"one")]


def test_a_stop_that_comes_before_its_body_has_begun_keeps_it_from_beginning(worker: Worker, other: Other) -> None:
    worker.stop(TASK.id, "enough")

    worker.do(errand(), (__name__, "body", 0), b"", pickle.dumps((("a",), {})))

    assert CALLED == []
    ((kind, done, load),) = other.heard
    assert (kind, done.returned) == ("done", False)
    assert isinstance(pickle.loads(pickle.loads(load)[0]), RunCancelled)  # noqa: S301 - our own bytes


def test_a_stop_that_comes_after_the_body_changes_nothing(worker: Worker, other: Other) -> None:
    worker.do(errand(), (__name__, "body", 0), b"", pickle.dumps((("a",), {})))
    worker.stop(TASK.id, "too late")
    os.kill(os.getpid(), signal.SIGINT)

    assert CALLED == ["a"]
    assert other.heard == [("done", Done(True, False, (), False), pickle.dumps("a", 5))]


def test_nothing_is_said_between_two_bodies(worker: Worker, other: Other) -> None:
    assert not worker.tell("output", "stdout", b"one")
    assert other.heard == []


def test_what_is_said_amid_a_message_comes_after_it(other: Other) -> None:
    connection: Any = other
    line = Line(connection)
    other.meanwhile = lambda: line.send("inner")

    line.send("outer")

    assert other.heard == [("outer",), ("inner",)]
