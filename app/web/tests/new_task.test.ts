/** What a form of a new task means: its input, what is wrong with it, and the equal command. */

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { commandOf } from '../src/format/command.ts';
import { EMPTY, fieldOf, filled, formOf, inputOf, problemsOf, variablesOf } from '../src/format/new_task.ts';

const FORM = { ...EMPTY, prompt: 'fix it', agents: ['codex'] };

test('a form with only a prompt says nothing beyond the defaults', () => {
  assert.deepEqual(problemsOf(FORM), {});
  assert.deepEqual(inputOf(FORM), {
    prompt: 'fix it',
    agent: 'codex',
    workers: 1,
    labels: {},
    requires: [],
    retries: 0,
    priority: 0,
    network: 'all',
    onFailure: 'continue',
    after: [],
    afterAnyEnd: false,
    env: {},
  });
  assert.equal(commandOf(FORM), "ado run --remote --agent codex 'fix it'");
});

test('every field is in the input and in the command', () => {
  const whole = {
    ...FORM,
    agents: ['claude-code', 'codex'],
    workers: '2',
    labels: 'team=core, size=2',
    model: 'large',
    setup: 'npm ci',
    checks: 'npm test\n\nnpm run lint',
    checkTries: '2',
    approve: 'edits' as const,
    maxTokens: '1.5m',
    maxTurns: '9',
    onBudget: 'fail' as const,
    after: '3 task-4',
    afterAnyEnd: true,
    timeout: '2h',
    startWithin: '10m',
    failFast: true,
    env: 'A=1\nB=x y',
    memory: '4Gi',
    cpu: '0.5',
  };
  assert.deepEqual(problemsOf(whole), {});
  const input = inputOf(whole);
  assert.deepEqual(input.agents, ['claude-code', 'codex']);
  assert.equal('agent' in input, false);
  assert.deepEqual(input.checks, { commands: ['npm test', 'npm run lint'], setup: 'npm ci', tries: 2 });
  assert.deepEqual(input.budget, { tokens: 1_500_000, turns: 9, onBudget: 'fail' });
  assert.deepEqual(input.after, ['task-3', 'task-4']);
  assert.deepEqual(input.resources, { cpu: 0.5, memory: 4 * 2 ** 30 });
  assert.deepEqual(input.env, { A: '1', B: 'x y' });
  assert.deepEqual([input.timeoutSeconds, input.startWithinSeconds], [7200, 600]);
  assert.equal(
    commandOf(whole),
    'ado run --remote --workers 2 --agent claude-code --agent codex --model large --label team=core --label size=2 ' +
      "--setup 'npm ci' --check 'npm test' --check 'npm run lint' --check-tries 2 --approve edits " +
      '--max-tokens 1500000 --max-turns 9 --on-budget fail --after task-3 --after task-4 --after-any-end ' +
      "--timeout 2h --start-within 10m --fail-fast --env A=1 --env 'B=x y' --cpu 0.5 --memory 4Gi 'fix it'",
  );
});

test('each wrong field has its own problem', () => {
  const wrong = {
    ...FORM,
    prompt: ' ',
    agents: ['codex', 'gemini-cli'],
    labels: 'core',
    timeout: '2 weeks',
    startWithin: '0s',
    after: 'yesterday',
    checkTries: '0',
    maxCost: '-1',
    maxTokens: 'many',
    maxTurns: '1.5',
    retries: 'x',
    priority: '',
    env: '=x',
    memory: '4 cows',
    cpu: 'two',
    gpu: '0',
  };
  const fields = Object.keys(wrong).filter((field) => field in problemsOf(wrong));
  const untouched = [
    'model',
    'setup',
    'checks',
    'approve',
    'onBudget',
    'afterAnyEnd',
    'failFast',
    'requires',
    'network',
  ];
  const ofOthers = ['agents', ...untouched];
  assert.deepEqual(
    fields.sort(),
    Object.keys(EMPTY)
      .filter((field) => !ofOthers.includes(field))
      .sort(),
  );
  assert.match(problemsOf(wrong).workers ?? '', /at least 2/);
});

test('a template fills the form, keeps what the form has no field for, and is named by the command', () => {
  const saved = {
    prompt: `fix {issue}, not {{braces}} or \${HOME}`,
    agent: 'codex',
    checks: { commands: ['make'], tries: 3, timeoutSeconds: 60 },
    budget: { turns: 4 },
    agentArgs: { model: 'large', effort: 'high' },
    workspace: { push: true },
    timeoutSeconds: 90,
  };
  const form = formOf(saved);
  assert.deepEqual(problemsOf(form), {});
  assert.deepEqual(variablesOf(form.prompt), ['issue']);
  assert.equal(filled(form.prompt, { issue: '{issue}' }), `fix {issue}, not {braces} or \${HOME}`);
  const input = inputOf(form, saved);
  assert.deepEqual(input.agentArgs, { model: 'large', effort: 'high' });
  assert.deepEqual(input.workspace, { push: true });
  assert.deepEqual(input.checks, { commands: ['make'], timeoutSeconds: 60 });
  assert.equal(input.timeoutSeconds, 90);
  const template = { name: 'fix', form, variables: { issue: '7' } };
  assert.equal(commandOf({ ...form, retries: '2' }, template), 'ado run --remote --retries 2 --var issue=7 @fix');
});

test('the member that a server names is found among the fields', () => {
  const found = ['budget', 'budget.tokens', 'checks.commands[0]', 'timeoutSeconds', 'after', 'agent', 'pod.image'];
  assert.deepEqual(found.map(fieldOf), ['maxCost', 'maxTokens', 'checks', 'timeout', 'after', 'agents', null]);
});
