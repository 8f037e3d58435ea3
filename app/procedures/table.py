"""The table of all procedures: it is the API."""

from __future__ import annotations

from app.procedures import (
    append,
    audit,
    files,
    job_input,
    kv,
    questions,
    stream,
    system,
    task_lists,
    tasks,
    tokens,
    users,
    worker_protocol,
    workers,
)
from app.rpc.server.registry import Registry


def registry() -> Registry:
    """Return the API."""
    return Registry(
        {
            "tasks.create": tasks.create,
            "tasks.get": tasks.get,
            "tasks.list": task_lists.listing,
            "tasks.cancel": tasks.cancel,
            "tasks.retry": tasks.retry,
            "tasks.update": tasks.update,
            "tasks.remove": tasks.remove,
            "tasks.input": job_input.send,
            "tasks.kvGet": kv.get,
            "tasks.kvList": kv.listing,
            "tasks.kvSet": kv.set_value,
            "tasks.kvCas": kv.cas,
            "tasks.ask": questions.ask,
            "tasks.answer": questions.answer,
            "questions.list": questions.listing,
            "questions.answer": questions.give_answer,
            "workers.register": worker_protocol.register,
            "workers.heartbeat": worker_protocol.heartbeat,
            "workers.claim": worker_protocol.claim,
            "workers.append": append.append,
            "workers.input": job_input.read,
            "workers.finish": worker_protocol.finish,
            "workers.commands": worker_protocol.commands,
            "workers.list": workers.listing,
            "workers.status": workers.status,
            "workers.drain": workers.drain,
            "workers.scale": workers.scale,
            "files.begin": files.begin,
            "files.write": files.write,
            "files.commit": files.commit,
            "files.read": files.read,
            "files.list": files.listing,
            "stream.taskEvents": stream.task_events,
            "stream.taskOutput": stream.task_output,
            "stream.taskProgress": stream.task_progress,
            "stream.systemEvents": stream.system_events,
            "system.health": system.health,
            "system.measure": system.measure,
            "tokens.create": tokens.create,
            "tokens.list": tokens.listing,
            "tokens.revoke": tokens.revoke,
            "audit.list": audit.listing,
            "users.list": users.listing,
            "users.add": users.add,
            "users.set": users.change,
            "users.disable": users.disable,
            "users.limitRole": users.limit_role,
            "users.whoami": users.whoami,
        }
    )
