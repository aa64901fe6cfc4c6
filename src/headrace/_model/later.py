"""Later: what people look for that is not there yet, each with what to do today. Never a parameter without effect."""

from __future__ import annotations

from typing import Final

DRAWING: Final = (
    "Flows are not drawn before they run. Run it, then see what called what: headrace flow-run inspect last"
)
SCHEDULES: Final = "There are no schedules and no workers. Let cron, systemd or your own program call the flow."
WORKERS: Final = "There are no workers. Call the task in a process of yours, such as one that a queue starts."

OPTIONS: Final = {
    "asset_deps": "There are no assets. Say with tags what a task reads and writes.",
    "viz_return_value": DRAWING,
}
ATTRIBUTES: Final = {
    "apply_async": WORKERS,
    "delay": WORKERS,
    "deploy": SCHEDULES,
    "from_source": SCHEDULES,
    "serve": SCHEDULES,
    "to_deployment": SCHEDULES,
    "visualize": DRAWING,
}
NAMES: Final = {
    "aserve": SCHEDULES,
    "deploy": SCHEDULES,
    "get_client": "There is no server to talk to. Read the record: headrace flow-run ls --output json",
    "serve": SCHEDULES,
}
ADDRESSES: Final = (
    "There is no server, so runs have no address. Give the run's id away instead: headrace flow-run inspect ID"
)
FACTS: Final = {
    "api_url": ADDRESSES,
    "job_variables": "There are no deployments, so none sets variables of a job. Read those of the process: os.environ",
    "ui_url": ADDRESSES,
}
