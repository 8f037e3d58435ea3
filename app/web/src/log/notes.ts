/** What happened to a task, in one line each: for the log and for the timeline. */

import type { inferRouterOutputs } from '@trpc/server';
import type { AgentEvent, AppRouter, OutputEvent } from '../ado.d.ts';
import { jobNames, textOf } from '../format/text.ts';

type Item<T> = T extends AsyncIterable<infer I, unknown, unknown> ? I : never;
type Tracked = Item<inferRouterOutputs<AppRouter>['stream']['taskEvents']>;
/** One event of a task's log. */
export type LogEvent = Tracked extends { data: infer D } ? D : never;
export type NoteEvent = Exclude<LogEvent, OutputEvent | AgentEvent>;

export type Tone = 'plain' | 'good' | 'bad' | 'ask';

export interface Note {
  text: string;
  tone: Tone;
}

/** Return the note of an event that is neither output nor an agent's; null for one that needs none. */
export function noteOf(event: NoteEvent): Note | null {
  switch (event.type) {
    case 'created':
      return plain(`created${by(event.by)}${event.after ? `; it starts after ${event.after.join(', ')}` : ''}`);
    case 'started':
      return plain(`attempt ${event.attempt} started on ${event.workerId}`);
    case 'progress':
      return plain(
        [event.percent === undefined ? '' : `${textOf(event.percent)}%`, textOf(event.message)].join(' ').trim(),
      );
    case 'requeued':
      return bad(`attempt ${event.attempt} ended: ${words(event.reason)}; attempt ${event.nextAttempt} follows`);
    case 'released':
      return plain(
        `attempt ${event.attempt} was handed back${because(event.reason)}${event.paused ? '; the job is paused' : ''}`,
      );
    case 'paused':
      return plain(`paused${by(event.by)}${because(event.reason)}`);
    case 'resumed':
      return plain(`resumed${by(event.by)}`);
    case 'picked':
      return good(`the result was picked${by(event.by)}`);
    case 'retried':
      return plain(`${jobNames(event.jobs)} retried${by(event.by)}`);
    case 'cancel_requested':
      return bad(`cancel requested${by(event.by)}${because(event.reason)}`);
    case 'pod':
      return bad(`pod ${event.pod}: ${words(event.reason)}. ${event.hint}`);
    case 'truncated':
      return bad('the log has reached its limit; later output is dropped');
    case 'dropped':
      return bad(`${textOf(event.bytes)} bytes could not be stored: ${textOf(event.reason)}`);
    case 'input_lost':
      return bad('the input is not kept any more');
    case 'question':
      return { text: `asks: ${event.text}`, tone: 'ask' };
    case 'answer':
      return { text: answerText(event), tone: 'ask' };
    case 'message':
      return plain(`message${by(event.by)}: ${event.text}`);
    case 'delivered':
      return plain('the agent has taken the message');
    case 'check':
      return event.exitCode === 0
        ? good(`check passed: ${textOf(event.command)}`)
        : bad(`check failed with exit code ${textOf(event.exitCode)}: ${textOf(event.command)}`);
    case 'rate_limited':
      return bad(`the model's service tells ${textOf(event.agent)} to wait until ${textOf(event.until)}`);
    case 'continued':
      return plain(`continues with a message${by(event.by)}`);
    case 'finished':
      return finished(event);
    case 'succeeded':
      return good('the task succeeded');
    case 'failed':
      return bad(`the task failed${because(event.reason)}`);
    case 'cancelled':
      return bad(`the task was cancelled${because(event.reason)}`);
    default:
      return null;
  }
}

type Finished = Extract<NoteEvent, { type: 'finished' }>;
type Answered = Extract<NoteEvent, { type: 'answer' }>;

function finished(event: Finished): Note {
  if (event.outcome === 'succeeded') return good(`attempt ${event.attempt} succeeded`);
  const code = event.exitCode === undefined ? '' : `, exit code ${event.exitCode}`;
  const why = event.message ? `: ${event.message}` : because(event.reason);
  // the message of a command that failed is its exit code
  return bad(`attempt ${event.attempt} ${event.outcome}${code}${why === `: exit code ${event.exitCode}` ? '' : why}`);
}

function answerText(event: Answered): string {
  const what = event.choice ?? event.text ?? '';
  if (event.expired) return what === '' ? 'the time to answer is over' : `nobody answered; the default holds: ${what}`;
  return `answered${by(event.by)}: ${what}`;
}

/** Return a reason as words. */
export function words(reason: string): string {
  if (reason === 'exit_nonzero') return 'nonzero exit code';
  return reason.replaceAll('_', ' ');
}

function because(reason: string | null | undefined): string {
  return reason ? `: ${words(reason)}` : '';
}

function by(name: string | null | undefined): string {
  return name ? ` by ${name}` : '';
}

function plain(text: string): Note {
  return { text, tone: 'plain' };
}

function good(text: string): Note {
  return { text, tone: 'good' };
}

function bad(text: string): Note {
  return { text, tone: 'bad' };
}
