"""
The wire: what a process and its workers tell each other, message by message, over one connection. Decides nothing.

To a worker: `work` (an Errand, the function, what goes into blanks, the arguments), `stop` (a run's id, why),
`committed` (the number of a question, what went wrong), `numbers` (for task runs), `leave`. From a worker: `ready`,
`begun`, `line` (a run's id, a log record), `output` (which stream, bytes), `told` (a run's facts, what was set on its
span, stamp, moment, message), `ask` (the number of a question), `count` (for more numbers), `done` (a Done, the value).
"""

from __future__ import annotations

import pickle
import threading
from multiprocessing.connection import Connection
from typing import Any, Final

import attrs

from headrace._engine.mirrors import Facts

PROTOCOL: Final = 5
SMALL: Final = 65_536  # bytes of a load that are copied once more rather than sent by themselves: a write costs 40 us
Message = tuple[Any, ...]


@attrs.frozen(slots=False)  # pickled in C by its __dict__, once a call: 3 us less
class Errand:
    """
    What a worker has to know of a call beside its bytes.

    Attributes:
        runs: The run of the call, the one that called it, and so on up.
        awaited: Whether the function is to be awaited.
        bound: How many first arguments are the instance or class of a method.
        timed: Whether to say when the body begins, which is when its time begins to count.
        prints: Whether prints are log lines.
        tags: Those in force for what the body calls.
        levels: Of the logger "headrace" and of the root logger.
        recorded: Whether anybody wants to hear of the runs that the body calls.
        trace: Trace id, whether it is sampled, and its state; None where nothing is traced.
        owner: Host and process that record the run.
    """

    runs: tuple[Facts, ...]
    awaited: bool
    bound: int
    timed: bool
    prints: bool
    tags: frozenset[str]
    levels: tuple[int, int]
    recorded: bool
    trace: tuple[int, bool, str] | None
    owner: str


@attrs.frozen(slots=False)  # as above
class Done:
    """
    How a body ended in a worker.

    Attributes:
        returned: Whether it did; else it raised.
        noticed: Whether it asked whether it is to stop, and was told so.
        marks: What was set on the run's span.
        shown: Whether something relies on the run's span being there.
    """

    returned: bool
    noticed: bool
    marks: tuple[Message, ...]
    shown: bool


class Line:
    """
    One end of the connection; may be spoken into from any thread, and is read by one.

    Attributes:
        speaker: The thread that speaks.
        kept: What that thread had to say meanwhile, in a destructor or a signal's handler.
    """

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self.connection = connection
        self.guard = threading.Lock()
        self.speaker: int | None = None
        self.kept: list[tuple[bytes, bytes | None]] = []

    def send(self, *message: Any, load: bytes | None = None) -> None:
        """
        Send a message, and after it a *load* that is not pickled once more.

        Raises:
            OSError: The other end is gone.
        """
        within = load is not None and len(load) < SMALL
        if within:
            message = (*message, load)
        data = pickle.dumps((load is not None and not within, message), PROTOCOL)
        self.put(data, None if within else load)

    def put(self, data: bytes, load: bytes | None) -> None:
        """Send what is packed, whole: after what this thread is just sending, if it is."""
        speaker = threading.get_ident()
        if self.speaker == speaker:
            self.kept.append((data, load))
            return
        with self.guard:
            self.speaker = speaker
            try:
                self.kept.insert(0, (data, load))
                while self.kept:
                    for part in self.kept.pop(0):
                        if part is not None:
                            self.connection.send_bytes(part)
            finally:
                self.speaker = None

    def receive(self) -> Message:
        """
        Wait for the next message; its load, where it has one, is the last part.

        Raises:
            EOFError, OSError: The other end is gone.
        """
        loaded, message = pickle.loads(self.connection.recv_bytes())  # noqa: S301 - from a process of our own
        received: Message = (*message, self.connection.recv_bytes()) if loaded else message
        return received

    def close(self) -> None:
        """Hang up, after whoever is speaking."""
        with self.guard:
            self.connection.close()
