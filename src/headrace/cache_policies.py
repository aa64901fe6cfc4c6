"""Cache policies, for users: what a task's cache key is made of. How keys are made is the engine's."""

from __future__ import annotations

from headrace._engine.policies import (
    DEFAULT,
    FLOW_PARAMETERS,
    INPUTS,
    NO_CACHE,
    NONE,
    RUN_ID,
    TASK_SOURCE,
    CacheKeyFnPolicy,
    CachePolicy,
    FlowParameters,
    Inputs,
    IsolationLevel,
    RunId,
    TaskSource,
)

__all__ = [
    "DEFAULT",
    "FLOW_PARAMETERS",
    "INPUTS",
    "NONE",
    "NO_CACHE",
    "RUN_ID",
    "TASK_SOURCE",
    "CacheKeyFnPolicy",
    "CachePolicy",
    "FlowParameters",
    "Inputs",
    "IsolationLevel",
    "RunId",
    "TaskSource",
]
