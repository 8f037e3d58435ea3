"""The closed list of reasons: why a task or job ended, and why a call was refused.

Tasks, jobs and events have ``JOB_REASONS``, and ``POD_REASONS`` (each with its next step) for the job's pod.
``REFUSALS`` maps each reason of a procedure's error to its tRPC code and the next step.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from app.rpc.errors import CODES, WIRE_REASONS, ProcedureError
from app.rpc.words import words

JOB_REASONS: dict[str, str] = {
    "exit_nonzero": "the agent's process ended with another exit code than 0",
    "timed_out": "an attempt took longer than the task's timeout",
    "not_started": "no worker took the job within the time that the task allows (--start-within)",
    "lost": "so many workers were lost while running the job that it may be what kills them (ADO_LOSSES)",
    "too_many_attempts": "so many attempts ended without a result of the agent that the job is given up (ADO_ATTEMPTS)",
    "agent_error": "the agent reported an error",
    "permission_denied": "the agent was not allowed to do what the prompt asked for",
    "no_result": "the agent ended without a final result",
    "start_failed": "the agent could not be started",
    "worker_error": "the worker itself failed while it ran the attempt; its log has the details",
    "rate_limited": "the model's service refused because of its limits",
    "auth": "the model's service refused the credentials",
    "setup_failed": "the task's setup failed before the agent was started",
    "check_failed": "a check of the task failed, and the agent could not mend it in time",
    "budget_exceeded": "the job has used what its budget allows (--max-cost, --max-tokens, --max-turns)",
    "workspace": "the repository could not be checked out, or the job's changes could not be uploaded",
    "input_lost": "the rest of the input is lost: it was not kept (ADO_INPUT_KEEP_BYTES), or its sender has ended",
    "sibling_failed": "another job of the task failed and the task says fail_fast",
    "cancelled": "somebody cancelled the task",
    "predecessor_failed": "a task after which this one was to start (--after) failed or was cancelled",
    "waits_for_task": "the task starts when other tasks have ended (--after)",
    "claim_lost": "the worker never received the claim's answer (the job was queued again)",
    "worker_replaced": "another process registered under the worker's id (the job was queued again)",
    "drained": "the worker was draining (the job was queued again)",
    "worker_unfit": "the worker's machine was short of something that every job needs (the job was queued again)",
    "shutdown": "the worker was shut down (the job was queued again)",
    "question": "the agent waits for an answer (the job is paused until it comes)",
    "rate_limit": "the model's service told the agent to wait (the job is queued again until then)",
    "paused": "somebody paused the task (the job waits until it is resumed)",
}

POD_REASONS: dict[str, tuple[str, str]] = {
    "image_pull": (
        "the pod's image cannot be pulled",
        "check the image's name and the cluster's access to its registry",
    ),
    "invalid_image": ("the pod's image has no valid name", "correct --image, or the pod template"),
    "oom_killed": ("the container used more memory than its limit", "ask for more with --memory"),
    "evicted": ("the cluster needed the pod's node for something else", "nothing: the job runs again"),
    "unschedulable": (
        "no node can take the pod, whatever else ends",
        "ask for less, correct --node-selector, or add nodes; the job waits until ADO_PENDING_SECONDS have passed",
    ),
    "no_room": (
        "no node has room for the pod now",
        "nothing: the job runs when there is room; or add nodes, or cancel other tasks",
    ),
    "quota": ("the namespace's quota is used up", "nothing: the job waits for room; or raise the quota"),
    "quota_too_small": (
        "the namespace's quota has no room for such a pod, whatever else ends",
        "ask for less with --cpu or --memory, or raise the quota",
    ),
    "limit_range": (
        "the namespace's LimitRange forbids a pod of this size",
        "ask for another size with --cpu or --memory, or change the LimitRange, ADO_POD_CPU or ADO_POD_MEMORY",
    ),
    "admission": (
        "a rule of the cluster refused the pod",
        "see the message: correct the pod template, what the task asks for, or the rule",
    ),
    "cluster_away": (
        "the cluster's API does not answer the spawner",
        "nothing: the spawner goes on trying; if it lasts, check the API server and the spawner's network policy",
    ),
    "pod_security": (
        "the namespace's Pod Security level forbids the pod",
        "correct the pod template: the built-in pod meets level restricted",
    ),
    "pod_invalid": ("the cluster refused the pod as invalid", "correct the pod template, or what the task asks for"),
    "cluster_refused": (
        "the cluster does not let the spawner make pods or Secrets",
        "check the namespace and the spawner's role; it goes on trying",
    ),
    "start_error": ("the container could not be started", "check the image and the pod template's command"),
    "pod_failed": ("the worker's container ended without its job's end", "see the message; the job runs again"),
    "pod_silent": (
        "the pod did not start its worker in time",
        "check that pods reach the API (ADO_URL, network policies), and the pod's events",
    ),
    "pod_deleted": ("somebody deleted the pod", "nothing: the job runs again"),
    "deadline": ("the pod lived longer than its activeDeadlineSeconds", "raise it in the pod template"),
    "node_lost": ("the pod's node does not answer", "nothing: the job runs again, on another node if there is one"),
}
JOB_REASONS |= {reason: meaning for reason, (meaning, _) in POD_REASONS.items()}

Reason: TypeAlias = Annotated[str, words("Reason", JOB_REASONS)]
"""Why a task, job or attempt ended as it did."""
PodReason: TypeAlias = Annotated[str, words("PodReason", POD_REASONS)]
"""What keeps a job's pod from running."""

REFUSALS: dict[str, tuple[str, str]] = {
    "token_missing": ("UNAUTHORIZED", "send Authorization: Bearer TOKEN; ado token create makes one"),
    "token_invalid": ("UNAUTHORIZED", "make a new token with ado token create, or ado login again"),
    "code_invalid": ("UNAUTHORIZED", "get another one: ado open makes a code for one use within a minute"),
    "forbidden": ("FORBIDDEN", "use a token of a role that may do this"),
    "foreign_host": ("FORBIDDEN", "call the replica by a loopback name, or add the name to ADO_ALLOWED_HOSTS"),
    "invalid_input": ("BAD_REQUEST", "correct the named field"),
    "limit_exceeded": ("BAD_REQUEST", "send less; the limit is a setting of the server"),
    "event_type": (
        "BAD_REQUEST",
        "workers append output, progress, agent, checkpoint, check, budget, rate_limited and dropped",
    ),
    "no_such_task": ("NOT_FOUND", "ado tasks list shows the tasks"),
    "no_such_job": ("NOT_FOUND", "ado tasks show TASK lists its jobs"),
    "no_such_worker": ("NOT_FOUND", "ado workers list shows the workers; a worker that comes back registers again"),
    "no_such_user": ("NOT_FOUND", "ado users list shows the users"),
    "user_exists": ("CONFLICT", "choose another name or external id, or change that user: ado users set"),
    "user_disabled": ("CONFLICT", "enable the user first: ado users set NAME --enable"),
    "no_such_token": ("NOT_FOUND", "ado token list shows the tokens"),
    "lease_lost": ("CONFLICT", "the attempt is no longer this worker's: stop the agent and write nothing more"),
    "credential_missing": ("FORBIDDEN", "send the credential that the claim gave for this attempt"),
    "certificate_missing": (
        "FORBIDDEN",
        "start the worker with --client-cert and --client-key, signed by the CA of the server's --tls-client-ca",
    ),
    "token_in_use": ("CONFLICT", "end the other worker first, or make a token of its own for this one"),
    "batch_gap": ("CONFLICT", "send the batch named in data.expected first"),
    "input_gap": ("CONFLICT", "send the bytes from data.expected on first"),
    "input_closed": ("CONFLICT", "send nothing more: the job takes no input, or has all of it"),
    "takes_no_messages": ("CONFLICT", "ado tasks show TASK says what its jobs do"),
    "session_not_kept": ("CONFLICT", "run a new task"),
    "input_lost": ("CONFLICT", "run the task again as a new one; a larger ADO_INPUT_KEEP_BYTES keeps more for a retry"),
    "worker_replaced": ("CONFLICT", "another process took over this worker id: end this one"),
    "not_allowed": ("FORBIDDEN", "choose another, or ask the operator for ADO_TASK_IMAGES or ADO_TASK_NODE_LABELS"),
    "version_conflict": ("CONFLICT", "read it again, then repeat with the version that it has now"),
    "idempotency_conflict": ("CONFLICT", "use a new idempotencyKey for other input"),
    "no_such_question": ("NOT_FOUND", "ado inbox lists the open questions"),
    "already_answered": ("CONFLICT", "nothing: the first answer stands"),
    "question_closed": ("CONFLICT", "nothing: the job no longer waits for this answer"),
    "no_such_range": ("NOT_FOUND", "ado workers autoscale lists the ranges"),
    "no_such_target": ("NOT_FOUND", "ado notify list shows the targets"),
    "target_refused": ("BAD_REQUEST", "give the address of a receiver on the public internet, with https"),
    "no_such_template": ("NOT_FOUND", "ado template list shows the templates"),
    "template_exists": ("CONFLICT", "choose another name, or save it with --overwrite"),
    "template_in_use": ("CONFLICT", "remove the schedules first: ado schedule remove SCHEDULE"),
    "no_such_schedule": ("NOT_FOUND", "ado schedule list shows the schedules"),
    "no_such_file": ("NOT_FOUND", "files.list shows the files of a task; what no task took is dropped after a while"),
    "file_mismatch": ("BAD_REQUEST", "send the file again under a new fileId"),
    "nothing_to_pick": ("CONFLICT", "a job that has ended and has a result can be picked: ado compare shows them"),
    "nothing_to_retry": ("CONFLICT", "only failed or cancelled jobs of a task that is not being cancelled are retried"),
    "predecessor_failed": ("CONFLICT", "run that task again first: ado retry TASK"),
    "environment_forgotten": ("CONFLICT", "run the task again as a new one, with its --env; see ADO_ENV_DAYS"),
    "task_running": ("CONFLICT", "stop it first: ado cancel TASK"),
    "log_pruned": ("NOT_FOUND", "the events were dropped; tasks.get still tells how the task ended"),
    "cursor_ahead": (
        "CONFLICT",
        "a failover or a restored backup lost events that were read before: read on after data.lastSeq, or from 0",
    ),
    "database_unavailable": ("SERVICE_UNAVAILABLE", "try again: nothing is lost while the database is away"),
    "database_read_only": ("SERVICE_UNAVAILABLE", "try again; the operator promotes the database or names the primary"),
    "database_full": ("SERVICE_UNAVAILABLE", "try again; the operator frees space on the database's disk"),
    "too_many_connections": (
        "SERVICE_UNAVAILABLE",
        "try again; the operator raises ADO_CONNECTIONS, or ADO_ADDRESS_CONNECTIONS, or the open files of the replica",
    ),
    "draining": ("SERVICE_UNAVAILABLE", "connect again: another replica answers"),
}


WIRE_REFUSALS = (*WIRE_REASONS, *(code.lower() for code in CODES))
"""Reasons that the wire itself gives; an error without a reason has its code as one."""


def refusal(reason: str, message: str, *, hint: str | None = None, **data: Any) -> ProcedureError:
    """Return the error for a reason, with its code and next step; ``hint`` replaces the next step."""
    code, default_hint = REFUSALS[reason]
    return ProcedureError(code, message, reason=reason, hint=hint or default_hint, **data)
