"""What has no digest says so, with the way to the part that it is about and a reason; and nothing is kept of it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import dataclasses
import functools
import gc
import io
import itertools
import socket
import sqlite3
import tempfile
import threading
import weakref
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple

import attrs
import pytest

from headrace._model.hashing import Unhashable, digest
from tests.unit._model.test_hashing_values import Both, Plain, Slotted

NO_CONTENT = "has no content to be told apart by"


class Pair(NamedTuple):
    left: Any
    right: Any


@dataclasses.dataclass
class Record:
    lock: Any


@attrs.define
class Frozen:
    lock: Any


class Numbers(list[Any]):
    pass


class Worker(threading.Thread):
    pass


class Raising:
    def __reduce_ex__(self, protocol: Any) -> Any:
        raise ValueError("not today")


class Saying:
    def __init__(self, said: Any) -> None:
        self.said = said

    def __headrace_hash__(self) -> Any:
        if self.said == "raise":
            raise ValueError("not today")
        return self if self.said == "self" else self.said


def generator() -> Generator[int]:
    yield 1


async def async_generator() -> AsyncGenerator[int]:
    yield 1


async def coroutine() -> None: ...


def refusal(value: Any) -> Unhashable:
    """Give what digest() says of *value*."""
    with pytest.raises(Unhashable) as caught:
        digest(value)
    return caught.value


@pytest.mark.parametrize(
    ("make", "noun"),
    [
        (threading.Lock, "a lock (_thread.lock)"),
        (threading.RLock, "a lock (_thread.RLock)"),
        (threading.Event, "a part of a thread (threading.Event)"),
        (threading.Condition, "a part of a thread (threading.Condition)"),
        (threading.local, "what differs from thread to thread (_thread._local)"),
        (threading.Thread, "a thread (threading.Thread)"),
        (Worker, f"a thread ({Worker.__module__}.Worker)"),
        (generator, "a generator (generator)"),
        (async_generator, "an async generator (async_generator)"),
        (itertools.count, "an iterator (itertools.count)"),
        (asyncio.Lock, "a part of an event loop (asyncio.locks.Lock)"),
        (concurrent.futures.Future, "a future (concurrent.futures._base.Future)"),
    ],
)
def test_what_lives_in_this_process_alone_is_refused(make: Callable[[], Any], noun: str) -> None:
    error = refusal(make())

    assert (error.path, error.why) == ("", f"{noun} {NO_CONTENT}")


def test_what_is_open_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with contextlib.ExitStack() as stack:
        text, raw = stack.enter_context(path.open("w")), stack.enter_context(path.open("rb"))
        temporary = stack.enter_context(tempfile.TemporaryFile())
        connected = stack.enter_context(socket.socket())
        database = stack.enter_context(contextlib.closing(sqlite3.connect(":memory:")))
        opened = {
            "an open file (_io.TextIOWrapper)": text,
            "an open file (_io.BufferedReader)": raw,
            "an open file (_io.BufferedRandom)": temporary,
            "a socket (socket.socket)": connected,
            "a database connection (sqlite3.Connection)": database,
            "a database cursor (sqlite3.Cursor)": database.cursor(),
        }

        assert [refusal(value).why for value in opened.values()] == [f"{noun} {NO_CONTENT}" for noun in opened]


def test_a_coroutine_is_refused() -> None:
    waiting = coroutine()

    assert refusal([waiting]).why == f"a coroutine (coroutine) {NO_CONTENT}"
    waiting.close()


def test_files_in_memory_are_what_is_in_them() -> None:
    assert digest(io.StringIO("a")) == digest(io.StringIO("a")) != digest(io.StringIO("b"))


def test_a_bare_object_is_refused_and_one_of_a_class_is_not() -> None:
    class Sentinel:
        pass

    assert refusal(object()).why == f"a bare object() {NO_CONTENT}"
    assert digest(Sentinel()) == digest(Sentinel())


LOCK = threading.Lock()


REFUSED: list[tuple[Any, str]] = [
    ({"rows": [1, 2, 3, Plain(lock=LOCK)]}, "['rows'][3].lock"),
    ((1, [LOCK]), "[1][0]"),
    ({1: {None: LOCK}}, "[1][None]"),
    ({(1, 2): LOCK}, "[<tuple>]"),
    ({"a": 1, LOCK: 2}, ".keys()[1]"),
    ({1, (LOCK,)}, "{…}[0]"),
    (Record(LOCK), ".lock"),
    (Frozen([LOCK]), ".lock[0]"),
    (Pair(1, LOCK), ".right"),
    (Slotted(LOCK), ".left"),
    (Both(1, {"a": LOCK}), ".extra['a']"),
    (Numbers([1, LOCK]), "[1]"),
    (OrderedDict(a=1, b=LOCK), "['b']"),
    (functools.partial(print, LOCK), ".args[0]"),
    (Plain(lock=LOCK).method, ".__self__.lock"),
    (ValueError("a", LOCK), ".__reduce_ex__(4)[1][1]"),
    (Saying([LOCK]), ".__headrace_hash__()[0]"),
    (vars(Plain(lock=LOCK)), "['lock']"),
]


@pytest.mark.parametrize(("value", "path"), REFUSED, ids=[path for _, path in REFUSED])
def test_the_path_leads_to_the_part_that_has_no_content(value: Any, path: str) -> None:
    assert (refusal(value).path, refusal(value).why) == (path, f"a lock (_thread.lock) {NO_CONTENT}")


def test_a_global_lock_is_not_looked_into() -> None:
    assert len(digest(lambda: LOCK.locked())) == 32


def test_what_a_function_closes_over_is_named() -> None:
    lock = threading.Lock()

    def locked() -> bool:
        return lock.locked()

    assert refusal({"key": locked}).path == "['key'].nonlocals['lock']"


def test_what_cannot_be_taken_apart_says_why() -> None:
    name = f"{Raising.__module__}.Raising"

    assert refusal([Raising()]).path == "[0]"
    assert refusal(Raising()).why == f"an object of class {name} cannot be taken apart (ValueError: not today)"
    assert "cannot be taken apart (TypeError: cannot pickle" in refusal(weakref.ref(Raising)).why
    assert "cannot be taken apart (TypeError: cannot pickle" in refusal([memoryview(b"1").__iter__()]).why
    assert "Saying cannot be taken apart (ValueError: not today)" in refusal(Saying("raise")).why


def test_what_holds_itself_is_refused() -> None:
    inner: list[Any] = [1]
    inner.append({"again": (inner,)})
    itself = Plain()
    vars(itself)["me"] = [itself]
    alone: dict[str, Any] = {}
    alone["me"] = alone

    assert refusal(inner).path == "[1]['again'][0]"
    assert refusal(alone).path == "['me']"
    assert refusal(itself).path == ".me[0]"
    assert refusal(Saying("self")).path == ".__headrace_hash__()"
    assert all(
        "that holds itself" in refusal(value).why and refusal(value).why.endswith("has no end")
        for value in (inner, alone, itself, Saying("self"))
    )


def wrapped(value: Any, kind: str) -> Any:
    """Give a container or object of a *kind* that holds *value*."""
    return {"list": [value], "tuple": (value,), "object": Plain(inner=value)}[kind]


@pytest.mark.parametrize("kind", ["list", "tuple", "object"])
def test_what_is_nested_too_deep_is_refused_and_what_is_not_needs_no_stack(kind: str) -> None:
    value: Any = (1,)
    for _ in range(499):
        value = wrapped(value, kind)

    assert len(digest(value)) == 32
    error = refusal(wrapped(value, kind))
    assert error.why == "it is nested deeper than 500 levels"
    assert len(error.path) < 200


def test_a_reduce_that_never_ends_is_refused() -> None:
    class Endless:
        def __reduce_ex__(self, protocol: Any) -> Any:
            return self.__reduce_ex__(protocol)

    assert "RecursionError" in refusal(Endless()).why


def test_nothing_of_a_refused_value_is_kept() -> None:
    value = Plain(rows=[(1, threading.Lock())])
    gone = weakref.ref(value)
    gc.disable()
    try:
        with contextlib.suppress(Unhashable):
            digest({"value": value})
        del value
        assert gone() is None
    finally:
        gc.enable()


def test_the_error_says_where_and_why() -> None:
    assert str(refusal([object()])) == f"[0]: a bare object() {NO_CONTENT}"
    assert str(refusal(object())) == f"the value: a bare object() {NO_CONTENT}"
