"""The command `flow-run fork`: a new durable run goes on from what another one did. Knows none of the rules."""

from __future__ import annotations

import click

from headrace import _runtime
from headrace._forking import forked
from headrace.cli.output import Output, output_option, show_json
from headrace.cli.reading import store_of_settings, wait_for
from headrace.cli.resume import end_object, found_for, leave, shown


@click.command(epilog="Example: headrace flow-run fork 3f2a9c1e --from ship")
@click.argument("run_id", metavar="ID")
@click.option(
    "--from",
    "from_task",
    metavar="STEP",
    help="Before which step: its id or name, or its task or flow, then the first. Else from the end, or what failed.",
)
@output_option
def fork(run_id: str, from_task: str | None, output: Output) -> None:
    """
    Have a new durable flow run go on, in this process, from what another one did before one of its steps.

    It has an id and a trace of its own, and what had ended before that step is not run again. Ends with 0 once the new
    run has completed, with 1 if it came to another end, with 2 if the other could not be forked: then nothing was run.
    """
    store = store_of_settings()
    run = wait_for(found_for(store, run_id))
    end = shown(run, forked(_runtime.thread_host, _runtime.journal_here(), run.id, from_task), output)
    if output == "json":
        show_json(wait_for(end_object(store, end)))
    leave([end])
