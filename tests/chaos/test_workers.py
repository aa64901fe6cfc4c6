"""Worker processes never outlive what started them, whatever ends that; scripts and sessions that start them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import headrace
from tests.chaos.processes import WITHIN, Child, recorded, rows, states, until
from tests.spec.processing import alive


def noted(ledger: Path, word: str) -> list[int]:
    """Give the process ids that stand in a ledger behind *word*."""
    lines = ledger.read_text(encoding="utf-8").splitlines() if ledger.exists() else []
    return [int(line.split()[1]) for line in lines if line.startswith(f"{word} ")]


def start(program: str, folder: Path, workers: int = 2) -> tuple[Child, list[int], Path]:
    """Start a program; give it, and its workers once they are at work."""
    ledger = folder / "ledger"
    child = Child("tests.chaos.workers", program, ledger, home=folder / "home")
    until(lambda: len(noted(ledger, "worker")) >= workers or child.process.poll() is not None)
    assert child.process.poll() is None, child.err
    return child, noted(ledger, "worker"), ledger


def gone(pids: list[int]) -> None:
    """Wait until none of the processes is there any more."""
    assert pids
    until(lambda: not any(alive(pid) for pid in pids))


@pytest.mark.required
@pytest.mark.parametrize("program", ["computes", "holds"])
def test_a_parent_that_is_killed_takes_its_workers_with_it(tmp_path: Path, program: str) -> None:
    child, workers, _ = start(program, tmp_path)

    child.process.kill()
    child.process.wait()

    gone(workers)


def test_a_parent_that_leaves_by_os_exit_takes_its_workers_with_it(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    child = Child("tests.chaos.workers", "leaves", ledger, home=tmp_path / "home")

    assert child.ended().status == 7
    gone(noted(ledger, "worker"))


@pytest.mark.parametrize("program", ["forks", "forks early"])
def test_workers_die_with_their_parent_though_a_fork_of_it_lives_on(tmp_path: Path, program: str) -> None:
    child, workers, ledger = start(program, tmp_path)
    until(lambda: noted(ledger, "fork"))
    (fork,) = noted(ledger, "fork")
    try:
        child.process.kill()
        child.process.wait()

        gone(workers)
        assert alive(fork)
    finally:
        os.kill(fork, signal.SIGKILL)


@pytest.mark.required
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, -signal.SIGINT), (signal.SIGTERM, 143)])
def test_a_signal_to_the_whole_group_cancels_the_flow_and_its_bodies(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    child, workers, ledger = start("computes", tmp_path)

    os.killpg(child.process.pid, number)
    end = child.ended()

    assert end.status == status, end.err
    assert sorted(noted(ledger, "cleaned")) == sorted(workers)
    assert not any(alive(pid) for pid in workers)
    assert states(tmp_path / "home", "computes") == ["Cancelled"]
    assert rows(tmp_path / "home", "SELECT state_name, count(*) FROM task_run GROUP BY 1") == [("Cancelled", 2)]
    assert end.lines("Process headrace worker") == []


def test_a_second_ctrl_c_does_not_wait_for_bodies(tmp_path: Path) -> None:
    child, workers, _ = start("holds", tmp_path)
    until(lambda: recorded(tmp_path / "home"))

    child.send(signal.SIGINT)
    until(lambda: states(tmp_path / "home", "holds") == ["Cancelling"] or child.process.poll() is not None)
    child.send(signal.SIGINT)
    end = child.ended()

    assert end.status == -signal.SIGINT, end.err
    gone(workers)


def test_a_program_that_ends_leaves_no_worker_and_says_nothing(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    end = Child("tests.chaos.workers", "ends", ledger, home=tmp_path / "home").ended()

    assert (end.status, end.out, end.err) == (0, "[0, 1, 4]\n", "")
    assert not any(alive(pid) for pid in noted(ledger, "worker"))


# -- scripts and sessions ----------------------------------------------------------------------------------------------

SCRIPT = """
from headrace import flow, task
from headrace.task_runners import ProcessPoolTaskRunner


@task
def square(number):
    return number * number


@flow(task_runner=ProcessPoolTaskRunner(max_workers=2))
def squares():
    return square.map([1, 2, 3]).result()

"""
GUARDED = SCRIPT + "if __name__ == '__main__':\n    print(squares())\n"
UNGUARDED = SCRIPT + "print(squares())\n"


def run(folder: Path, *arguments: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python as a user would, in *folder*."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HEADRACE_", "OTEL_"))}
    environment = {
        **inherited,
        "HEADRACE_HOME": str(folder / "home"),
        "HEADRACE_LOG_LEVEL": "WARNING",
        "PYTHONPATH": str(Path(headrace.__file__).parents[1]),
    }
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, input=text, capture_output=True, text=True, timeout=WITHIN, check=False
    )


def test_tasks_of_a_script_run_in_workers(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(GUARDED, encoding="utf-8")

    done = run(tmp_path, "script.py")

    assert (done.returncode, done.stdout, done.stderr) == (0, "[1, 4, 9]\n", "")


@pytest.mark.required
def test_a_script_without_a_guard_is_told_so_and_ends(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(UNGUARDED, encoding="utf-8")

    done = run(tmp_path, "script.py")

    assert done.returncode == 1
    # Whichever of the two comes first; the other may be ended before it has said so.
    assert re.search(r"errors.StartingError: The headrace worker [12] imports the program that started it", done.stderr)
    assert "headrace.errors.WorkerStartError: A worker process did not start: it ended with exit code 1" in done.stderr
    assert "put what it is to do below `if __name__ == '__main__':`." in done.stderr
    assert done.stderr.count("StartingError:") <= 2, "one try a worker, and no more"
    assert rows(tmp_path / "home", "SELECT count(*) FROM flow_run") == [(1,)]


def test_a_session_whose_functions_nobody_can_import_is_told_so(tmp_path: Path) -> None:
    done = run(tmp_path, "-", text=UNGUARDED)

    assert done.returncode == 1
    assert "NotPicklable: The function of task 'square' cannot be handed to another process" in done.stderr
    assert "is defined in a session or a package's __main__" in done.stderr


def test_a_packages_main_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "__main__.py").write_text(GUARDED, encoding="utf-8")

    done = run(tmp_path, "-m", "package")

    assert done.returncode == 1
    assert "is defined in a session or a package's __main__" in done.stderr


def test_a_module_run_by_name_finds_its_tasks(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").touch()
    (tmp_path / "package" / "job.py").write_text(GUARDED, encoding="utf-8")

    done = run(tmp_path, "-m", "package.job")

    assert (done.returncode, done.stdout, done.stderr) == (0, "[1, 4, 9]\n", "")
