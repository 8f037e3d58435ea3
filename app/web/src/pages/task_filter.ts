/** What the list of tasks is filtered by, as the page's address has it and as the API takes it. */

export const STATUSES = ['queued', 'running', 'paused', 'succeeded', 'failed', 'cancelled'];

export interface Filter {
  status: string | null;
  text: string;
  mine: boolean;
  /** An agent of one of the task's jobs; null: any. */
  agent: string | null;
  /** `NAME=VALUE`, or `NAME` for any value. */
  labels: string[];
  /** The label by whose values the tasks of a page are grouped; null: they are not. */
  group: string | null;
}

/** Read a filter from the query of an address. */
export function filterOf(search: string): Filter {
  const values = new URLSearchParams(search);
  const status = values.get('status');
  return {
    status: status !== null && STATUSES.includes(status) ? status : null,
    text: values.get('q') ?? '',
    mine: values.get('mine') === '1',
    agent: values.get('agent') || null,
    labels: values.getAll('label').filter((label) => label !== ''),
    group: values.get('group') || null,
  };
}

/** Write a filter as the query of an address, or an empty string. */
export function searchOf(filter: Filter): string {
  const values = new URLSearchParams();
  if (filter.status !== null) values.set('status', filter.status);
  if (filter.text !== '') values.set('q', filter.text);
  if (filter.mine) values.set('mine', '1');
  if (filter.agent !== null) values.set('agent', filter.agent);
  for (const label of filter.labels) values.append('label', label);
  if (filter.group !== null) values.set('group', filter.group);
  const text = values.toString();
  return text === '' ? '' : `?${text}`;
}

/** Return a filter as the input of `tasks.list`. */
export function inputOf(filter: Filter) {
  const valued = filter.labels.filter((label) => label.includes('='));
  const named = filter.labels.filter((label) => !label.includes('='));
  return {
    ...(filter.status === null ? {} : { status: filter.status as 'queued' }),
    ...(filter.text === '' ? {} : { search: filter.text }),
    ...(filter.mine ? { mine: true } : {}),
    ...(filter.agent === null ? {} : { agents: [filter.agent] }),
    ...(valued.length === 0 ? {} : { labels: Object.fromEntries(valued.map(halves)) }),
    ...(named.length === 0 ? {} : { labelNames: named }),
  };
}

/** Tasks with one value of a label; null: those without the label. */
export interface Group<T> {
  value: string | null;
  tasks: T[];
}

/** Group tasks by the values of a label, in the order in which the values first come; tasks without it are last. */
export function grouped<T extends { labels: { [name: string]: string } }>(tasks: T[], label: string): Group<T>[] {
  const groups = new Map<string | null, T[]>();
  for (const task of tasks) {
    const value = Object.hasOwn(task.labels, label) ? (task.labels[label] ?? null) : null;
    groups.set(value, [...(groups.get(value) ?? []), task]);
  }
  const without = groups.get(null);
  groups.delete(null);
  if (without !== undefined) groups.set(null, without);
  return [...groups].map(([value, members]) => ({ value, tasks: members }));
}

function halves(label: string): [string, string] {
  const at = label.indexOf('=');
  return [label.slice(0, at), label.slice(at + 1)];
}
