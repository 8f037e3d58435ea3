/** The events of an AI agent as text: its words as they come, and one line for each tool, refusal and error. */

import type { AgentEvent } from '../ado.d.ts';
import { textOf } from '../format/text.ts';

const TITLE_CHARACTERS = 160;
const ACCENT = '\x1b[36m';
const FAINT = '\x1b[2m';
const BAD = '\x1b[31m';
const END = '\x1b[0m';

/** Return the text of one event: words, which the next ones may continue, or whole lines. */
export function agentText(event: AgentEvent): { words: string } | { line: string } | null {
  switch (event.event) {
    case 'text_delta':
      return { words: textOf(event.text) };
    case 'text':
      return { line: event.streamed ? '' : textOf(event.text) };
    case 'tool_end':
      return {
        line: `${ACCENT}⚙ ${textOf(event.kind === 'other' ? event.tool : event.kind)}${END} ${toolLine(event)}`,
      };
    case 'retry':
      return { line: `${FAINT}↻ the model is asked again: ${first(event.message)}${END}` };
    case 'permission':
      return event.decision === 'denied'
        ? { line: `${BAD}✗ not allowed: ${textOf(event.tool)} ${first(event.message)}${END}` }
        : null;
    case 'error':
      return { line: `${BAD}✗ ${first(event.message)}${END}` };
    case 'result':
      return event.ok ? null : { line: `${BAD}✗ the agent failed: ${first(event.message)}${END}` };
    default:
      return null;
  }
}

type ToolEnd = Extract<AgentEvent, { event: 'tool_end' }>;

function toolLine(event: ToolEnd): string {
  const title = first(event.title);
  const counts = [
    event.added === undefined ? '' : `\x1b[32m+${textOf(event.added)}${END}`,
    event.removed === undefined ? '' : `${BAD}−${textOf(event.removed)}${END}`,
  ].filter((part) => part !== '');
  if (counts.length > 0) return `${title} ${counts.join(' ')}`;
  if (event.exitCode !== undefined) {
    const colour = event.exitCode === 0 ? FAINT : BAD;
    return `${title} ${colour}→ exit ${textOf(event.exitCode)}${END}`;
  }
  return event.ok ? title : `${title} ${BAD}→ failed ${first(event.output)}${END}`;
}

/** Return the first line of an agent's text without control characters: colours are this module's alone. */
function first(text: unknown): string {
  const line = (textOf(text).trim().split('\n', 1)[0] ?? '').replace(/[\x00-\x1f\x7f-\x9f]/g, ' ');
  return line.length > TITLE_CHARACTERS ? `${line.slice(0, TITLE_CHARACTERS)} …` : line;
}
