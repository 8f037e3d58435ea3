/** Addresses: which page a path names, and what the part after `#` says about a place on it. */

export type Route =
  | { page: 'inbox' }
  | { page: 'tasks' }
  | { page: 'task'; taskId: string }
  | { page: 'schedules' }
  | { page: 'workers' }
  | { page: 'health' }
  | { page: 'new' }
  | { page: 'unknown'; path: string };

const PLAIN = ['inbox', 'tasks', 'schedules', 'workers', 'health', 'new'] as const;

/** Return the page that a path names. */
export function routeOf(path: string): Route {
  const parts = path.split('/').filter((part) => part !== '');
  const [first, second] = parts;
  if (parts.length === 0) return { page: 'inbox' };
  if (parts.length === 1) {
    const page = PLAIN.find((name) => name === first);
    if (page !== undefined) return { page };
  }
  if (parts.length === 2 && first === 'tasks' && second !== undefined && /^task-\d{1,18}$/.test(second)) {
    return { page: 'task', taskId: second };
  }
  return { page: 'unknown', path };
}

/** A place on a task's page: a job, an event of the log, a tab. */
export interface Place {
  job?: number;
  seq?: number;
  tab?: string;
}

/** Read a place from the part of an address after `#`; what it cannot read is left out. */
export function placeOf(hash: string): Place {
  const values = new URLSearchParams(hash.replace(/^#/, ''));
  const place: Place = {};
  const job = whole(values.get('job'));
  const seq = whole(values.get('seq'));
  const tab = values.get('tab');
  if (job !== undefined) place.job = job;
  if (seq !== undefined) place.seq = seq;
  if (tab !== null && /^[a-z]{1,20}$/.test(tab)) place.tab = tab;
  return place;
}

/** Write a place as the part of an address after `#`, or an empty string. */
export function hashOf(place: Place): string {
  const values = new URLSearchParams();
  if (place.tab !== undefined) values.set('tab', place.tab);
  if (place.job !== undefined) values.set('job', String(place.job));
  if (place.seq !== undefined) values.set('seq', String(place.seq));
  const text = values.toString();
  return text === '' ? '' : `#${text}`;
}

function whole(text: string | null): number | undefined {
  return text !== null && /^\d{1,15}$/.test(text) ? Number(text) : undefined;
}
