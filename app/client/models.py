"""The answers of a server as frozen records. A member that the server leaves out is None or its default.

Statuses and reasons are strings, and unknown members are ignored, so that newer servers can add some. Ids and numbers
are checked: programs make paths, refs and commands of ids, and add numbers to times. Members that this client needs
from a server of any release have no default.
"""

from __future__ import annotations

from typing import Any

from app.client.fleet import Autoscale, Spawner, UnhealthyAgent
from app.client.records import (
    TERMINAL,
    Amount,
    Integer,
    JobId,
    Jobs,
    MessageId,
    Number,
    QuestionId,
    Record,
    TaskId,
    Time,
    Word,
)
from app.core.reasons import PodReason, Reason


class Resources(Record, frozen=True, kw_only=True):
    """``cpu`` in cores, ``memory`` in bytes, ``gpu`` as a count."""

    cpu: Amount = 0
    memory: Amount = 0
    gpu: Amount = 0


class Usage(Record, frozen=True, kw_only=True):
    """Tokens and dollars that an AI agent used."""

    input_tokens: Amount | None = None
    output_tokens: Amount | None = None
    cache_read_tokens: Amount | None = None
    cache_write_tokens: Amount | None = None
    cost_usd: Amount | None = None
    turns: Amount | None = None
    """Only of tasks with a budget."""


class Result(Record, frozen=True, kw_only=True):
    """The final text of an AI agent; ``cut`` if it is only a part."""

    text: str | None = None
    cut: bool | None = None


class JobPod(Record, frozen=True, kw_only=True):
    """The pod of a queued job: why it does not run, and the next step."""

    name: str
    state: str = ""
    reason: PodReason | None = None
    message: str | None = None
    hint: str | None = None


class Job(Record, frozen=True, kw_only=True):
    """One claimable unit of a task."""

    job_id: JobId
    job: Number
    agent: str | None = None
    """None: the task's, of a server of an older release."""
    status: Word
    attempt: Number
    worker_id: str | None = None
    exit_code: Integer | None = None
    reason: Reason | None = None
    message: str | None = None
    result: Result | None = None
    """Not in lists."""
    result_bytes: Number | None = None
    """Size of a result that was left out because the answer would be too large."""
    usage: Usage | None = None
    dropped_bytes: Number | None = None
    """Bytes of the last attempt's output beyond the limit, which were not stored."""
    retry_at: Time | None = None
    pause_requested_at: Time | None = None
    """Since when somebody wants it paused."""
    started_at: Time | None = None
    finished_at: Time | None = None
    pod: JobPod | None = None


class WorkerObstacle(Record, frozen=True, kw_only=True):
    """What keeps a live worker from a queued job, and what would help; ``unmet`` is None if nothing does."""

    worker_id: str
    state: str
    help: str
    unmet: str | None = None


class Wait(Record, frozen=True, kw_only=True):
    """Why a task waits, in one line, which is empty if nothing is in the way; and what keeps each live worker."""

    why: str
    workers: list[WorkerObstacle]
    reason: str | None = None


class Checks(Record, frozen=True, kw_only=True):
    """A task's command before the agent, and those after it, which decide whether its work is done."""

    setup: str | None = None
    commands: list[str]
    tries: Number = 0
    timeout_seconds: Amount = 0


class Budget(Record, frozen=True, kw_only=True):
    """What each job of a task may use, over all of its attempts."""

    cost_usd: Amount | None = None
    tokens: Number | None = None
    turns: Number | None = None
    on_budget: str = "ask"


class Task(Record, frozen=True, kw_only=True):
    """A task with its jobs."""

    task_id: TaskId
    status: Word
    """queued, running, paused, succeeded, failed or cancelled."""
    prompt: str
    agent: str
    workers: Jobs
    requires: list[str]
    network: str = "all"
    resources: Resources
    priority: Integer
    retries: Number = 0
    on_failure: str = "continue"
    labels: dict[str, str]
    env_names: list[str] = []
    version: Number
    last_seq: Number = 0
    created_at: Time
    jobs: list[Job]
    agents: list[str] | None = None
    """The agents of its jobs in turn; None: all have the same."""
    picked_job: Number | None = None
    """The job whose result a person has picked."""
    stdin: bool = False
    """Whether its jobs read a stdin from ``tasks.input``."""
    prompt_cut: bool | None = None
    """Whether ``prompt`` is only the beginning, as in lists."""
    prompt_start: str | None = None
    """The first line of the prompt, only in lists."""
    trust_project: bool | None = None
    checks: Checks | None = None
    approve: Word | None = None
    """What its agent may do without asking a person; None: what its worker allows."""
    budget: Budget | None = None
    created_by: str | None = None
    after: list[TaskId] | None = None
    """Tasks after which it starts; not in lists."""
    after_any_end: bool | None = None
    """Whether it starts however those end."""
    waits_for: list[TaskId] | None = None
    """Those of them for which it still waits; in lists at most ten."""
    quota: str | None = None
    """Why the limits of its user let no queued job start now."""
    wait: Wait | None = None
    """Why its jobs wait: only of ``get_task`` with ``explain``."""
    reason: Reason | None = None
    message: str | None = None
    failed_job: Number | None = None
    """The job that failed first."""
    agent_args: Any = None
    timeout_seconds: Amount | None = None
    start_within_seconds: Amount | None = None
    start_by: Time | None = None
    started_at: Time | None = None
    finished_at: Time | None = None
    cancel_requested_at: Time | None = None

    @property
    def ended(self) -> bool:
        """Whether it has succeeded, failed or been cancelled."""
        return self.status in TERMINAL


class TaskPage(Record, frozen=True, kw_only=True):
    """A page of tasks, newest first; ``next_cursor`` is None on the last one."""

    items: list[Task]
    next_cursor: str | None = None


class Value(Record, frozen=True, kw_only=True):
    """A value of a task's key-value store."""

    key: str
    value: Any
    version: Number


class Values(Record, frozen=True, kw_only=True):
    """Values of a task's key-value store."""

    items: list[Value]


class MessageJob(Record, frozen=True, kw_only=True):
    """A job that a message is for: ``waiting``, ``delivered`` to its agent in an attempt, or ``refused``."""

    job: Number
    state: str
    attempt: Number | None = None
    delivered_at: Time | None = None


class Message(Record, frozen=True, kw_only=True):
    """Words to the agents of a task's jobs; without ``job`` they were sent to every job."""

    message_id: MessageId
    task_id: TaskId
    text: str
    state: str
    created_at: Time
    jobs: list[MessageJob]
    job: Number | None = None
    by: str | None = None
    delivered_at: Time | None = None


class MessagePage(Record, frozen=True, kw_only=True):
    """Messages of a task, oldest first."""

    items: list[Message]
    next_cursor: str | None = None


class AttemptRef(Record, frozen=True, kw_only=True):
    """An attempt: a job id and the number of its try."""

    job_id: JobId
    attempt: Number


class Worker(Record, frozen=True, kw_only=True):
    """A process that runs jobs."""

    worker_id: str
    state: str
    """starting, idle, busy, suspect, draining, dead or stopped."""
    capabilities: list[str]
    resources: Resources
    free: Resources
    slots: Number
    jobs: list[AttemptRef]
    labels: dict[str, str]
    version: str | None = None
    pid: Integer | None = None
    host: str | None = None
    backend: str | None = None
    problem: str | None = None
    last_heartbeat_at: Time | None = None
    started_at: Time | None = None


class WorkerList(Record, frozen=True, kw_only=True):
    """A page of workers by id; ``next_cursor`` is None on the last one."""

    items: list[Worker]
    next_cursor: str | None = None


class Waiting(Record, frozen=True, kw_only=True):
    """Queued jobs that may start now, by the capabilities that they need."""

    needs: list[str]
    jobs: Number


class Queue(Record, frozen=True, kw_only=True):
    """Numbers of queued, running and paused jobs, past 10,000 as of the last minutes.

    ``waiting`` are those that may start now. Five hundred of them are counted, as many of each of fifty needs.
    """

    queued: Number
    running: Number
    paused: Number = 0
    waiting: list[Waiting] = []


class AutoscaleLimits(Record, frozen=True, kw_only=True):
    """Limits for the workers of a capability, or of all workers; None: as it is, or the default."""

    capability: str = ""
    min: int | None = None
    max: int | None = None
    target_queue: int | None = None
    cooldown_seconds: float | None = None


class WorkersStatus(Record, frozen=True, kw_only=True):
    """The workers, their number by state, the queue, the spawners and their ranges, and the agents whose jobs wait."""

    workers: list[Worker]
    counts: dict[str, Number]
    queue: Queue
    spawners: list[Spawner] = []
    autoscale: list[Autoscale] = []
    unhealthy_agents: list[UnhealthyAgent] = []
    next_cursor: str | None = None


class ForgottenFailures(Record, frozen=True, kw_only=True):
    """How many failures of an agent in a row were forgotten."""

    agent: str
    failures: Number


class Scale(Record, frozen=True, kw_only=True):
    """The number of workers that is kept for these capabilities."""

    count: Number
    capabilities: list[str] = []


class QuestionOption(Record, frozen=True, kw_only=True):
    """One option: its id, which is the answer, and what a person reads."""

    id: str
    label: str


class Answer(Record, frozen=True, kw_only=True):
    """The id of the chosen option, or a text."""

    choice: str | None = None
    text: str | None = None


class Question(Record, frozen=True, kw_only=True):
    """A question of a job; without ``options`` any text is an answer."""

    question_id: QuestionId
    task_id: TaskId
    job: Number
    attempt: Number
    kind: str
    """permission, choice, text or budget."""
    text: str
    options: list[QuestionOption]
    state: Word
    """open, answered, expired or closed."""
    created_at: Time
    default: str | None = None
    expires_at: Time | None = None
    answer: Answer | None = None
    by: str | None = None
    answered_at: Time | None = None
    tool: str | None = None
    """The tool that an agent asks to use."""
    input: Any = None
    """What the tool would be called with; a text with a part of it if it is long."""
    remember: Word | None = None
    """``task``: the answer counts for each later request for the tool in the task."""


class QuestionList(Record, frozen=True, kw_only=True):
    """A page of questions; ``next_cursor`` is None on the last one."""

    items: list[Question]
    next_cursor: str | None = None


class Received(Record, frozen=True, kw_only=True):
    """How many bytes of a job's input the server has."""

    acknowledged: Number


class Removed(Record, frozen=True, kw_only=True):
    """A task that was removed."""

    task_id: TaskId
    removed: bool = True
