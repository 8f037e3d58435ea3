/** The command of a terminal that does what a form says. */

import { countOf, EMPTY, linesOf, listOf, type NewTask, taskId } from './new_task.ts';

/** Quote a word for a shell. */
export function quoted(word: string): string {
  return /^[A-Za-z0-9_@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
}

/** A template whose prompt a form has as it is, its form, and the values of its variables. */
export interface Template {
  name: string;
  form: NewTask;
  variables: { [name: string]: string };
}

/** Return the command that is equal to a form. */
export function commandOf(task: NewTask, template?: Template): string {
  const words = ['ado', 'run', '--remote'];
  const before = template?.form ?? EMPTY;
  const option = (name: string, field: keyof NewTask, values = [String(task[field]).trim()]) => {
    if (String(task[field]) === String(before[field])) return;
    for (const value of values) if (value !== '') words.push(name, quoted(value));
  };
  const flag = (name: string, field: 'afterAnyEnd' | 'failFast') => {
    if (task[field] && !before[field]) words.push(name);
  };
  option('--workers', 'workers');
  option('--agent', 'agents', task.agents);
  option('--model', 'model');
  option('--label', 'labels', listOf(task.labels));
  option('--setup', 'setup');
  option('--check', 'checks', linesOf(task.checks));
  option('--check-tries', 'checkTries');
  option('--approve', 'approve');
  option('--max-cost', 'maxCost');
  option('--max-tokens', 'maxTokens', [String(countOf(task.maxTokens) ?? task.maxTokens)]);
  option('--max-turns', 'maxTurns');
  if (task.maxCost || task.maxTokens || task.maxTurns) option('--on-budget', 'onBudget');
  option('--after', 'after', listOf(task.after).map(taskId));
  flag('--after-any-end', 'afterAnyEnd');
  option('--timeout', 'timeout');
  option('--start-within', 'startWithin');
  option('--retries', 'retries');
  option('--priority', 'priority');
  flag('--fail-fast', 'failFast');
  option('--require', 'requires', listOf(task.requires));
  option('--env', 'env', linesOf(task.env));
  option('--network', 'network');
  option('--cpu', 'cpu');
  option('--memory', 'memory');
  option('--gpu', 'gpu');
  if (template !== undefined) {
    for (const [name, value] of Object.entries(template.variables)) words.push('--var', quoted(`${name}=${value}`));
    words.push(`@${template.name}`);
  } else words.push(quoted(task.prompt === '' ? 'PROMPT' : task.prompt));
  return words.join(' ');
}
