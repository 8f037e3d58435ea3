/** Which agents the form of a new task offers. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { knownAgents, offeredAgents } from '../src/agents.ts';
import type { Live } from '../src/live.ts';

const workers = [
  { workerId: 'a', state: 'idle', capabilities: ['shell', 'codex', 'network:none'] },
  { workerId: 'b', state: 'dead', capabilities: ['claude-code'] },
  { workerId: 'c', state: 'stopped', capabilities: ['opencode'] },
];
const live = { workers: new Map(workers.map((worker) => [worker.workerId, worker])) } as unknown as Live;

test('only live workers offer agents, and the others are named after them', () => {
  assert.deepEqual(offeredAgents(live), ['codex', 'shell']);
  assert.deepEqual(knownAgents(live), ['codex', 'shell', 'claude-code', 'gemini-cli', 'opencode']);
});
