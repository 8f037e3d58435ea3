/** Gets the patch of a job's result from the server. */

import type { Connection } from '../api.ts';

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
  let cursor: string | undefined;
  do {
    const input = { taskId, ...(cursor === undefined ? {} : { cursor }) };
    const page = await connection.api.files.list.query(input);
    const file = page.items.find((item) => item.kind === 'patch' && item.job === job);
    if (file !== undefined) {
      const about = (file.about ?? {}) as About;
      return { text: await fetchText(connection, file.fileId), cut: about.cut === true };
    }
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return null;
}

async function fetchText(connection: Connection, fileId: string): Promise<string> {
  const answer = await fetch(`/files/${fileId}`, { headers: { authorization: `Bearer ${connection.token}` } });
  if (!answer.ok) {
    const body = (await answer.json().catch(() => ({}))) as { error?: { message?: string } };
    throw new Error(body.error?.message ?? `the server answered ${answer.status}`);
  }
  return answer.text();
}
