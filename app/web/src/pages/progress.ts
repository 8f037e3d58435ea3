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

/** Follow a task; `changed` is called when its state may have changed. */
export function useProgress(taskId: string, changed: () => void): Progress {
  const api = useApi();
  const [progress, setProgress] = useState(NOTHING);
  const [turn, setTurn] = useState(0);
  // biome-ignore lint/correctness/useExhaustiveDependencies: a turn begins the subscription again
  useEffect(() => {
    let items: NoteEvent[] = [];
    let cut = false;
    let questions = 0;
    let frame = 0;
    let timer: ReturnType<typeof setTimeout> | undefined;
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
        // a task that has ended may be retried or go on with a message
        onComplete: () => {
          timer = setTimeout(() => setTurn((value) => value + 1), 60_000);
        },
        onError: () => {},
      },
    );
    return () => {
      subscription.unsubscribe();
      clearTimeout(timer);
      cancelAnimationFrame(frame);
    };
  }, [taskId, api, turn]);
  return progress;
}
