/** Gets from the server what the jobs of a task changed: the figures of each, and the patch of one. */

import type { Connection } from '../api.ts';
import type { Outputs } from '../types.ts';

type FileInfo = Outputs['files']['list']['items'][number];

/** How many files and lines a result changes. */
export interface Changes {
  files: number;
  added: number;
  removed: number;
}

export interface Patch {
  text: string;
  /** The changes are too large for a patch; the text is empty. */
  cut: boolean;
}

interface About {
  cut?: boolean;
}

/** Return the newest patch of a job, or null if it has none. */
export async function loadPatch(connection: Connection, taskId: string, job: number): Promise<Patch | null> {
  for await (const file of filesOf(connection, taskId)) {
    if (file.kind === 'patch' && file.job === job) {
      const about = (file.about ?? {}) as About;
      return { text: await fetchText(connection, file.fileId), cut: about.cut === true };
    }
  }
  return null;
}

/** Return what the result of each job changes, by its number; only of jobs that have one. */
export async function loadChanges(connection: Connection, taskId: string): Promise<Map<number, Changes>> {
  const changes = new Map<number, Changes>();
  for await (const file of filesOf(connection, taskId)) {
    if (file.kind === 'result' && file.job !== undefined) changes.set(file.job, changesOf(file.about));
  }
  return changes;
}

/** Read the description of a result. A worker of somebody's own may write anything there. */
export function changesOf(about: unknown): Changes {
  const members = (typeof about === 'object' && about !== null ? about : {}) as Record<string, unknown>;
  const count = (value: unknown) => (Number.isSafeInteger(value) && (value as number) > 0 ? (value as number) : 0);
  return { files: count(members.files), added: count(members.added), removed: count(members.removed) };
}

async function* filesOf(connection: Connection, taskId: string): AsyncGenerator<FileInfo> {
  let cursor: string | undefined;
  do {
    const page = await connection.api.files.list.query({ taskId, ...(cursor === undefined ? {} : { cursor }) });
    yield* page.items;
    cursor = page.nextCursor;
  } while (cursor !== undefined);
}

async function fetchText(connection: Connection, fileId: string): Promise<string> {
  const answer = await fetch(`/files/${fileId}`, { headers: { authorization: `Bearer ${connection.token}` } });
  if (!answer.ok) {
    const body = (await answer.json().catch(() => ({}))) as { error?: { message?: string } };
    throw new Error(body.error?.message ?? `the server answered ${answer.status}`);
  }
  return answer.text();
}
