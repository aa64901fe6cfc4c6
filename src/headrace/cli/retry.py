"""The command `flow-run retry`: a durable run that came to a bad end goes on here. Knows none of the rules."""

from __future__ import annotations

import click

from headrace import _runtime
from headrace._retrying import reclaimed
from headrace.cli.output import Output, output_option, show_json
from headrace.cli.reading import store_of_settings, wait_for
from headrace.cli.resume import end_object, found_for, leave, shown


@click.command(epilog="Example: headrace flow-run retry 3f2a9c1e")
@click.argument("run_id", metavar="ID")
@click.option("--whole", is_flag=True, help="Run all of it anew, also what had completed.")
@output_option
def retry(run_id: str, whole: bool, output: Output) -> None:
    """
    Go on with a durable flow run that failed, crashed or was cancelled, in this process, as another attempt of it.

    What has completed in it is not run again. Its code is loaded from the module or file that it was in. Ends with 0
    once the run has completed, with 1 if it came to another end, with 2 if it could not be retried: then nothing was
    run.
    """
    store = store_of_settings()
    run = wait_for(found_for(store, run_id))
    end = shown(run, reclaimed(_runtime.thread_host, _runtime.journal_here(), run.id, whole), output)
    if output == "json":
        show_json(wait_for(end_object(store, end)))
    leave([end])
