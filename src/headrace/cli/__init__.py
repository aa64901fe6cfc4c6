"""The command line: what was recorded, shown to people and programs. One file a noun; few commands run flows."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any, Final, cast

import click

from headrace.errors import HeadraceError

NOUNS: Final = {
    "flow-run": (
        "headrace.cli.flow_run",
        "Look at flow runs; watch, cancel, resume, retry, fork, signal, delete them.",
    ),
    "task-run": ("headrace.cli.task_run", "Inspect a task run."),
    "cache": ("headrace.cli.cache", "List, inspect and clear cached results."),
    "gcl": ("headrace.cli.gcl", "Create, list, change and delete limits; also global-concurrency-limit."),
    "concurrency-limit": ("headrace.cli.concurrency_limit", "The same limits, by the names of tags; reset them."),
    "doctor": ("headrace.cli.doctor", "Check where runs are kept, and how fast."),
    "version": ("headrace.cli.version", "Show the versions of Headrace and Python."),
}
ALSO: Final = {"global-concurrency-limit": "gcl"}
INTERRUPTED: Final = 130  # as a shell reports a command that SIGINT ended
READER_GONE: Final = 141  # and SIGPIPE


class Sentence(click.ClickException):
    """An error that is shown as the one sentence it is."""

    def show(self, file: Any = None) -> None:
        """Say it on stderr; it may hold names of runs, which may hold anything."""
        from headrace._model.columns import plain

        click.echo(plain(self.message), err=True)


class Nouns(click.Group):
    """A group whose commands are imported when they are spoken: asyncio and SQLite, 100 ms, only where needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the nouns."""
        return list(NOUNS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the noun's file and give its command, which has the file's name."""
        noun = ALSO.get(cmd_name, cmd_name)
        if noun not in NOUNS:
            return None
        module = NOUNS[noun][0]
        return cast("click.Command", getattr(import_module(module), module.rpartition(".")[2]))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the nouns without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(noun, about) for noun, (_, about) in NOUNS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; errors of ours become one sentence, Ctrl-C and a reader that left end it quietly."""
        try:
            value = super().invoke(ctx)
            sys.stdout.flush()
        except HeadraceError as error:
            raise Sentence(str(error)) from error
        except (KeyboardInterrupt, click.Abort):
            raise click.exceptions.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            # Python flushes stdout once more at exit, and would complain there.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.exceptions.Exit(READER_GONE) from None
        return value


@click.command(
    cls=Nouns,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example: headrace flow-run ls",
)
def headrace() -> None:
    """Look at the flow runs, task runs and results that Headrace recorded, and set limits."""


def main() -> None:
    """Speak as `headrace`; ends the process with 0, with 1 where something is not there, with 2 for wrong usage."""
    headrace(prog_name="headrace")
