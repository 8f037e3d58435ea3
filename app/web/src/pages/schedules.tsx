/** Templates that run at times: when each runs next, how the last run went, and what a person can do with it. */

import { useEffect, useState } from 'preact/hooks';
import { type Failure, failureOf } from '../api.ts';
import { useApi, useApp, useMay } from '../context.tsx';
import { counted, visible } from '../format/text.ts';
import { exact, until } from '../format/time.ts';
import { useChanges, useLoad } from '../load.ts';
import { useAction } from '../parts/action.ts';
import { Ago, Empty, Foreign, Link, Loading, Problem, Status } from '../parts/basics.tsx';
import { ChoiceField, TextField } from '../parts/fields.tsx';
import type { Outputs } from '../types.ts';

type Schedule = Outputs['schedules']['list']['items'][number];
type Overlap = Schedule['overlap'];

const AGAIN_MS = 10_000;
const PAGE = 100;

export function SchedulesPage() {
  const api = useApi();
  const may = useMay();
  const [pages, setPages] = useState<(string | undefined)[]>([undefined]);
  const [adding, setAdding] = useState(false);
  const cursor = pages.at(-1);
  const loaded = useLoad(
    () => api.schedules.list.query({ limit: PAGE, ...(cursor === undefined ? {} : { cursor }) }),
    [cursor],
  );
  const { reload } = loaded;
  useChanges((task) => task !== null && reload());
  useEffect(() => {
    const timer = setInterval(reload, AGAIN_MS);
    return () => clearInterval(timer);
  }, [reload]);
  const schedules = loaded.data?.items ?? [];
  return (
    <>
      <div class="page-head">
        <h1>Schedules</h1>
        <span class="grow" />
        {may.tasks && (
          <button type="button" aria-expanded={adding} onClick={() => setAdding(!adding)}>
            Add a schedule
          </button>
        )}
      </div>
      <Problem failure={loaded.failure} />
      {adding && (
        <AddSchedule
          close={() => {
            setAdding(false);
            reload();
          }}
        />
      )}
      {loaded.data === undefined && loaded.loading && <Loading />}
      {loaded.data !== undefined && schedules.length === 0 && !adding && (
        <Empty title="Nothing is scheduled">
          <p>A schedule runs a template at times. In a terminal:</p>
          <pre>ado schedule add "0 3 * * 1-5" @TEMPLATE --timezone Europe/Prague</pre>
        </Empty>
      )}
      {schedules.length > 0 && (
        <ul class="cards">
          {schedules.map((schedule) => (
            <Card key={schedule.scheduleId} schedule={schedule} reload={reload} />
          ))}
        </ul>
      )}
      {(pages.length > 1 || loaded.data?.nextCursor !== undefined) && (
        <nav class="pages" aria-label="More schedules">
          <button type="button" disabled={pages.length === 1} onClick={() => setPages(pages.slice(0, -1))}>
            ← Older
          </button>
          <button
            type="button"
            disabled={loaded.data?.nextCursor === undefined}
            onClick={() => setPages([...pages, loaded.data?.nextCursor])}
          >
            Newer →
          </button>
        </nav>
      )}
    </>
  );
}

function Card({ schedule, reload }: { schedule: Schedule; reload(): void }) {
  const name = `@${schedule.template}`;
  const variables = Object.entries(schedule.variables).map(([key, value]) => `${key}=${value}`);
  return (
    <li class="card schedule" aria-label={schedule.scheduleId}>
      <Status of={schedule.state} />
      <span class="card-title">
        <span class="id">{schedule.scheduleId}</span> <strong>{name}</strong>{' '}
        {variables.length > 0 && <Foreign text={variables.join(' ')} />}
        <span class="facts-line faint">
          <code>{schedule.cron}</code> <span>{schedule.timezone}</span>
          {schedule.overlap !== 'skip' && <span>{OVERLAPS[schedule.overlap]}</span>}
          {schedule.missed === 'skip' && <span>missed times do not run</span>}
          <span>
            by <Foreign text={schedule.createdBy} />
          </span>
        </span>
        <Runs schedule={schedule} />
        {schedule.problem && (
          <span class="why">
            <Foreign text={schedule.problem} />
            {schedule.retryAt && ` It is tried again ${until(schedule.retryAt, Date.now())}.`}
          </span>
        )}
      </span>
      <Actions schedule={schedule} reload={reload} />
    </li>
  );
}

function Runs({ schedule }: { schedule: Schedule }) {
  const counts = [
    counted(schedule.runs, 'run'),
    schedule.skippedTimes > 0 ? `${schedule.skippedTimes} skipped` : '',
    schedule.missedTimes > 0 ? `${schedule.missedTimes} missed` : '',
  ];
  return (
    <span class="facts-line">
      {schedule.nextAt && (
        <span title={exact(schedule.nextAt)}>
          next <time dateTime={schedule.nextAt}>{until(schedule.nextAt, Date.now())}</time>
        </span>
      )}
      {schedule.lastTaskId ? (
        <span>
          last <Ago time={schedule.lastAt} /> ago:{' '}
          <Link href={`/tasks/${schedule.lastTaskId}`}>{schedule.lastTaskId}</Link>{' '}
          {schedule.lastStatus && <Status of={schedule.lastStatus} />}
        </span>
      ) : (
        <span class="faint">it has not run yet</span>
      )}
      <Link href={`/tasks?label=${encodeURIComponent(`schedule=${schedule.scheduleId}`)}`}>
        {counts.filter((count) => count !== '').join(', ')}
      </Link>
    </span>
  );
}

function Actions({ schedule, reload }: { schedule: Schedule; reload(): void }) {
  const api = useApi();
  const may = useMay();
  const [busy, act] = useAction(reload);
  const [sure, setSure] = useState(false);
  if (!may.tasks) return null;
  const { scheduleId } = schedule;
  const id = { scheduleId };
  return (
    <span class="actions">
      {schedule.state === 'active' ? (
        <button
          type="button"
          disabled={busy}
          aria-label={`Pause ${scheduleId}`}
          onClick={() => act(() => api.schedules.pause.mutate(id), `${scheduleId} is paused.`)}
        >
          Pause
        </button>
      ) : (
        <button
          type="button"
          disabled={busy}
          aria-label={`Resume ${scheduleId}`}
          onClick={() => act(() => api.schedules.resume.mutate(id), `${scheduleId} goes on.`)}
        >
          Resume
        </button>
      )}
      <button
        type="button"
        class="danger"
        disabled={busy}
        aria-label={sure ? `Remove ${scheduleId} for ever` : `Remove ${scheduleId}`}
        onBlur={() => setSure(false)}
        onClick={() => {
          if (!sure) return setSure(true);
          void act(() => api.schedules.remove.mutate(id), `${scheduleId} is removed; its tasks stay.`);
        }}
      >
        {sure ? 'Remove it?' : 'Remove'}
      </button>
    </span>
  );
}

const OVERLAPS: Record<Overlap, string> = {
  skip: 'skips a time while the last task runs',
  allow: 'runs beside the last task',
  queue: 'runs once the last task has ended',
  cancel: 'cancels the last task',
};

function AddSchedule({ close }: { close(): void }) {
  const api = useApi();
  const { say } = useApp();
  const templates = useLoad(() => api.templates.list.query({ limit: 200 }), []);
  const [chosen, setChosen] = useState('');
  const [cron, setCron] = useState('0 3 * * *');
  const [timezone, setTimezone] = useState(() => Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC');
  const [overlap, setOverlap] = useState<Overlap>('skip');
  const [values, setValues] = useState<{ [name: string]: string }>({});
  const [failure, setFailure] = useState<Failure | null>(null);
  const names = templates.data?.items.map((template) => template.name) ?? [];
  const template = chosen || names[0] || '';
  const whole = useLoad(
    async () => (template === '' ? null : await api.templates.get.query({ name: template })),
    [template],
  );
  const variables = whole.data?.variables ?? [];
  if (templates.data !== undefined && names.length === 0) {
    return (
      <p class="card">
        <span>
          There is no template yet. <Link href="/new">New task</Link> saves one.
        </span>
      </p>
    );
  }
  const add = async () => {
    const wanted = Object.fromEntries(variables.map((name) => [name, values[name] ?? '']));
    try {
      const added = await api.schedules.add.mutate({ cron, template, timezone, overlap, variables: wanted });
      say(`${added.scheduleId} runs @${visible(added.template)}.`);
      close();
    } catch (error) {
      setFailure(failureOf(error));
    }
  };
  return (
    <form
      class="add-schedule"
      aria-label="A new schedule"
      onSubmit={(event) => {
        event.preventDefault();
        void add();
      }}
    >
      <Problem failure={failure} />
      <div class="fields">
        <ChoiceField
          id="template"
          label="Template"
          options={names.map((name) => [name, name] as const)}
          value={template}
          set={setChosen}
        />
        <TextField id="cron" label="When" hint="minute, hour, day, month, weekday" code value={cron} set={setCron} />
        <TextField id="timezone" label="Time zone" value={timezone} set={setTimezone} />
        <ChoiceField<Overlap>
          id="overlap"
          label="While the last task runs"
          options={[
            ['skip', 'skip the time'],
            ['allow', 'run beside it'],
            ['queue', 'run after it'],
            ['cancel', 'cancel it'],
          ]}
          value={overlap}
          set={setOverlap}
        />
        {variables.map((name) => (
          <TextField
            key={name}
            id={`variable-${name}`}
            label={`{${name}}`}
            value={values[name] ?? ''}
            set={(value) => setValues({ ...values, [name]: value })}
          />
        ))}
      </div>
      <div class="actions">
        <button type="submit" class="primary">
          Add
        </button>
        <button type="button" class="quiet" onClick={close}>
          Not now
        </button>
      </div>
    </form>
  );
}
