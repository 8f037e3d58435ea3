/** What happens to a task besides its output: the newest events, as they come. */

import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
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

/** Follow a task; `changed` is called when its state may have changed.
 *
 * The events come to an end with the task. If its log, whose last event is `lastSeq`, grows later, the task runs again.
 */
export function useProgress(taskId: string, lastSeq: number, changed: () => void): Progress {
  const api = useApi();
  const [progress, setProgress] = useState(NOTHING);
  const [turn, setTurn] = useState(0);
  const endedAt = useRef<number | null>(null);
  const length = useRef(lastSeq);
  length.current = lastSeq;
  const goOn = useCallback(() => {
    if (endedAt.current === null || length.current <= endedAt.current) return;
    endedAt.current = null;
    setTurn((value) => value + 1);
  }, []);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the log may have grown beyond its end
  useEffect(goOn, [lastSeq, goOn]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: a turn begins the subscription again
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
        onComplete: () => {
          endedAt.current = items.at(-1)?.seq ?? 0;
          goOn();
        },
        onError: () => {},
      },
    );
    return () => {
      subscription.unsubscribe();
      cancelAnimationFrame(frame);
    };
  }, [taskId, api, turn, goOn]);
  return progress;
}
