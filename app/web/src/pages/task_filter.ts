/** What the list of tasks is filtered by, as the page's address has it and as the API takes it. */

export const STATUSES = ['queued', 'running', 'paused', 'succeeded', 'failed', 'cancelled'];

export interface Filter {
  status: string | null;
  text: string;
  mine: boolean;
  /** `NAME=VALUE`, or `NAME` for any value. */
  labels: string[];
}

/** Read a filter from the query of an address. */
export function filterOf(search: string): Filter {
  const values = new URLSearchParams(search);
  const status = values.get('status');
  return {
    status: status !== null && STATUSES.includes(status) ? status : null,
    text: values.get('q') ?? '',
    mine: values.get('mine') === '1',
    labels: values.getAll('label').filter((label) => label !== ''),
  };
}

/** Write a filter as the query of an address, or an empty string. */
export function searchOf(filter: Filter): string {
  const values = new URLSearchParams();
  if (filter.status !== null) values.set('status', filter.status);
  if (filter.text !== '') values.set('q', filter.text);
  if (filter.mine) values.set('mine', '1');
  for (const label of filter.labels) values.append('label', label);
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
    ...(valued.length === 0 ? {} : { labels: Object.fromEntries(valued.map(halves)) }),
    ...(named.length === 0 ? {} : { labelNames: named }),
  };
}

function halves(label: string): [string, string] {
  const at = label.indexOf('=');
  return [label.slice(0, at), label.slice(at + 1)];
}
