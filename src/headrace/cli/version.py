"""The noun `version`. Loads nothing that takes time."""

from __future__ import annotations

import platform

import click

from headrace import __version__
from headrace.cli.output import Output, output_option, say, show_json


@click.command(epilog="Example: headrace version --output json")
@output_option
def version(output: Output) -> None:
    """Show the versions of Headrace and Python."""
    if output == "json":
        show_json({"headrace": __version__, "python": platform.python_version(), "system": system()})
    else:
        say(f"headrace {__version__} (Python {platform.python_version()}, {system()})")


def system() -> str:
    """Name the operating system and the processor."""
    return f"{platform.system()} {platform.machine()}"
