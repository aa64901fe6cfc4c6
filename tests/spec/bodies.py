"""What worker processes do in tests. Imported by each of them anew, so it imports little itself."""

from __future__ import annotations

import asyncio
import ctypes
import functools
import multiprocessing
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from headrace import flow, get_run_logger, runtime, task
from headrace.errors import WorkerStartError
from headrace.states import Failed, State
from headrace.task_runners import ProcessPoolTaskRunner


@task
def square(number: int) -> int:
    return number * number


@task
async def square_later(number: int) -> int:
    await asyncio.sleep(0.001)
    return number * number


@task
def where() -> tuple[int, str]:
    return os.getpid(), threading.current_thread().name


@task
async def where_later() -> tuple[int, str]:
    return os.getpid(), threading.current_thread().name


@task
def given(*args: Any, **kwargs: Any) -> Any:
    """Give back what it was given."""
    return args, kwargs


@task
def total(numbers: list[int], extra: int = 0) -> int:
    return sum(numbers) + extra


@task
def size(data: bytes) -> int:
    return len(data)


@task
def zeros(count: int) -> bytes:
    return bytes(count)


# -- ends --------------------------------------------------------------------------------------------------------------


class Odd(Exception):
    """An exception whose __init__ takes other arguments than it hands on."""

    def __init__(self, code: int, *, place: str) -> None:
        super().__init__(f"code {code} at {place}")
        self.code = code


class Closed(Exception):
    """An exception that holds what cannot be pickled."""

    def __init__(self) -> None:
        super().__init__("closed", threading.Lock())


@task
def fail(text: str) -> None:
    raise ValueError(text)


@task
def fail_with_notes() -> None:
    error = ValueError("bad row")
    error.add_note("row 17")
    raise error


@task
def fail_from() -> None:
    try:
        raise KeyError("unit")
    except KeyError as error:
        raise ValueError("bad row") from error


@task
def fail_oddly() -> None:
    raise Odd(7, place="the end")


@task
def fail_in_group() -> None:
    raise ExceptionGroup("two", [Odd(1, place="here"), ValueError("there")])


@task
def fail_closed() -> None:
    raise Closed


@task
def fail_locally() -> None:
    class Local(Exception): ...

    raise Local("from within")


@task
async def fail_later() -> None:
    await asyncio.sleep(0)
    raise ValueError("later")


@task
def leave(code: int) -> None:
    sys.exit(code)


@task
def vanish(code: int) -> None:
    os._exit(code)


@task(retries=3)
def vanish_again(ledger: str) -> None:
    with open(ledger, "a", encoding="utf-8") as file:
        file.write("begun\n")
    os._exit(1)


@task
def segfault() -> None:
    ctypes.string_at(0)


@task
def kill_self(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(60)


@task
def return_generator() -> Iterator[int]:
    return (number for number in range(3))


@task
def return_failed() -> State[Any]:
    return Failed(message="not today")


@task(retries=2)
def succeed_third(ledger: str) -> int:
    with open(ledger, "a", encoding="utf-8") as file:
        file.write(f"{runtime.task_run.run_count}\n")
    count = len(Path(ledger).read_text(encoding="utf-8").splitlines())
    if count < 3:
        raise ValueError(f"attempt {count}")
    return count


# -- time and cancellation ---------------------------------------------------------------------------------------------


def note(ledger: str, text: str) -> None:
    """Write a line to a file, whole."""
    with open(ledger, "a", encoding="utf-8") as file:
        file.write(f"{text}\n")


def hold(ledger: str, text: str) -> None:
    """Hold the interpreter's lock, and have a line written to a file only then: nothing in Python hears any more."""
    line = f"echo {shlex.quote(text)} >> {shlex.quote(ledger)}; exec sleep 600"
    ctypes.PyDLL(None).system(line.encode())  # what is called so keeps the lock


def turns(ledger: str) -> None:
    """Work, and never wait, until stopped from outside."""
    note(ledger, f"began {os.getpid()}")
    while True:
        sum(range(1_000))


@task
def work(ledger: str) -> None:
    try:
        turns(ledger)
    except BaseException as stop:
        note(ledger, f"heard {type(stop).__name__}")
        raise


@task(timeout_seconds=0.1)
def work_briefly() -> None:
    turns(os.devnull)


@task(timeout_seconds=0.1)
async def wait_briefly() -> None:
    await asyncio.sleep(600)


@task(timeout_seconds=0.1)
def compute_briefly() -> int:
    return int(pow(7, 10**8)) % 10


@task
async def wait_long(ledger: str) -> None:
    try:
        note(ledger, f"began {os.getpid()}")
        await asyncio.sleep(60)
    except BaseException as stop:
        note(ledger, f"heard {type(stop).__name__}")
        raise


@task
def sleep_long(ledger: str) -> None:
    try:
        note(ledger, f"began {os.getpid()}")
        time.sleep(60)
    except BaseException as stop:
        note(ledger, f"heard {type(stop).__name__}")
        raise


@task
def go_on_regardless(ledger: str) -> None:
    while True:
        try:
            turns(ledger)
        except BaseException as stop:
            note(ledger, f"heard {type(stop).__name__}")


@task
def stop_politely(ledger: str) -> str:
    try:
        turns(ledger)
    except BaseException:
        note(ledger, f"cancelled {runtime.cancelled()}")
    return "left early"


@task
def hold_the_lock(ledger: str) -> None:
    hold(ledger, f"began {os.getpid()}")


@task
def print_without_end(ledger: str) -> None:
    note(ledger, f"began {os.getpid()}")
    turn = 0
    while True:
        print(turn)
        get_run_logger().debug("turn %d", turn)
        square(turn)
        turn += 1


@task
def start_another(ledger: str) -> None:
    sleeper = subprocess.Popen(["sleep", "600"])
    note(ledger, f"started {sleeper.pid}")
    while sleeper.poll() is None:
        try:
            note(ledger, f"began {os.getpid()}")
            time.sleep(60)
        except BaseException as stop:
            note(ledger, f"heard {type(stop).__name__}")


# -- forms of functions ------------------------------------------------------------------------------------------------


class Factory:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    @task
    def times(self, number: int) -> int:
        return self.factor * number

    @task
    def parameters(self, number: int) -> dict[str, Any]:
        return dict(runtime.task_run.parameters)

    @task
    @classmethod
    def named(cls, number: int) -> str:
        return f"{cls.__name__} {number}"

    @task
    @staticmethod
    def plain(number: int) -> int:
        return -number


class Adder:
    def __init__(self, more: int) -> None:
        self.more = more

    def __call__(self, number: int) -> int:
        return number + self.more


def plain_power(base: int, exponent: int) -> int:
    return int(base**exponent)


cube = task(functools.partial(plain_power, exponent=3), name="cube")
add_ten = task(Adder(10), name="add-ten")
renamed = square.with_options(name="renamed", tags=["other"])
of_plain = task(plain_power)
nameless: Any = task(lambda: 1, name="nameless")


class NeverAgain:
    """Something that can be pickled, and not unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return refuse, ()


class Slow:
    """A three that it takes so many *seconds* to unpickle, as a module may take to be imported."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __reduce__(self) -> tuple[Any, ...]:
        return three, (self.seconds,)


def three(seconds: float) -> int:
    time.sleep(seconds)
    return 3


def refuse() -> None:
    raise LookupError("there is no such thing here")


@task
def return_never_again() -> NeverAgain:
    return NeverAgain()


@task
def ignore_signals(ledger: str) -> None:
    """Stay until told otherwise, whatever signal a terminal sends."""
    note(ledger, f"began {os.getpid()}")
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    note(ledger, "still there")


@task
def start_processes(seconds: float) -> float:
    subprocess.run([sys.executable, "-c", "print('from below')"], check=True, stdout=sys.stdout)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(float, (seconds,))


@task
def leave_a_thread(ledger: str) -> int:
    threading.Thread(target=time.sleep, args=(600,)).start()
    note(ledger, f"began {os.getpid()}")
    return 1


@task
def fork(number: int) -> int:
    """Have a fork print, log and call a task, none of which may come between this process and its parent."""
    pid = os.fork()
    if not pid:
        print("from a fork")
        get_run_logger().warning("from a fork")
        os._exit(square(number))
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@task
def close_stdout() -> None:
    sys.stdout.close()


@task
def one_or_wait(ledger: str, number: int) -> int:
    if not number:
        return 1
    try:
        note(ledger, f"began {os.getpid()}")
        time.sleep(600)
    finally:
        note(ledger, "cleaned")
    return 2


@task
def submit_another() -> Any:
    return square.submit(2)


@flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
def squares(number: int) -> int:
    found: int = square.submit(number).result()
    return found


def square_in_process(number: int) -> str:
    try:
        return str(squares(number))
    except WorkerStartError as error:
        return str(error)
