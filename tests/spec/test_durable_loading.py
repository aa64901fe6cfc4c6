"""The code of a durable run is found again in another process, by its module or its file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, signal, sys
from headrace import flow, task

@task
def step(x: int) -> int:
    print("ran", x, flush=True)
    if x == 2 and "kill" in sys.argv:
        os.kill(os.getpid(), signal.SIGKILL)
    return x

@flow(durable=True)
def works(n: int) -> int:
    return sum(step(x) for x in range(n))

class Inside:
    @flow(durable=True)
    def works_too(self, n: int) -> int:
        return sum(step(x) for x in range(n))

    def __reduce__(self):
        return (Inside, ())
"""
CALLED = "\nworks(4)\n"
GUARDED = """
if __name__ == "__main__":
    works(4)
"""


def run_program(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python in *home*."""
    environment = {"HEADRACE_HOME": str(home), "PATH": "", "HEADRACE_LOG_LEVEL": "WARNING"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=home, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def killed(home: Path, *arguments: str) -> str:
    """Run a program that ends itself; give the id of its run."""
    done = run_program(home, *arguments, "kill")
    assert done.returncode == -9, done.stderr
    assert done.stdout.split("\n")[:3] == ["ran 0", "ran 1", "ran 2"]
    listed = run_program(home, "-c", "from headrace import runs; print(runs.flow_runs()[0].id)")
    return listed.stdout.strip()


RESUME = "import sys; from headrace import durable; print('gave', durable.resume(sys.argv[1]))"


def test_a_flow_of_a_main_file_is_found_by_its_file(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM + GUARDED)
    run_id = killed(tmp_path, "program.py")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    done = run_program(tmp_path, "-c", f"import os; os.chdir('elsewhere'); {RESUME}", run_id)
    assert (done.stdout, done.returncode) == ("ran 2\nran 3\ngave 6\n", 0), done.stderr


def test_flows_that_a_file_calls_are_not_run_while_it_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM + CALLED)
    run_id = killed(tmp_path, "program.py")

    done = run_program(tmp_path, "-c", RESUME, run_id)
    assert (done.stdout, done.returncode) == ("ran 2\nran 3\ngave 6\n", 0), done.stderr
    assert f"Flow 'works' is not run: {tmp_path / 'program.py'} calls it while it is loaded." in done.stderr


def test_a_flow_of_a_module_is_found_by_its_name(tmp_path: Path) -> None:
    package = tmp_path / "lib" / "shop"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "work.py").write_text(PROGRAM)
    start = "import sys; sys.path.insert(0, 'lib'); import shop.work; shop.work.works(4)"
    run_id = killed(tmp_path, "-c", start)

    done = run_program(tmp_path, "-c", RESUME, run_id)
    assert (done.stdout, done.returncode) == ("ran 2\nran 3\ngave 6\n", 0), done.stderr


def test_a_method_of_a_module_is_found_by_its_class(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(PROGRAM)
    run_id = killed(tmp_path, "-c", "import work; work.Inside().works_too(4)")

    done = run_program(tmp_path, "-c", RESUME, run_id)
    assert (done.stdout, done.returncode) == ("ran 2\nran 3\ngave 6\n", 0), done.stderr


def test_code_that_is_gone_is_told(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM + GUARDED)
    run_id = killed(tmp_path, "program.py")
    (tmp_path / "program.py").unlink()

    done = run_program(tmp_path, "-c", RESUME, run_id)
    assert done.stderr.splitlines()[-1] == (
        f"headrace.errors.durable.NotResumable: Flow run {run_id} cannot be resumed: its file "
        f"{tmp_path / 'program.py'} is not there any more. Put its code back to where it was, and resume it then."
    )


def test_code_that_fails_to_load_is_told_and_mended_code_goes_on(tmp_path: Path) -> None:
    """However often it was tried meanwhile: a program that did not begin is no crash."""
    (tmp_path / "program.py").write_text(PROGRAM + GUARDED)
    run_id = killed(tmp_path, "program.py")
    (tmp_path / "program.py").write_text("import no_such_module\n" + PROGRAM)
    tries = (
        "import sys; from headrace import durable\n"
        "for _ in range(7):\n"
        "    try: durable.resume(sys.argv[1])\n"
        "    except durable.NotResumable as error: print(error)\n"
    )

    done = run_program(tmp_path, "-c", tries, run_id)
    assert done.stdout.count("cannot be loaded: ModuleNotFoundError(") == 7
    (tmp_path / "program.py").write_text(PROGRAM + GUARDED)
    done = run_program(tmp_path, "-c", RESUME, run_id)
    assert (done.stdout, done.returncode) == ("ran 2\nran 3\ngave 6\n", 0), done.stderr


def test_a_flow_that_its_file_no_longer_has_is_told(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM + GUARDED)
    run_id = killed(tmp_path, "program.py")
    (tmp_path / "program.py").write_text("x = 1\n")

    done = run_program(tmp_path, "-c", RESUME, run_id)
    assert f"cannot be resumed: {tmp_path / 'program.py'} has no flow 'works'" in done.stderr.splitlines()[-1]


def test_flows_that_a_module_calls_are_not_run_while_it_is_imported(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(PROGRAM)
    run_id = killed(tmp_path, "-c", "import work; work.works(4)")
    (tmp_path / "work.py").write_text(PROGRAM + CALLED)

    done = run_program(tmp_path, "-c", RESUME, run_id)
    assert (done.stdout, done.returncode) == ("ran 2\nran 3\ngave 6\n", 0), done.stderr
    assert "Flow 'works' is not run: work calls it while it is loaded." in done.stderr


def test_a_file_that_ends_its_process_does_not_end_this_one(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM + GUARDED)
    run_id = killed(tmp_path, "program.py")
    (tmp_path / "program.py").write_text(PROGRAM + "sys.exit(works(4))")

    done = run_program(tmp_path, "-c", RESUME, run_id)
    assert "NotResumable" in done.stderr.splitlines()[-1]
    assert f"{tmp_path / 'program.py'} cannot be loaded: SystemExit(" in done.stderr.splitlines()[-1]
