"""The command `flow-run set-result`: a step has completed with what is given. Knows none of the rules."""

from __future__ import annotations

import click

from headrace import _runtime
from headrace._engine.life import drive
from headrace._model.columns import plain
from headrace._model.ids import short_id
from headrace._model.records import FlowRun
from headrace._setting_results import result_set
from headrace.cli.objects import flow_object
from headrace.cli.output import Output, output_option, say, show_json
from headrace.cli.reading import store_of_settings, wait_for
from headrace.cli.resume import NotResumed, found_for
from headrace.cli.signal import read
from headrace.errors import HeadraceError


@click.command("set-result", epilog="Example: headrace flow-run set-result 3f2a9c1e ship '\"parcel 7\"'")
@click.argument("run_id", metavar="ID")
@click.argument("step", metavar="STEP")
@click.argument("value", metavar="JSON")
@output_option
def set_result(run_id: str, step: str, value: str, output: Output) -> None:
    """
    Have a step of a durable flow run, which failed or has not ended, have completed with a result given as JSON.

    The step is said by its id or name, or by its task or flow: then the first that has not completed. The run, which
    failed, crashed, was cancelled or left behind, goes on behind it once it is retried or resumed. Ends with 2 if
    nothing was set.
    """
    given = read(value)
    run = wait_for(found_for(store_of_settings(), run_id))
    try:
        run, found = drive(result_set(_runtime.thread_host, _runtime.journal_here(), run.id, step, given))
    except HeadraceError as error:
        raise NotResumed(str(error)) from error
    if output == "json":
        show_json({**flow_object(run), "step": {"id": found.id, "name": found.name}})
        return
    say(
        f"Step {plain(found.name)!r} of flow run {plain(run.name)!r} has completed with that. To go on: "
        f"headrace flow-run {goes_on_by(run)} {short_id(run.id)}"
    )


def goes_on_by(run: FlowRun) -> str:
    """Give the command by which *run* goes on."""
    return "retry" if run.state.is_final() and not run.state.is_crashed() else "resume"
