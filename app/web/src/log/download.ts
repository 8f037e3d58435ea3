/** Saves the output of a task or a job as a file, byte for byte as the agent wrote it. */

import type { Api } from '../api.ts';

/** Collect the whole output, and let the browser save it. Rejects if the log cannot be read to its end. */
export function download(api: Api, taskId: string, job: number | null): Promise<number> {
  return new Promise((resolve, reject) => {
    // the browser keeps the parts of a Blob outside of the page's memory
    const parts: BlobPart[] = [];
    let size = 0;
    api.stream.taskOutput.subscribe(
      { taskId, job, follow: false, lastEventId: 0 },
      {
        onData: ({ data }) => {
          const part: BlobPart =
            data.encoding === 'base64'
              ? Uint8Array.from(atob(data.data), (character) => character.charCodeAt(0))
              : new TextEncoder().encode(data.data);
          size += part.byteLength;
          parts.push(new Blob([part]));
        },
        onComplete: () => {
          save(new Blob(parts, { type: 'application/octet-stream' }), name(taskId, job));
          resolve(size);
        },
        onError: reject,
      },
    );
  });
}

function name(taskId: string, job: number | null): string {
  return `${taskId}${job === null ? '' : `-${job}`}.log`;
}

function save(blob: Blob, file: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = file;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
