"""What is mutated, and the tests that must notice it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """Files of the checkout, each with the tests that run for each of its mutants."""

    files: dict[str, tuple[str, ...]]
    statements: tuple[str, ...] = ()
    """The statements of the SQL files that are mutated."""
    seconds: float = 20.0
    """Limit of one test; a mutant that makes a test wait that long counts as killed."""


def _unit(*modules: str, also: tuple[str, ...] = ()) -> dict[str, tuple[str, ...]]:
    """Return modules with the tests of the same name below ``tests/unit``."""
    return {f"{module}.py": (_test_of(module), *also) for module in modules}


def _test_of(module: str) -> str:
    folder, _, name = module.rpartition("/")
    return f"tests/unit/{folder}/test_{name}.py"


_FENCES = "tests/database/fences"
_PEOPLE = (f"{_FENCES}/test_people.py", "tests/database/test_transitions.py")

PARTS = {
    "auth": Part(
        _unit("app/access/auth", also=("tests/unit/app/access/test_token_gate.py",))
        | _unit("app/access/refused_calls", "app/access/sign_ins")
        | _unit("app/procedures/checks/fences", "app/procedures/checks/ownership")
    ),
    "cursors": Part(
        _unit("app/log/feed", also=("tests/unit/app/log/test_feed_pollers.py",)) | _unit("app/log/hub", "app/log/tail"),
        seconds=5.0,
    ),
    "ends": Part(
        {f"sql/queries/{name}.sql": (f"{_FENCES}/test_ends.py",) for name in ("monitor", "task_ends")},
        statements=("settle_tasks", "stop_siblings", "time_out_jobs"),
    ),
    "fences": Part(
        {
            "sql/queries/events.sql": (
                *(f"{_FENCES}/test_batches.py", f"{_FENCES}/test_locks.py"),
                *("tests/database/test_notifier.py", "tests/database/test_notify_full.py"),
            ),
            "sql/queries/jobs.sql": (
                *(_FENCES, "tests/database/test_unhealthy_agents.py", "tests/database/test_limits.py"),
                "tests/database/test_held_questions.py",
            ),
            "sql/queries/messages.sql": (f"{_FENCES}/test_batches.py", f"{_FENCES}/test_locks.py"),
            "sql/queries/questions.sql": (f"{_FENCES}/test_questions.py", f"{_FENCES}/test_locks.py"),
            "sql/queries/workers.sql": (
                *(f"{_FENCES}/test_{name}.py" for name in ("heartbeats", "locks", "registrations")),
                "tests/database/test_credentials.py",
            ),
        },
        statements=(
            *("acknowledge_answers", "answer_question", "append_batch", "append_batches", "ask_question", "claim_jobs"),
            *("deliver_messages", "finish_jobs", "heartbeat", "register_worker"),
        ),
        seconds=15.0,
    ),
    "files": Part(
        {"sql/queries/files.sql": (f"{_FENCES}/test_files.py", "tests/database/test_files.py")},
        statements=("begin_file", "complete_file", "write_chunk"),
    ),
    "input": Part(
        {"sql/queries/inputs.sql": (f"{_FENCES}/test_inputs.py", "tests/service/test_input.py")},
        statements=("lose_input", "read_input", "store_input", "take_input"),
    ),
    "interruptions": Part(
        {
            "sql/queries/jobs.sql": (
                *("tests/database/test_attempts.py", "tests/database/test_interruptions.py"),
                f"{_FENCES}/test_locks.py::test_a_write_waits_for_no_other_task",
            )
        },
        statements=("end_attempts",),
        seconds=60.0,
    ),
    "lease": Part(_unit("worker/lease"), seconds=5.0),
    "masking": Part(
        _unit("worker/output/secret_forms")
        | _unit(
            "worker/output/masking",
            also=tuple(f"tests/unit/worker/output/test_{name}.py" for name in ("masking_streams", "mask_socket")),
        ),
        seconds=60.0,
    ),
    "people": Part(
        {
            "sql/queries/pauses.sql": (*_PEOPLE, "tests/database/test_pause.py"),
            "sql/queries/tasks.sql": (
                *(*_PEOPLE, f"{_FENCES}/test_retries.py", f"{_FENCES}/test_locks.py"),
                "tests/database/test_candidates.py",
            ),
            "sql/queries/messages.sql": (f"{_FENCES}/test_messages.py", "tests/database/test_pause.py"),
            "sql/queries/questions.sql": (
                *(f"{_FENCES}/test_people.py", f"{_FENCES}/test_answered.py", "tests/database/test_questions.py"),
                *("tests/database/test_held_questions.py", "tests/database/test_permissions.py"),
            ),
        },
        statements=(
            *("pause_task", "resume_task", "cancel_task", "pick_job", "retry_task", "update_task", "send_message"),
            *("close_questions", "resume_answered_jobs"),
        ),
        seconds=60.0,
    ),
    "planning": Part(
        _unit("app/spawner/autoscale", "app/spawner/start_rate")
        | _unit("app/spawner/decide", "app/spawner/pod_plan", also=("tests/unit/app/spawner/test_autoscale.py",))
    ),
    "tokens": Part(
        {f"sql/queries/{name}.sql": ("tests/database/test_tokens.py",) for name in ("sessions", "tokens")},
        statements=(
            *("end_single_tokens", "find_token", "mark_used_tokens", "open_session", "prune_tokens"),
            "revoke_token",
        ),
    ),
    "wire": Part(
        _unit("app/replica/allowed_hosts", "app/rpc/client/connection", "app/rpc/client/retry")
        | _unit("app/rpc/server/websocket_frames", "app/rpc/server/websocket_opening")
    ),
}
