"""The procedures ``templates.*``: tasks to run again by a name.

A template is the input of ``tasks.create`` without what belongs to one run: values of the environment, files and input
on stdin. Of a repository it keeps the branch of the remote, and each job starts from its newest commit.

Authority: everybody who may run tasks uses all templates, where tasks are private a developer only own ones.
A developer changes and removes own ones, operators and administrators all. It is checked when it is saved, and again
when it is used, by the rules of that time and with the rights of who uses it.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from app.access.auth import RUN_TASKS
from app.access.context import Context
from app.client import administration
from app.core import prompt_variables
from app.core.approvals import CAPABILITIES, approval_in
from app.core.capabilities import BROUGHT, BUDGETS, CHECKS, FOLLOWS_REF, NO_NETWORK, STDIN
from app.core.environment_cipher import EnvironmentCipher
from app.core.prompt_variables import VariablesWrong
from app.core.reasons import refusal
from app.loops.scheduler import LABEL
from app.procedures.checks.arguments import refuse_nul
from app.procedures.checks.ids import no_such_task, parse_task
from app.procedures.checks.ownership import check_may_see, only_creator, only_own
from app.procedures.checks.paging import Page, PageInput, fit, next_cursor
from app.procedures.checks.workspaces import Workspace
from app.procedures.tasks import TaskCreateInput, checked
from app.rpc.errors import ProcedureError
from app.rpc.server.procedure import mutation, query
from app.settings import AppSettings
from app.shapes.records import RecordShape, Wire
from db import templates
from db.actor import Actor
from db.model import NewTask
from db.templates import TemplateRow

TEMPLATES = 200
"""The most templates of one user or service."""
_PROMPT_CHARS = 200
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}", re.ASCII)
_IMPLIED = frozenset({BROUGHT, BUDGETS, CHECKS, FOLLOWS_REF, NO_NETWORK, *CAPABILITIES})
"""Capabilities that a task requires because of other members of its input."""


class TemplateSaveInput(Wire):
    """A template: the input of a task, or ``fromTask`` with another ``prompt`` if one is given."""

    name: Annotated[str, Meta(max_length=200)]
    task: TaskCreateInput | None = None
    from_task: str | None = None
    prompt: str | None = None
    overwrite: bool = False


class TemplateInput(Wire):
    """A template by its name."""

    name: Annotated[str, Meta(max_length=200)]


class TaskTemplate(administration.TaskTemplate, RecordShape, frozen=True, kw_only=True):
    """A template; ``task`` is the input of tasks.create, and ``variables`` are those in its prompt.

    ``left_out`` is what the task it was saved from had and a template has not; only in the answer to templates.save.
    """

    created_at: datetime

    @classmethod
    def of(cls, row: TemplateRow, left_out: list[str] | None = None) -> TaskTemplate:
        """Make the shape of a record."""
        variables = prompt_variables.names(row.task["prompt"])
        return cls.from_record(row, variables=variables, saved_by=row.owner_name, left_out=left_out or None)


class TemplateSummary(administration.TemplateSummary, RecordShape, frozen=True, kw_only=True):
    """A template in a list, with the beginning of its prompt."""


class Templates(Page[TemplateSummary]):
    """A page of templates by name."""


class TemplateRemoved(administration.TemplateRemoved, RecordShape, frozen=True, kw_only=True):
    """The template is gone; its tasks stay."""


@mutation(access=RUN_TASKS)
async def save(context: Context, input: TemplateSaveInput) -> TaskTemplate:
    """Save a template. One that exists is changed only with ``overwrite``."""
    if not _NAME.fullmatch(input.name):
        text = f"name: {input.name[:100]!r} cannot be a template's name"
        step = "begin with a small letter or a digit, then also . _ and -, 63 characters at most"
        raise refusal("invalid_input", text, field="name", hint=step)
    task, left_out = await _content(context, input)
    services, caller = context.services, context.caller
    actor = context.actor("templates.save")
    checked(services.settings, services.cipher, task, actor)
    stored = await templates.save(
        context.db,
        input.name,
        msgspec.to_builtins(task),
        saved_by=caller.account,
        overwrite=input.overwrite,
        only=only_own(context),
        most=TEMPLATES,
        actor=actor,
    )
    if stored is None:
        raise await _not_saved(context, input)
    return TaskTemplate.of(stored, left_out)


async def _content(context: Context, input: TemplateSaveInput) -> tuple[TaskCreateInput, list[str]]:
    """Return the template's task, and what it lacks of the task that it is made from."""
    if (input.task is None) == (input.from_task is None):
        raise refusal("invalid_input", "task: give either task or fromTask", field="task")
    if input.task is None:
        task, left_out = await _copy(context, input.from_task or "")
    else:
        task, left_out = input.task, []
    if task.stdin or STDIN in task.requires:
        raise refusal("invalid_input", "stdin: a template has no input on stdin", field="stdin")
    one_run = task.workspace if task.workspace and not _lasts(task.workspace) else None
    for name, value in (
        ("env", task.env),
        ("workspace", one_run),
        ("idempotencyKey", task.idempotency_key),
        ("after", task.after),
    ):
        if value:
            text = f"{name}: a template has none, because it belongs to one run"
            raise refusal("invalid_input", text, field=name, hint="leave it out, and give it when the template is run")
    return (task if input.prompt is None else msgspec.structs.replace(task, prompt=input.prompt)), left_out


async def _copy(context: Context, text: str) -> tuple[TaskCreateInput, list[str]]:
    """Return the input of a task without what belongs to it alone, and the names of that."""
    task_id = parse_task(text)
    await check_may_see(context, task_id)
    source = await templates.source(context.db, task_id)
    if source is None:
        raise no_such_task(text)
    members = {name: value for name, value in source.task.items() if value is not None}
    requires = members["requires"]
    workspace = members.pop("workspace", None)
    lasting = _lasting(workspace or {})
    if workspace is not None:  # an empty one brings back what the agent makes
        members["workspace"] = lasting
    is_kept = {name: name not in _IMPLIED and (bool(lasting) or not name.startswith("git:")) for name in requires}
    members["requires"] = [name for name in requires if is_kept[name]]
    members["labels"].pop(LABEL, None)
    if members.get("timeoutSeconds") == context.services.settings.task_timeout:
        del members["timeoutSeconds"]  # the setting counts, as it is when the template is used
    if approval := approval_in(requires):
        members["approve"] = approval
    if NO_NETWORK in requires:
        members["network"] = "none"
    left_out = [*(["workspace"] if workspace and not lasting else []), *(f"env.{name}" for name in source.env_names)]
    return msgspec.convert(members, TaskCreateInput), left_out


def _lasts(workspace: Workspace) -> bool:
    """Return whether a workspace has nothing that was sent for one run: it is empty, or a branch of a remote."""
    sent = (workspace.file_id, workspace.commit, workspace.brought, workspace.shallow, workspace.cache_key)
    return not any(sent) and not (workspace.remote and workspace.remote.commit)


def _lasting(workspace: dict[str, Any]) -> dict[str, Any]:
    """Return of a task's workspace what lasts: the branch that its commit was on. Empty: it has none."""
    remote = workspace.get("remote") or {}
    if not remote.get("ref"):
        return {}
    kept = {name: workspace[name] for name in ("branch", "directory", "push") if workspace.get(name)}
    return {**kept, "remote": {"url": remote["url"], "ref": remote["ref"]}}


async def _not_saved(context: Context, input: TemplateSaveInput) -> ProcedureError:
    """Return why a template was not saved."""
    template = await templates.find(context.db, input.name)
    if template is None:
        text = f"you have {TEMPLATES} templates, which is the limit"
        return refusal("limit_exceeded", text, hint="remove one first: ado template remove NAME", limit=TEMPLATES)
    if input.overwrite:
        text = f"the template {input.name} belongs to somebody else: a developer changes only own templates"
        return refusal("forbidden", text, hint="choose another name, or ask its owner, an operator or an administrator")
    return refusal("template_exists", f"there is a template {input.name} already")


@query(access=RUN_TASKS)
async def get(context: Context, input: TemplateInput) -> TaskTemplate:
    """Return a template."""
    return TaskTemplate.of(await find(context, input.name))


@query(access=RUN_TASKS)
async def listing(context: Context, input: PageInput) -> Templates:
    """Return the templates by name, with the beginnings of their prompts."""
    refuse_nul(cursor=input.cursor)
    only, after = only_creator(context), input.cursor or ""
    lines = await templates.listing(context.db, only, after, prompt_chars=_PROMPT_CHARS, most=input.limit + 1)
    summaries = [
        TemplateSummary.from_record(line, agent=line.agent or "shell", saved_by=line.owner_name) for line in lines
    ]
    items = fit(summaries[: input.limit], context.services.settings.body_bytes // 2)
    more = len(items) < len(summaries)
    return Templates(items=items, next_cursor=next_cursor(more, items[-1].name if items else ""))


@mutation(access=RUN_TASKS)
async def remove(context: Context, input: TemplateInput) -> TemplateRemoved:
    """Remove a template that no schedule uses."""
    template = await find(context, input.name)
    used = await templates.remove(context.db, template.name, only_own(context), context.actor("templates.remove"))
    if used is None:
        text = f"the template {template.name} belongs to somebody else: a developer removes only own templates"
        raise refusal("forbidden", text, hint="ask its owner, an operator or an administrator")
    if used:
        names = ", ".join(f"schedule-{number}" for number in used)
        raise refusal("template_in_use", f"the template {template.name} is used by {names}")
    return TemplateRemoved(name=template.name)


async def find(context: Context, name: str) -> TemplateRow:
    """Return a template that the caller may use. Raises NOT_FOUND."""
    template = await templates.find(context.db, name, only_creator(context)) if "\0" not in name else None
    if template is None:
        raise refusal("no_such_template", f"there is no template {name[:100]!r}")
    return template


def task_of(
    settings: AppSettings,
    cipher: EnvironmentCipher,
    task: dict[str, Any],
    variables: dict[str, str],
    idempotency_key: str | None,
    actor: Actor | None,
) -> NewTask:
    """Return the task of a template, as the rules are now. Raises BAD_REQUEST, FORBIDDEN."""
    try:
        prompt = prompt_variables.fill(task["prompt"], variables)
        members = {**task, "prompt": prompt, "idempotencyKey": idempotency_key}
        return checked(settings, cipher, msgspec.convert(members, TaskCreateInput), actor)
    except VariablesWrong as error:
        raise refusal("invalid_input", f"variables: {error}", field="variables", hint=error.next_step) from None
    except msgspec.ValidationError as error:
        text = f"the template no longer fits this release: {error}"
        raise refusal("invalid_input", text, hint="save it again") from None
