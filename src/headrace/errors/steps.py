"""Errors of step transactions: a block that commits a step of a durable run together with rows of the user's."""

from __future__ import annotations

from headrace.errors.base import HeadraceError
from headrace.errors.durable import DurableError


class StepTransactionError(DurableError):
    """A step and the user's rows cannot be committed together; unless it says so, nothing was committed."""

    def __init__(self, label: str | None, why: str, step: str) -> None:
        super().__init__(f"The step transaction{'' if label is None else f' of {label}'} {why}. {step}")


class StepCommitted(StepTransactionError):
    """A step failed behind its transaction: it is on record as completed all the same, and is not run again."""

    def __init__(self, label: str, what: str) -> None:
        HeadraceError.__init__(
            self,
            f"{label} {what}, after its step transaction was committed: it is on record as completed, with what "
            f"returns() was given, and is not run again for this run. Have the block be the last that the task does, "
            f"and return what returns() gave.",
        )


class CommitInDoubt(StepTransactionError):
    """The connection was lost amid a commit; whether that was done is found out when the run is taken up again."""

    def __init__(self, label: str, run_id: str) -> None:
        self.run_id = run_id
        HeadraceError.__init__(
            self,
            f"The connection was lost while the step transaction of {label} was committed, and nobody knows whether it "
            f"was. Nothing more is recorded for flow run {run_id} here. It goes on from what its database holds: "
            f"headrace flow-run resume {run_id[:8]}",
        )
