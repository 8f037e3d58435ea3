/** The form of a new task: what its fields hold, what is wrong with them, and the input that they mean. */

import type { Inputs } from '../types.ts';

type Input = Inputs['tasks']['create'];
export type Approval = NonNullable<Input['approve']>;

/** What each field holds, as it was typed, before anything is. */
export const EMPTY = {
  prompt: '',
  /** One agent for all jobs, or several in turn; an empty one is the first that workers offer. */
  agents: [''],
  workers: '1',
  labels: '',
  model: '',
  setup: '',
  checks: '',
  checkTries: '',
  approve: '' as Approval | '',
  maxCost: '',
  maxTokens: '',
  maxTurns: '',
  onBudget: 'ask' as 'ask' | 'fail',
  after: '',
  afterAnyEnd: false,
  timeout: '',
  startWithin: '',
  retries: '0',
  priority: '0',
  failFast: false,
  requires: '',
  env: '',
  network: 'all' as 'all' | 'none',
  cpu: '',
  memory: '',
  gpu: '',
};

export type NewTask = typeof EMPTY;
export type Field = keyof NewTask;
export type Problems = Partial<Record<Field, string>>;

const SECONDS = 'a time with its unit: 2h, 10m or 30s';
// as the command reads them: 4G is 4Gi
const UNITS = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };

/** Return what is wrong with each field of a form, as a sentence without its end. */
export function problemsOf(task: NewTask): Problems {
  const problems: Problems = {};
  const need = (field: Field, holds: boolean, what: string) => {
    if (!holds) problems[field] ??= what;
  };
  need('prompt', task.prompt.trim() !== '', 'write what is to be done');
  need('workers', whole(task.workers, 1), 'a whole number from 1 on');
  const jobs = Number(task.workers);
  need('workers', jobs >= task.agents.length, `at least ${task.agents.length}: each agent needs a job`);
  need('retries', whole(task.retries, 0), 'a whole number from 0 on');
  need('priority', /^-?\d{1,7}$/.test(task.priority.trim()), 'a whole number');
  for (const field of ['timeout', 'startWithin'] as const) {
    need(field, task[field].trim() === '' || (secondsOf(task[field]) ?? 0) > 0, SECONDS);
  }
  need('labels', listOf(task.labels).every(isPair), 'NAME=VALUE, several by spaces');
  need('env', linesOf(task.env).every(isPair), 'NAME=VALUE, one a line');
  need('after', listOf(task.after).every(isTask), 'tasks like task-12, several by spaces');
  need(
    'checkTries',
    optional(task.checkTries, (text) => whole(text, 1)),
    'a whole number from 1 on',
  );
  need('maxCost', optional(task.maxCost, positive), 'US dollars, more than 0');
  need(
    'maxTokens',
    optional(task.maxTokens, (text) => (countOf(text) ?? 0) >= 1),
    'a number: 500000, 500k or 2m',
  );
  need(
    'maxTurns',
    optional(task.maxTurns, (text) => whole(text, 1)),
    'a whole number from 1 on',
  );
  need('cpu', optional(task.cpu, positive), 'a number of cores');
  need('gpu', optional(task.gpu, positive), 'a number of GPUs');
  need(
    'memory',
    optional(task.memory, (text) => (bytesOf(text) ?? 0) >= 1),
    'a size: 512M, 4G or 4Gi',
  );
  return problems;
}

/** Return a form without problems as the input of `tasks.create`, over what a template says beyond the form. */
export function inputOf(task: NewTask, template: Partial<Input> = {}): Input {
  const seconds = (text: string) => (text.trim() === '' ? undefined : secondsOf(text));
  const { agents: _, ...rest } = template;
  return present({
    ...rest,
    prompt: task.prompt,
    ...(task.agents.length > 1 ? { agent: undefined, agents: task.agents } : { agent: task.agents[0] }),
    workers: Number(task.workers),
    labels: Object.fromEntries(listOf(task.labels).map(halves)),
    requires: listOf(task.requires),
    retries: Number(task.retries),
    priority: Number(task.priority),
    network: task.network,
    onFailure: task.failFast ? 'fail_fast' : 'continue',
    timeoutSeconds: seconds(task.timeout),
    startWithinSeconds: seconds(task.startWithin),
    agentArgs: argsOf(task, template),
    checks: checksOf(task, template),
    approve: task.approve === '' ? undefined : task.approve,
    budget: budgetOf(task),
    after: listOf(task.after).map(taskId),
    afterAnyEnd: task.afterAnyEnd,
    env: Object.fromEntries(linesOf(task.env).map(halves)),
    resources: resourcesOf(task),
  }) as Input;
}

/** Return the input of a template as a form. */
export function formOf(task: Partial<Input>): NewTask {
  const text = (value: number | string | null | undefined) => (value == null ? '' : String(value));
  const { checks, budget, resources } = task;
  return {
    ...EMPTY,
    prompt: task.prompt ?? '',
    agents: task.agents?.length ? task.agents : [task.agent ?? 'shell'],
    workers: text(task.workers ?? 1),
    labels: pairsOf(task.labels, ' '),
    model: modelOf(task),
    setup: checks?.setup ?? '',
    checks: (checks?.commands ?? []).join('\n'),
    checkTries: checks?.tries === undefined || checks.tries === 3 ? '' : text(checks.tries),
    approve: task.approve ?? '',
    maxCost: text(budget?.costUsd),
    maxTokens: text(budget?.tokens),
    maxTurns: text(budget?.turns),
    onBudget: budget?.onBudget ?? 'ask',
    after: (task.after ?? []).join(' '),
    afterAnyEnd: task.afterAnyEnd ?? false,
    timeout: task.timeoutSeconds == null ? '' : `${task.timeoutSeconds}s`,
    startWithin: task.startWithinSeconds == null ? '' : `${task.startWithinSeconds}s`,
    retries: text(task.retries ?? 0),
    priority: text(task.priority ?? 0),
    failFast: task.onFailure === 'fail_fast',
    requires: (task.requires ?? []).join(' '),
    network: task.network ?? 'all',
    cpu: text(resources?.cpu || undefined),
    memory: text(resources?.memory || undefined),
    gpu: text(resources?.gpu || undefined),
  };
}

/** Which field the member of an input belongs to that a server names, like `checks.tries`. */
export function fieldOf(member: string): Field | null {
  const [first = '', second = ''] = member.split(/[.[]/);
  const named: Record<string, Field> = {
    agent: 'agents',
    agentArgs: 'model',
    timeoutSeconds: 'timeout',
    startWithinSeconds: 'startWithin',
    onFailure: 'failFast',
    'checks.setup': 'setup',
    'checks.tries': 'checkTries',
    'budget.costUsd': 'maxCost',
    'budget.tokens': 'maxTokens',
    'budget.turns': 'maxTurns',
    'budget.onBudget': 'onBudget',
    budget: 'maxCost',
    'resources.memory': 'memory',
    'resources.gpu': 'gpu',
    resources: 'cpu',
  };
  const field = named[`${first}.${second}`] ?? named[first] ?? first;
  return field in EMPTY ? (field as Field) : null;
}

/** Return the names of the variables in a template's prompt, each once: `{name}`, where `{{name}}` is text. */
export function variablesOf(prompt: string): string[] {
  const names = [...prompt.matchAll(PLACE)].map((found) => found[2]).filter((name) => name !== undefined);
  return [...new Set(names)];
}

/** Return a template's prompt with its variables filled in. */
export function filled(prompt: string, values: { [name: string]: string }): string {
  return prompt.replace(PLACE, (place: string, text: string | undefined, name: string | undefined) =>
    name === undefined ? `{${text}}` : (values[name] ?? place),
  );
}

// as app/core/prompt_variables.py has it
const PLACE = /(?<![${])(?:\{\{([A-Za-z_][A-Za-z0-9_]{0,63})\}\}|\{([A-Za-z_][A-Za-z0-9_]{0,63})\})/g;

/** Return the seconds of `2h`, `10m`, `30s` or `90`; undefined for anything else. */
export function secondsOf(text: string): number | undefined {
  const found = /^(\d{1,9}(?:\.\d{1,6})?)\s*([dhms]?)$/.exec(text.trim());
  if (found === null) return undefined;
  const unit = { d: 86_400, h: 3600, m: 60, s: 1, '': 1 }[found[2] as 'd' | 'h' | 'm' | 's' | ''];
  return Number(found[1]) * unit;
}

/** Return the bytes of `512M`, `4G` or `4Gi`; undefined for anything else. */
export function bytesOf(text: string): number | undefined {
  const found = /^(\d{1,15}(?:\.\d{1,6})?)\s*([kmgt]?)i?b?$/i.exec(text.trim());
  if (found === null) return undefined;
  return Math.round(Number(found[1]) * UNITS[(found[2] ?? '').toLowerCase() as keyof typeof UNITS]);
}

/** Return the number of `500000`, `500k` or `2m`; undefined for anything else. */
export function countOf(text: string): number | undefined {
  const found = /^(\d{1,15}(?:\.\d{1,6})?)\s*([km]?)$/i.exec(text.trim());
  if (found === null) return undefined;
  return Math.round(Number(found[1]) * ({ k: 1e3, m: 1e6 }[(found[2] ?? '').toLowerCase()] ?? 1));
}

export function listOf(text: string): string[] {
  return text.split(/[\s,]+/).filter((word) => word !== '');
}

export function linesOf(text: string): string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
}

/** Return a task's id as the server has it: `12` is `task-12`. */
export function taskId(text: string): string {
  return /^\d/.test(text) ? `task-${text}` : text;
}

function argsOf(task: NewTask, template: Partial<Input>) {
  const { model: _, ...others } = (template.agentArgs ?? {}) as { [name: string]: unknown };
  const args = { ...others, ...(task.model.trim() === '' ? {} : { model: task.model.trim() }) };
  return Object.keys(args).length === 0 ? undefined : args;
}

function checksOf(task: NewTask, template: Partial<Input>): Input['checks'] {
  const commands = linesOf(task.checks);
  const setup = task.setup.trim();
  if (commands.length === 0 && setup === '') return undefined;
  const { timeoutSeconds } = template.checks ?? {};
  return present({
    commands,
    setup: setup === '' ? undefined : setup,
    tries: task.checkTries.trim() === '' ? undefined : Number(task.checkTries),
    timeoutSeconds,
  });
}

function budgetOf(task: NewTask): Input['budget'] {
  const limits = present({
    costUsd: task.maxCost.trim() === '' ? undefined : Number(task.maxCost),
    tokens: countOf(task.maxTokens),
    turns: task.maxTurns.trim() === '' ? undefined : Number(task.maxTurns),
  });
  return Object.keys(limits).length === 0 ? undefined : { ...limits, onBudget: task.onBudget };
}

function resourcesOf(task: NewTask): Input['resources'] {
  const wanted = present({
    cpu: task.cpu.trim() === '' ? undefined : Number(task.cpu),
    memory: bytesOf(task.memory),
    gpu: task.gpu.trim() === '' ? undefined : Number(task.gpu),
  });
  return Object.keys(wanted).length === 0 ? undefined : wanted;
}

function modelOf(task: Partial<Input>): string {
  const { model } = (task.agentArgs ?? {}) as { model?: unknown };
  return typeof model === 'string' ? model : '';
}

function pairsOf(values: { [name: string]: string } | undefined, between: string): string {
  return Object.entries(values ?? {})
    .map(([name, value]) => `${name}=${value}`)
    .join(between);
}

/** Return an object without its members that are undefined. */
function present<T extends object>(values: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const members = Object.entries(values).filter(([, value]) => value !== undefined);
  return Object.fromEntries(members) as { [K in keyof T]?: Exclude<T[K], undefined> };
}

function halves(pair: string): [string, string] {
  const at = pair.indexOf('=');
  return [pair.slice(0, at), pair.slice(at + 1)];
}

function isPair(text: string): boolean {
  return text.indexOf('=') > 0;
}

function isTask(text: string): boolean {
  return /^(task-)?\d{1,18}$/.test(text);
}

function whole(text: string, least: number): boolean {
  return /^\d{1,9}$/.test(text.trim()) && Number(text) >= least;
}

function positive(text: string): boolean {
  return Number(text) > 0 && Number.isFinite(Number(text));
}

function optional(text: string, holds: (text: string) => boolean): boolean {
  return text.trim() === '' || holds(text);
}
