/** The workers and open tasks as they are now, from one subscription for all pages. */

import type { Unsubscribable } from '@trpc/server/observable';
import type { TaskState } from './ado.d.ts';
import type { Api } from './api.ts';
import { type Failure, failureOf } from './api.ts';
import type { Worker } from './types.ts';

const RETRY_MS = 2000;
/** The states of a task that has not ended. */
export const OPEN: ReadonlySet<string> = new Set(['queued', 'running', 'paused']);

export class Live {
  readonly workers = new Map<string, Worker>();
  readonly tasks = new Map<string, TaskState>();
  /** Whether the first snapshot has come. */
  ready = false;
  private readonly listeners = new Set<(task: TaskState | null) => void>();
  private subscription: Unsubscribable | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly api: Api,
    private readonly refused: (failure: Failure) => void,
  ) {}

  start(): void {
    this.subscription = this.api.stream.systemEvents.subscribe(undefined, {
      onData: (change) => this.take(change),
      onComplete: () => this.again(),
      onError: (error) => {
        const failure = failureOf(error);
        if (failure.code === 'UNAUTHORIZED') this.refused(failure);
        else this.again();
      },
    });
  }

  stop(): void {
    clearTimeout(this.timer);
    this.subscription?.unsubscribe();
  }

  /** Call a function with each task that changes, and with null when anything else does. Return what ends that. */
  on(listener: (task: TaskState | null) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private again(): void {
    this.timer = setTimeout(() => this.start(), RETRY_MS);
  }

  private take(change: SystemChange): void {
    let task: TaskState | null = null;
    if (change.type === 'snapshot') {
      this.workers.clear();
      this.tasks.clear();
      for (const worker of change.workers) this.workers.set(worker.workerId, worker);
      for (const open of change.tasks) this.tasks.set(open.taskId, open);
      this.ready = true;
    } else if (change.type === 'task') {
      task = change.task;
      if (OPEN.has(task.status)) this.tasks.set(task.taskId, task);
      else this.tasks.delete(task.taskId);
    } else if (change.type === 'worker') this.workers.set(change.worker.workerId, change.worker);
    else this.workers.delete(change.workerId);
    for (const listener of this.listeners) listener(task);
  }
}

type SystemChange =
  | { type: 'snapshot'; workers: Worker[]; tasks: TaskState[] }
  | { type: 'task'; task: TaskState }
  | { type: 'worker'; worker: Worker }
  | { type: 'worker_removed'; workerId: string };
