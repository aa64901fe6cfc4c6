"""The runner of the docs' blocks: what it runs, what it compares, and that it fails where a page is wrong."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.docs.blocks import BadPage, Block, read_page, same
from tests.docs.pages import run


def page(folder: Path, *blocks: str) -> Path:
    """A page of *blocks*, each written as `<!-- maybe a comment -->info string: code`."""
    path = folder / "page.md"
    path.write_text("Some words.\n\n" + "\n".join(map(fenced, blocks)), encoding="utf-8")
    return path


def fenced(block: str) -> str:
    comment, _, rest = block.rpartition("-->")
    info, _, code = rest.partition(": ")
    return (f"{comment}-->\n" if comment else "") + f"```{info}\n{code}\n```\n"


def follow(folder: Path, *blocks: str) -> subprocess.CompletedProcess[str]:
    (folder / "work").mkdir()
    return run(page(folder, *blocks), folder / "work")


def only(folder: Path, *blocks: str) -> Block:
    (block,) = read_page(page(folder, *blocks))
    return block


OUTPUT = 'text title="output": '
LOG = 'text title="log": '


def test_blocks_of_a_page_share_one_namespace_and_run_in_order(tmp_path: Path) -> None:
    done = follow(tmp_path, "python: x = 1", "python: print(x + 1)", OUTPUT + "2")

    assert (done.returncode, done.stdout) == (0, "page.md: 3 of 3 blocks run or compared\n")


def test_a_block_that_raises_fails_the_page_at_its_own_line(tmp_path: Path) -> None:
    done = follow(tmp_path, "python: x = 1", "python: x = 2\nx / 0")

    assert done.returncode == 1
    assert "page.md:8 failed" in done.stderr
    assert 'page.md", line 9' in done.stderr
    assert "ZeroDivisionError" in done.stderr


@pytest.mark.parametrize("wrong", ["raise SystemExit(3)", "def f(:", "import no_such_module"])
def test_a_block_that_exits_or_cannot_be_read_or_imported_fails_the_page(tmp_path: Path, wrong: str) -> None:
    assert follow(tmp_path, f"python: {wrong}").returncode == 1


def test_output_that_differs_fails_the_page_and_both_are_shown(tmp_path: Path) -> None:
    done = follow(tmp_path, "python: print('fish')", OUTPUT + "bird")

    assert done.returncode == 1
    assert "shows\nbird" in done.stderr
    assert "printed\nfish" in done.stderr


def test_the_log_is_compared_apart_from_the_output(tmp_path: Path) -> None:
    write = "import logging\nlogging.warning('low')\nprint('out')"

    assert follow(tmp_path, f"python: {write}", LOG + "WARNING:root:low", OUTPUT + "out").returncode == 0


def test_a_marked_console_block_is_run_and_compared(tmp_path: Path) -> None:
    done = follow(tmp_path, "<!-- run -->console: $ python -c 'print(6 * 7)'\n43\n")

    assert done.returncode == 1
    assert "shows\n43" in done.stderr


def test_a_command_that_ends_badly_fails_the_page(tmp_path: Path) -> None:
    done = follow(tmp_path, "<!-- run -->console: $ python -c 'raise SystemExit(3)'")

    assert done.returncode == 1
    assert "ended with 3" in done.stderr


def test_a_shown_file_is_written_for_the_commands_that_follow(tmp_path: Path) -> None:
    file = 'python title="hello.py": print("hello")'

    assert follow(tmp_path, file, "<!-- run -->console: $ python hello.py\nhello").returncode == 0


def test_a_block_of_tests_is_run_by_pytest(tmp_path: Path) -> None:
    good, bad = "def test_a():\n    assert 1", "def test_a():\n    assert 0"

    assert follow(tmp_path, f"<!-- pytest -->python: {good}").returncode == 0
    (tmp_path / "again").mkdir()
    assert follow(tmp_path / "again", f"<!-- pytest -->python: {bad}").returncode == 1


def test_functions_of_a_page_know_their_source_and_their_module(tmp_path: Path) -> None:
    code = "import inspect\ndef f() -> 'T':\n    return 1\nclass T: ...\nimport typing"
    check = "print(inspect.getsource(f).splitlines()[1], f.__module__, typing.get_type_hints(f)['return'] is T)"

    assert follow(tmp_path, f"python: {code}", f"python: {check}", OUTPUT + "return 1 __main__ True").returncode == 0


def test_a_page_has_a_headrace_home_of_its_own(tmp_path: Path) -> None:
    ask = "import os\nprint(os.environ['HEADRACE_HOME'] == os.path.join(os.getcwd(), '.headrace'))"

    assert follow(tmp_path, f"python: {ask}", OUTPUT + "True").returncode == 0


def test_a_block_is_left_out_only_for_a_reason_and_its_output_with_it(tmp_path: Path) -> None:
    reasoned = "<!-- not run: needs a Jaeger server -->python: 1 / 0"

    assert follow(tmp_path, "python: print(1)", reasoned, OUTPUT + "2").stdout.startswith("page.md: 1 of 3")


@pytest.mark.parametrize(
    ("block", "complaint"),
    [
        ("<!-- not run -->python: 1", "say why"),
        ("<!-- not run: -->python: 1", "say why"),
        ("<!-- run -->python: 1", "Python runs unasked"),
        ("<!-- run -->console: ls", r"no line starts with '\$ '"),
        ('python title="hello.py": 1', "no console block marked <!-- run --> runs it"),
    ],
)
def test_a_mark_that_does_nothing_is_refused(tmp_path: Path, block: str, complaint: str) -> None:
    with pytest.raises(BadPage, match=complaint):
        only(tmp_path, block)


def test_a_block_that_is_never_closed_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("```python\nx = 1\n", encoding="utf-8")

    with pytest.raises(BadPage, match="never closed"):
        read_page(path)


def test_a_comment_counts_only_right_above_its_block(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("<!-- not run: no -->\nWords.\n```python\n1\n```\n", encoding="utf-8")

    assert [block.kind for block in read_page(path)] == ["python"]


def test_an_indented_block_and_one_of_four_backticks_are_read(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("- item\n\n    ```python\n    x = 1\n    ```\n\n````text\n```\n````\n", encoding="utf-8")

    assert [(block.line, block.language, block.code) for block in read_page(path)] == [
        (4, "python", "x = 1\n"),
        (8, "text", "```\n"),
    ]


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("15:42:01.234 | INFO", "09:00:00.001 | INFO"),
        ("Flow run 'nimble-falcon' - Finished", "Flow run 'calm-otter' - Finished"),
        ("Task run 'fetch-3fa' - Finished", "Task run 'fetch-0b1' - Finished"),
        ("id 0190a5b2-aaaa-7bbb-8ccc-0123456789ab", "id 0190ffff-aaaa-7bbb-8ccc-0123456789ab"),
        ("a\n...\nz", "a\nb\nc\nz"),
        ("took ... s", "took 0.012 s"),
        ("a  \n", "\na"),
        ("red", "\x1b[31mred\x1b[0m"),
    ],
)
def test_what_changes_from_run_to_run_is_not_compared(shown: str, printed: str) -> None:
    assert same(shown, printed)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("Completed()", "Failed()"),
        ("Task run 'fetch-3fa'", "Task run 'clean-3fa'"),
        ("a", "a\nb"),
        ("", "a"),
        ("a.b", "axb"),
    ],
)
def test_everything_else_is(shown: str, printed: str) -> None:
    assert not same(shown, printed)
