/** The command of a terminal that does what a form says. */

export interface NewTask {
  prompt: string;
  agent: string;
  model: string;
  workers: number;
  labels: string;
  requires: string;
  timeout: string;
  retries: number;
  priority: number;
  failFast: boolean;
  setup: string;
  checks: string;
  network: 'all' | 'none';
}

export const EMPTY: NewTask = {
  prompt: '',
  agent: '',
  model: '',
  workers: 1,
  labels: '',
  requires: '',
  timeout: '',
  retries: 0,
  priority: 0,
  failFast: false,
  setup: '',
  checks: '',
  network: 'all',
};

/** Quote a word for a shell. */
export function quoted(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** Return the command that is equal to a form. */
export function commandOf(task: NewTask): string {
  const words = ['ado', 'run', '--remote'];
  const option = (name: string, value: string | number, unless: string | number = '') => {
    if (value !== unless) words.push(name, quoted(String(value)));
  };
  option('--workers', task.workers, 1);
  option('--agent', task.agent);
  option('--model', task.model);
  for (const label of listOf(task.labels)) option('--label', label);
  for (const capability of listOf(task.requires)) option('--require', capability);
  option('--timeout', task.timeout);
  option('--retries', task.retries, 0);
  option('--priority', task.priority, 0);
  if (task.failFast) words.push('--fail-fast');
  option('--network', task.network, 'all');
  option('--setup', task.setup);
  for (const check of linesOf(task.checks)) option('--check', check);
  words.push(quoted(task.prompt === '' ? 'PROMPT' : task.prompt));
  return words.join(' ');
}

/** Return a form as the input of `tasks.create`. Throws an Error that says which field is wrong. */
export function inputOf(task: NewTask) {
  const checks = linesOf(task.checks);
  const seconds = task.timeout === '' ? null : secondsOf(task.timeout);
  if (seconds === undefined) throw new Error('The time limit is a number with a unit: 2h, 10m or 30s.');
  return {
    prompt: task.prompt,
    agent: task.agent,
    workers: task.workers,
    retries: task.retries,
    priority: task.priority,
    labels: Object.fromEntries(listOf(task.labels).map(nameAndValue)),
    requires: listOf(task.requires),
    network: task.network,
    onFailure: task.failFast ? ('fail_fast' as const) : ('continue' as const),
    ...(task.model === '' ? {} : { agentArgs: { model: task.model } }),
    ...(seconds === null ? {} : { timeoutSeconds: seconds }),
    ...(checks.length === 0 && task.setup === ''
      ? {}
      : { checks: { commands: checks, ...(task.setup === '' ? {} : { setup: task.setup }) } }),
  };
}

/** Return the seconds of `2h`, `10m`, `30s` or `90`; undefined for anything else. */
export function secondsOf(text: string): number | undefined {
  const found = /^(\d{1,9})\s*([dhms]?)$/.exec(text.trim());
  if (found === null) return undefined;
  const unit = { d: 86_400, h: 3600, m: 60, s: 1, '': 1 }[found[2] as 'd' | 'h' | 'm' | 's' | ''];
  return Number(found[1]) * unit;
}

function listOf(text: string): string[] {
  return text.split(/[\s,]+/).filter((word) => word !== '');
}

function linesOf(text: string): string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
}

function nameAndValue(label: string): [string, string] {
  const at = label.indexOf('=');
  if (at < 1) throw new Error(`The label ${label} has no value: write NAME=VALUE.`);
  return [label.slice(0, at), label.slice(at + 1)];
}
