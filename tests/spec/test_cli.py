"""What the command line promises whatever is spoken: exit codes, one sentence, valid JSON, no traceback."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path

import click
import orjson
import pytest

from headrace.cli import NOUNS, headrace
from tests.unit.cli.recorded import PIPELINE, Teller, environment, goes_on, record

COMMAND = [sys.executable, "-m", "headrace"]


@pytest.fixture(scope="module")
def tell(tmp_path_factory: pytest.TempPathFactory) -> Teller:
    home = tmp_path_factory.mktemp("cli") / "home"
    record(PIPELINE, home)
    return Teller(home)


@pytest.fixture
def tell_own(tell: Teller, tmp_path: Path) -> Teller:
    """The same in a copy of the test's own."""
    shutil.copytree(tell.home, tmp_path / "own")
    return Teller(tmp_path / "own")


def spoken(home: Path, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Speak *words* in a process of its own."""
    return subprocess.run(
        [*COMMAND, *words],
        env=environment(home, **settings),
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
    )


def commands(above: click.Command = headrace, *words: str) -> Iterator[tuple[str, ...]]:
    """Every way to a help text."""
    yield words
    if isinstance(above, click.Group):
        context = click.Context(above)
        for name in above.list_commands(context):
            below = above.get_command(context, name)
            assert below is not None
            yield from commands(below, *words, name)


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_every_help_text_has_an_example_that_is_rightly_spoken(tell_own: Teller, words: tuple[str, ...]) -> None:
    example = tell_own(*words, "--help").stdout.rpartition("Example: headrace ")[2].split()
    if words[:1] in {("gcl",), ("concurrency-limit",)} and words[-1] != "create":
        tell_own("gcl", "create", "api", "--limit", "5")
    if words[-1:] in {("cancel",), ("signal",)}:
        goes_on(tell_own.home, "pipeline")
    known = {"3f2a9c1e": tell_own.id_of("pipeline")[:8], "3f2a9c1e.00c": tell_own.id_of("pipeline")[:8] + ".001"}
    assert example[: len(words)] == list(words)
    if words[-1:] in {("resume",), ("retry",), ("fork",), ("set-result",)}:
        return  # goes on with a durable run, or lets one: tests/unit/cli has a file for each

    result = tell_own(*[known.get(word, word) for word in example])

    assert result.stdout
    assert "Usage" not in result.stdout


def test_the_first_help_text_lists_every_noun_without_loading_it() -> None:
    code = (
        "import sys\nfrom headrace.cli import headrace\n"
        "try: headrace(['--help'])\n"
        "finally: print([name for name in sys.modules if name.startswith('headrace.cli.')])"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(Path("unused")), capture_output=True, text=True, check=True
    )

    assert all(f"\n  {noun} " in done.stdout for noun in NOUNS)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "words", [("flow-run",), ("flowrun", "ls"), ("flow-run", "ls", "--limit", "0"), ("version", "--output", "xml")]
)
def test_what_is_wrongly_spoken_ends_with_2(tell: Teller, words: tuple[str, ...]) -> None:
    result = tell(*words, status=2)

    assert "Usage: headrace" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("command", ["inspect", "logs", "cancel", "delete"])
@pytest.mark.parametrize("asked", ["zz", "ffffffff-0000", "\udcff", "a%", "1" * 5_000])
def test_a_run_that_is_not_there_is_one_sentence_and_1(tell: Teller, command: str, asked: str) -> None:
    result = tell("flow-run", command, asked, "--output", "json", status=1)

    assert result.stdout == ""
    assert result.stderr.startswith("No flow run has an id that begins with ")
    assert result.stderr.count("\n") == 1


def test_a_beginning_that_several_flow_runs_share_names_them(tell_own: Teller) -> None:
    with closing(sqlite3.connect(tell_own.home / "headrace.db")) as database, database:
        database.execute("UPDATE flow_run SET id = 'abcd' || substr(id, 5)")
    names = [f"{run['id'][:8]} ({run['name']})" for run in tell_own.json("flow-run", "ls")]

    said = tell_own("flow-run", "inspect", "ABCD", status=1).stderr

    assert said == f"Several flow runs have ids that begin with 'ABCD': {', '.join(names)}. Give more of it.\n"


def unreadable(home: Path) -> None:
    (home / "headrace.db").write_bytes(b"This is no database. " * 100)


def newer(home: Path) -> None:
    with closing(sqlite3.connect(home / "headrace.db")) as database:
        database.execute("PRAGMA user_version = 99")


def a_folder(home: Path) -> None:
    (home / "headrace.db").mkdir()


def foreign(home: Path) -> None:
    with closing(sqlite3.connect(home / "headrace.db")) as database:
        database.execute("CREATE TABLE other (x)")
        database.execute("PRAGMA user_version = 1")


@pytest.mark.parametrize("words", [("ls",), ("inspect", "a"), ("logs", "a"), ("cancel", "a"), ("delete", "a", "-y")])
@pytest.mark.parametrize("spoil", [unreadable, newer, a_folder, foreign])
def test_a_database_that_cannot_be_used_is_one_sentence(tmp_path: Path, spoil: object, words: tuple[str, ...]) -> None:
    assert callable(spoil)
    spoil(tmp_path)

    result = Teller(tmp_path)("flow-run", *words, status=1)

    assert result.stdout == ""
    assert result.stderr.startswith(f"Cannot use the database {tmp_path / 'headrace.db'}: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [("inspect", "a"), ("logs", "a"), ("cancel", "a"), ("delete", "a", "--yes")])
def test_where_nothing_ran_there_is_nothing_to_look_at(tmp_path: Path, words: tuple[str, ...]) -> None:
    said = Teller(tmp_path / "home")("flow-run", *words, status=1).stderr

    assert "there is none yet. Run a flow first" in said
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    "words", [("flow-run", "inspect", "a"), ("flow-run", "cancel", "a"), ("task-run", "inspect", "a.1")]
)
def test_a_record_in_memory_cannot_be_looked_at(tell: Teller, words: tuple[str, ...]) -> None:
    said = tell(*words, status=1, HEADRACE_DATABASE_URL="memory:").stderr

    assert "in memory" in said


def test_a_setting_that_cannot_be_is_one_sentence(tell: Teller) -> None:
    said = tell("flow-run", "ls", status=1, HEADRACE_DATABASE_URL="oracle://x").stderr

    assert said.startswith("HEADRACE_DATABASE_URL is 'oracle://***'; it must be ")


def test_both_names_of_the_program_do_the_same(tell: Teller) -> None:
    script = "import sys; from headrace.cli import main; sys.argv = ['headrace', 'flow-run', 'ls']; main()"
    other = subprocess.run(
        [sys.executable, "-c", script], env=environment(tell.home), capture_output=True, text=True, check=True
    )

    assert spoken(tell.home, "flow-run", "ls").stdout == other.stdout
    assert other.stdout.startswith("ID ")


@pytest.mark.parametrize("words", [("flow-run", "ls"), ("flow-run", "ls", "-o", "json"), ("--help",), ("doctor",)])
def test_a_reader_that_left_is_no_reason_for_a_traceback(tell: Teller, words: tuple[str, ...]) -> None:
    read, write = os.pipe()
    os.close(read)

    done = subprocess.run(
        [*COMMAND, *words], env=environment(tell.home), stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)

    assert (done.returncode, done.stderr) in {(141, ""), (1, "")}


@pytest.fixture
def terminal() -> Generator[tuple[int, int]]:
    """Both ends of a terminal: ours, and the program's."""
    ours, theirs = os.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def read_until(terminal: int, ending: bytes) -> bytes:
    """Read what a program writes to *terminal* until it wrote *ending*."""
    found = b""
    while ending not in found:
        found += os.read(terminal, 65_536)
    return found


def asked_in(terminal: tuple[int, int], tell: Teller, flow: str) -> subprocess.Popen[bytes]:
    """Begin to delete the run of *flow* in *terminal*; give the process once it asks."""
    process = subprocess.Popen(
        [*COMMAND, "flow-run", "delete", tell.id_of(flow)],
        env=environment(tell.home),
        start_new_session=True,
        stdin=terminal[1],
        stdout=terminal[1],
        stderr=terminal[1],
    )
    read_until(terminal[0], b"[y/N]: ")
    while Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "S":
        os.sched_yield()  # until it is in its read: a signal just before would be noticed only after the answer
    return process


def test_a_terminal_is_asked_before_a_run_is_deleted(tell: Teller, terminal: tuple[int, int]) -> None:
    process = asked_in(terminal, tell, "fails")
    os.write(terminal[0], b"n\n")

    assert process.wait(30) == 1
    assert b"Nothing was deleted." in read_until(terminal[0], b"deleted.")
    assert tell.id_of("fails")


def test_ctrl_c_ends_a_command_quietly_with_130(tell: Teller, terminal: tuple[int, int]) -> None:
    process = asked_in(terminal, tell, "fails")
    process.send_signal(signal.SIGINT)

    assert process.wait(30) == 130
    os.write(terminal[1], b"END")
    assert b"Traceback" not in read_until(terminal[0], b"END")
    assert tell.id_of("fails")


@pytest.mark.parametrize(("settings", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_are_for_terminals_only(
    tell: Teller, terminal: tuple[int, int], settings: dict[str, str], coloured: bool
) -> None:
    words = ["flow-run", "inspect", tell.id_of("pipeline")]
    subprocess.run([*COMMAND, *words], env=environment(tell.home, **settings), stdout=terminal[1], check=True)

    assert (b"\x1b[" in read_until(terminal[0], b"task-run inspect")) is coloured
    assert "\x1b[" not in spoken(tell.home, *words).stdout


def test_json_is_all_there_is_on_stdout(tell: Teller) -> None:
    run_id = tell.id_of("pipeline")

    for words in [("version",), ("doctor",), ("flow-run", "ls"), ("flow-run", "inspect", run_id)]:
        done = spoken(tell.home, *words, "--output", "json", HEADRACE_LOG_LEVEL="DEBUG")
        assert orjson.loads(done.stdout)
        assert done.stderr == ""
