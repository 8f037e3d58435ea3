/** What a job changed: a list of files, and each file's lines in one column or side by side. */

import { useEffect, useState } from 'preact/hooks';
import { useApp } from '../context.tsx';
import { counted, visible } from '../format/text.ts';
import { useLoad } from '../load.ts';
import { Empty, Foreign, Loading, Problem } from '../parts/basics.tsx';
import { loadPatch } from './load.ts';
import { type DiffLine, type FileDiff, type Hunk, pairs, parseDiff } from './parse.ts';

/** From this width on two columns are readable. */
const WIDE = '(min-width: 1200px)';
/** Lines of a file that are shown without being asked for. */
const LINES = 1500;

interface Props {
  taskId: string;
  job: number;
  /** Changes when the job has a new result. */
  version: string;
}

export function DiffView({ taskId, job, version }: Props) {
  const { connection } = useApp();
  const loaded = useLoad(async () => {
    const patch = await loadPatch(connection, taskId, job);
    return patch === null ? null : { files: parseDiff(patch.text), cut: patch.cut };
  }, [taskId, job, version]);
  const [beside, setBeside] = useState(() => matchMedia(WIDE).matches);
  useEffect(() => {
    const media = matchMedia(WIDE);
    const changed = () => setBeside(media.matches);
    media.addEventListener('change', changed);
    return () => media.removeEventListener('change', changed);
  }, []);
  if (loaded.data === undefined) {
    return (
      <>
        <Problem failure={loaded.failure} />
        {loaded.loading && <Loading />}
      </>
    );
  }
  if (loaded.data?.cut) {
    return (
      <Empty title="The changes are too large to show here">
        <pre>ado diff {taskId}</pre>
      </Empty>
    );
  }
  if (loaded.data === null || loaded.data.files.length === 0) {
    return (
      <Empty title="No changes">
        <p>A job with a repository shows here what it changed, once it has ended.</p>
      </Empty>
    );
  }
  const { files } = loaded.data;
  const added = files.reduce((sum, file) => sum + file.added, 0);
  const removed = files.reduce((sum, file) => sum + file.removed, 0);
  return (
    <div class="diff">
      <div class="log-tools">
        <span>{counted(files.length, 'file')}</span>
        <Counts added={added} removed={removed} />
        <span class="grow" />
        <label class="check">
          <input type="checkbox" checked={beside} onChange={(event) => setBeside(event.currentTarget.checked)} />
          side by side
        </label>
      </div>
      <div class="diff-columns">
        <nav class="diff-tree" aria-label="Files">
          {files.map((file, index) => (
            <a
              key={file.path}
              href={`#file-${index}`}
              onClick={(event) => jump(event, index)}
              title={visible(file.path)}
            >
              <span class={`diff-kind diff-${file.kind}`}>{LETTERS[file.kind]}</span>
              <Foreign text={file.path} />
              <Counts added={file.added} removed={file.removed} />
            </a>
          ))}
        </nav>
        <div class="diff-files">
          {files.map((file, index) => (
            <FileView key={file.path} file={file} id={`file-${index}`} beside={beside} />
          ))}
        </div>
      </div>
    </div>
  );
}

const LETTERS: Record<FileDiff['kind'], string> = { changed: 'M', added: 'A', removed: 'D', renamed: 'R' };

/** Go to a file without touching the address, whose part after `#` names a place in the log. */
function jump(event: MouseEvent, index: number): void {
  event.preventDefault();
  const target = document.getElementById(`file-${index}`);
  target?.scrollIntoView({ block: 'start' });
  target?.focus({ preventScroll: true });
}

function Counts({ added, removed }: { added: number; removed: number }) {
  return (
    <span class="counts">
      {added > 0 && <span class="tone-good">+{added}</span>} {removed > 0 && <span class="tone-bad">−{removed}</span>}
    </span>
  );
}

function FileView({ file, id, beside }: { file: FileDiff; id: string; beside: boolean }) {
  const [whole, setWhole] = useState(false);
  const total = file.hunks.reduce((sum, hunk) => sum + hunk.lines.length, 0);
  let left = whole ? Number.POSITIVE_INFINITY : LINES;
  return (
    <section id={id} tabIndex={-1} class="diff-file" aria-label={visible(file.path)}>
      <h3>
        {file.from !== null && (
          <>
            <Foreign text={file.from} /> →{' '}
          </>
        )}
        <Foreign text={file.path} />
        {file.mode && <span class="faint"> mode {file.mode}</span>}
        <span class="grow" />
        <Counts added={file.added} removed={file.removed} />
      </h3>
      {file.binary && <p class="faint">A binary file.</p>}
      {file.hunks.map((hunk) => {
        const lines = hunk.lines.slice(0, Math.max(0, left));
        left -= hunk.lines.length;
        if (lines.length === 0) return null;
        return <HunkView key={nameOf(hunk)} hunk={{ ...hunk, lines }} beside={beside} />;
      })}
      {total > LINES && !whole && (
        <button type="button" class="quiet" onClick={() => setWhole(true)}>
          Show {counted(total - LINES, 'more line')}
        </button>
      )}
    </section>
  );
}

function nameOf(hunk: Hunk): string {
  const first = hunk.lines[0];
  return `${first?.old}:${first?.new}`;
}

function HunkView({ hunk, beside }: { hunk: Hunk; beside: boolean }) {
  return (
    <table class={`hunk${beside ? ' beside' : ''}`}>
      <tbody>
        <tr class="hunk-head">
          <td colSpan={beside ? 4 : 3}>
            <Foreign text={`⋯ ${hunk.section}`} />
          </td>
        </tr>
        {beside
          ? pairs(hunk.lines).map((pair) => (
              <tr key={`${pair.left?.old}:${pair.right?.new}`}>
                <Half line={pair.left} number={pair.left?.old} />
                <Half line={pair.right} number={pair.right?.new} />
              </tr>
            ))
          : hunk.lines.map((line, index) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: the lines of a hunk never move
              <tr key={index} class={classOf(line)}>
                <td class="at">{line.old}</td>
                <td class="at">{line.new}</td>
                <td class="code-line">
                  <span class="mark">{line.mark}</span>
                  {visible(line.text)}
                </td>
              </tr>
            ))}
      </tbody>
    </table>
  );
}

function Half({ line, number }: { line: DiffLine | null; number: number | null | undefined }) {
  if (line === null) {
    return (
      <>
        <td class="at none" />
        <td class="code-line none" />
      </>
    );
  }
  return (
    <>
      <td class={`at ${classOf(line)}`}>{number}</td>
      <td class={`code-line ${classOf(line)}`}>{visible(line.text)}</td>
    </>
  );
}

function classOf(line: DiffLine): string {
  return { '+': 'line-added', '-': 'line-removed', ' ': '', '\\': 'faint' }[line.mark];
}
