/** What happened to a task, newest last. */

import { clock, exact } from '../format/time.ts';
import { type NoteEvent, noteOf } from '../log/notes.ts';
import { Empty, Foreign } from '../parts/basics.tsx';
import { hashOf } from '../router.ts';

interface Props {
  taskId: string;
  events: NoteEvent[];
  cut: boolean;
  many: boolean;
}

export function TimeLine({ taskId, events, cut, many }: Props) {
  if (events.length === 0) return <Empty title="Nothing has happened yet" />;
  return (
    <ol class="time-line">
      {cut && <li class="faint">Older events are not shown; the log has them.</li>}
      {events.map((event) => {
        const note = noteOf(event);
        if (note === null) return null;
        const place = hashOf({ ...(event.job === null ? {} : { job: event.job }), seq: event.seq });
        return (
          <li key={event.seq} class={`tone-${note.tone}`}>
            <a href={`/tasks/${taskId}${place}`} title={`event ${event.seq}, ${exact(event.at)}`}>
              <time dateTime={event.at}>{clock(event.at)}</time>
            </a>
            {many && event.job !== null && <span class="log-job">[{event.job}]</span>}
            <Foreign text={note.text} />
          </li>
        );
      })}
    </ol>
  );
}
