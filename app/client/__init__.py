"""The Python client of ado: ``Ado`` blocks, ``AsyncAdo`` is for asyncio.

    from app.client import Ado

    with Ado() as ado:  # ADO_URL and ADO_TOKEN name the server
        task = ado.create_task("echo hello", agent="shell")
        print(ado.wait(task.task_id).status, ado.logs(task.task_id))

The names that this module exports are stable. It imports no server library, and each of its own modules only when a
name of it is used: a program that needs the records alone does not wait for asyncio. ``README.md`` here is the guide.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.client.agent_events import (
        AgentError,
        AgentEvent,
        AgentOther,
        AgentPermission,
        AgentResult,
        AgentRetry,
        AgentSession,
        AgentText,
        AgentTextDelta,
        AgentToolEnd,
        AgentToolStart,
        AgentUsage,
    )
    from app.client.asynchronous import AsyncAdo
    from app.client.blocking import Ado
    from app.client.errors import (
        AdoError,
        Conflict,
        Forbidden,
        InputClosed,
        InvalidAnswer,
        InvalidInput,
        NotConfigured,
        NotFound,
        Refused,
        Unauthorized,
        Unavailable,
        Unreachable,
        WaitTimedOut,
    )
    from app.client.events import (
        AnswerEvent,
        BudgetEvent,
        CancelledEvent,
        CancelRequestedEvent,
        CheckEvent,
        CheckpointEvent,
        ContinuedEvent,
        CreatedEvent,
        DeliveredEvent,
        DroppedEvent,
        FailedEvent,
        FinishedEvent,
        InputLostEvent,
        MessageEvent,
        OutputEvent,
        PodEvent,
        ProgressEvent,
        QuestionEvent,
        RateLimitedEvent,
        ReleasedEvent,
        RequeuedEvent,
        RetriedEvent,
        StartedEvent,
        SucceededEvent,
        TruncatedEvent,
    )
    from app.client.fleet import Autoscale, Spawner, UnhealthyAgent
    from app.client.input import AsyncSource, Source
    from app.client.models import (
        Answer,
        AttemptRef,
        AutoscaleLimits,
        ForgottenFailures,
        Job,
        JobPod,
        Message,
        MessageJob,
        MessagePage,
        Question,
        QuestionOption,
        Queue,
        Removed,
        Resources,
        Result,
        Scale,
        Task,
        TaskPage,
        Usage,
        Value,
        Waiting,
        Worker,
        WorkersStatus,
    )
    from app.client.records import Event, UnknownEvent
    from app.rpc.client import State

__all__ = [
    "Ado",
    "AdoError",
    "AgentError",
    "AgentEvent",
    "AgentOther",
    "AgentPermission",
    "AgentResult",
    "AgentRetry",
    "AgentSession",
    "AgentText",
    "AgentTextDelta",
    "AgentToolEnd",
    "AgentToolStart",
    "AgentUsage",
    "Answer",
    "AnswerEvent",
    "AsyncAdo",
    "AsyncSource",
    "AttemptRef",
    "Autoscale",
    "AutoscaleLimits",
    "BudgetEvent",
    "CancelRequestedEvent",
    "CancelledEvent",
    "CheckEvent",
    "CheckpointEvent",
    "Conflict",
    "ContinuedEvent",
    "CreatedEvent",
    "DeliveredEvent",
    "DroppedEvent",
    "Event",
    "FailedEvent",
    "FinishedEvent",
    "Forbidden",
    "ForgottenFailures",
    "InputClosed",
    "InputLostEvent",
    "InvalidAnswer",
    "InvalidInput",
    "Job",
    "JobPod",
    "Message",
    "MessageEvent",
    "MessageJob",
    "MessagePage",
    "NotConfigured",
    "NotFound",
    "OutputEvent",
    "PodEvent",
    "ProgressEvent",
    "Question",
    "QuestionEvent",
    "QuestionOption",
    "Queue",
    "RateLimitedEvent",
    "Refused",
    "ReleasedEvent",
    "Removed",
    "RequeuedEvent",
    "Resources",
    "Result",
    "RetriedEvent",
    "Scale",
    "Source",
    "Spawner",
    "StartedEvent",
    "State",
    "SucceededEvent",
    "Task",
    "TaskPage",
    "TruncatedEvent",
    "Unauthorized",
    "Unavailable",
    "UnhealthyAgent",
    "UnknownEvent",
    "Unreachable",
    "Usage",
    "Value",
    "WaitTimedOut",
    "Waiting",
    "Worker",
    "WorkersStatus",
]
_MODULES = ("errors", "models", "agent_events", "events", "input", "blocking", "asynchronous")


def __getattr__(name: str) -> Any:
    for module in _MODULES if name in __all__ else ():
        imported = importlib.import_module(f"{__name__}.{module}")
        if hasattr(imported, name):
            return getattr(imported, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
