/** What happens to a task besides its output: the newest events, as they come. */

import { useEffect, useState } from 'preact/hooks';
import { useApi } from '../context.tsx';
import type { LogEvent, NoteEvent } from '../log/notes.ts';

const LIMIT = 500;
const FIRST = 2000;
const CHANGES = new Set(['question', 'answer', 'message', 'delivered', 'continued']);

export interface Progress {
  items: NoteEvent[];
  /** Whether there are older events that are not shown. */
  cut: boolean;
  /** Grows when a question was asked, answered or closed. */
  questions: number;
}

const NOTHING: Progress = { items: [], cut: false, questions: 0 };

/** Follow a task, again when it opens again; `changed` is called when its state may have changed. */
export function useProgress(taskId: string, open: boolean, changed: () => void): Progress {
  const api = useApi();
  const [progress, setProgress] = useState(NOTHING);
  // biome-ignore lint/correctness/useExhaustiveDependencies: a subscription ends with its task
  useEffect(() => {
    let items: NoteEvent[] = [];
    let cut = false;
    let questions = 0;
    let frame = 0;
    const show = () => {
      frame ||= requestAnimationFrame(() => {
        frame = 0;
        setProgress({ items: [...items], cut, questions });
      });
    };
    const take = (event: LogEvent) => {
      if (event.type === 'agent' || event.type === 'output') return;
      items.push(event);
      if (items.length > LIMIT) {
        items = items.slice(-LIMIT);
        cut = true;
      }
      if (CHANGES.has(event.type) || event.type === 'finished') questions += 1;
      show();
      changed();
    };
    const subscription = api.stream.taskProgress.subscribe(
      { taskId, tail: FIRST },
      {
        onData: ({ data }) => take(data),
        onError: () => {},
      },
    );
    return () => {
      subscription.unsubscribe();
      cancelAnimationFrame(frame);
    };
  }, [taskId, api, open]);
  return progress;
}
