/** Open questions with their answers as buttons. */

import { useState } from 'preact/hooks';
import { failureOf } from '../api.ts';
import { useApi, useApp } from '../context.tsx';
import { partsOf } from '../format/permission.ts';
import { visible } from '../format/text.ts';
import { exact } from '../format/time.ts';
import { useLoad } from '../load.ts';
import type { Question } from '../types.ts';
import { Ago, Foreign, Link } from './basics.tsx';
import { CheckField } from './fields.tsx';

/** The open questions of one task; they are loaded again when `version` changes. */
export function Questions({ taskId, version, may }: { taskId: string; version: number; may: boolean }) {
  const api = useApi();
  const [turn, setTurn] = useState(0);
  const [shown, setShown] = useState<Question[]>([]);
  useLoad(async () => {
    const page = await api.questions.list.query({ taskId, state: 'open' });
    setShown(page.items);
  }, [taskId, version, turn]);
  if (shown.length === 0) return null;
  return (
    <div class="questions">
      {shown.map((question) => (
        <QuestionCard key={question.questionId} question={question} may={may} done={() => setTurn(turn + 1)} />
      ))}
    </div>
  );
}

const KINDS: Record<Question['kind'], string> = {
  permission: 'Permission',
  budget: 'Budget',
  choice: 'Question',
  text: 'Question',
};

interface CardProps {
  question: Question;
  may: boolean;
  withTask?: boolean;
  done(): void;
}

export function QuestionCard({ question, may, withTask = false, done }: CardProps) {
  const api = useApi();
  const { say } = useApp();
  const [text, setText] = useState('');
  const [always, setAlways] = useState(false);
  const [busy, setBusy] = useState(false);
  const isPermission = question.kind === 'permission';
  const canRemember = isPermission && question.tool !== undefined;
  const answer = async (given: { choice?: string; text?: string }) => {
    setBusy(true);
    try {
      const words = isPermission && text.trim() !== '' ? { text: text.trim() } : {};
      const remember = canRemember && always ? { remember: 'task' as const } : {};
      await api.questions.answer.mutate({ questionId: question.questionId, ...words, ...remember, ...given });
      say(canRemember && always ? `Answered, for every use of ${question.tool} in this task.` : 'Answered.');
    } catch (error) {
      const failure = failureOf(error);
      say(`${failure.message} ${failure.hint}`, 'bad');
    }
    setBusy(false);
    done();
  };
  return (
    <section class="question" aria-label={`Question ${question.questionId}`}>
      <p class="meta">
        <span class="ask">{KINDS[question.kind]}</span>
        {withTask ? (
          <Link href={`/tasks/${question.taskId}`}>
            {question.taskId}/{question.job}
          </Link>
        ) : (
          <span>job {question.job}</span>
        )}
        <span>
          <Ago time={question.createdAt} /> ago
        </span>
        {question.expiresAt && (
          <span title={exact(question.expiresAt)}>expires {exact(question.expiresAt).slice(0, 24)}</span>
        )}
      </p>
      <p class="question-text">{visible(question.text)}</p>
      {isPermission && <Use input={question.input} />}
      {may && isPermission && (
        <div class="question-more">
          <input
            type="text"
            aria-label="Words to the agent with the answer"
            placeholder="Words to the agent, if any"
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
          />
          {canRemember && (
            <CheckField
              label={`always for ${visible(question.tool ?? '')} in this task`}
              checked={always}
              set={setAlways}
            />
          )}
        </div>
      )}
      {may && question.options.length > 0 && (
        <div class="answers">
          {question.options.map((option) => (
            <button
              type="button"
              key={option.id}
              class={option.id === question.default ? 'primary' : ''}
              disabled={busy}
              onClick={() => answer({ choice: option.id })}
            >
              <Foreign text={option.label} />
            </button>
          ))}
        </div>
      )}
      {may && question.options.length === 0 && (
        <form
          class="composer"
          onSubmit={(event) => {
            event.preventDefault();
            if (text.trim() !== '') void answer({ text });
          }}
        >
          <input aria-label="Answer" value={text} onInput={(event) => setText(event.currentTarget.value)} />
          <button type="submit" class="primary" disabled={busy || text.trim() === ''}>
            Answer
          </button>
        </form>
      )}
    </section>
  );
}

/** What the tool would do. */
function Use({ input }: { input: unknown }) {
  const parts = partsOf(input);
  return (
    <>
      {parts.map((part, index) => {
        // biome-ignore lint/suspicious/noArrayIndexKey: the parts of one question never change
        if (part.kind !== 'change') return <pre key={index}>{visible(part.text)}</pre>;
        return (
          // biome-ignore lint/suspicious/noArrayIndexKey: as above
          <figure class="change" key={index}>
            <figcaption>
              <Foreign text={part.path} />
            </figcaption>
            <pre>
              {part.lines.map(([mark, line], number) => (
                // biome-ignore lint/suspicious/noArrayIndexKey: as above
                <span class={MARKS[mark]} key={number}>
                  {mark} {visible(line)}
                  {'\n'}
                </span>
              ))}
            </pre>
          </figure>
        );
      })}
    </>
  );
}

const MARKS = { ' ': '', '-': 'gone', '+': 'new' };
