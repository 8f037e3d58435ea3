/** The agents that a person can name: those that ado knows, and shell. */

import type { Live } from './live.ts';

const GONE = ['dead', 'stopped'];
const KNOWN = ['claude-code', 'codex', 'gemini-cli', 'opencode'];

/** Return the agents that live workers offer: AI agents first, as the command chooses. */
export function offeredAgents(live: Live): string[] {
  const alive = [...live.workers.values()].filter((worker) => !GONE.includes(worker.state));
  const there = new Set(alive.flatMap((worker) => worker.capabilities));
  return [...KNOWN, 'shell'].filter((name) => there.has(name));
}

/** Return the agents that are offered, and the others that ado knows. */
export function knownAgents(live: Live): string[] {
  return [...new Set([...offeredAgents(live), ...KNOWN, 'shell'])];
}
