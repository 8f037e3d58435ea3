// A line for each event of a log. It compiles only while every type of event, and of an agent's event, has its case.
import type { inferRouterOutputs } from '@trpc/server';
import type { AppRouter } from './ado.js';

type Items<T> = T extends AsyncIterable<{ data: infer D }, unknown, unknown> ? D : never;
type LogEvent = Items<inferRouterOutputs<AppRouter>['stream']['taskEvents']>;
type AgentEvent = Extract<LogEvent, { type: 'agent' }>;

function missing(event: never): never {
  throw new Error(`no case for ${JSON.stringify(event)}`);
}

export function rendered(event: LogEvent): string {
  const by = 'by' in event && event.by ? ` by ${event.by}` : '';
  switch (event.type) {
    case 'created': return `${event.agent} × ${event.workers.toFixed()}: ${event.prompt.trim()}${by}`;
    case 'started': return event.workerId.trim();
    case 'output': return event.encoding === 'base64' ? atob(event.data) : `${event.stream}: ${event.data.trim()}`;
    case 'progress': return `${event.percent?.toFixed() ?? ''} ${event.message?.trim() ?? ''}`;
    case 'agent': return said(event);
    case 'requeued': return `${event.reason.trim()} on ${event.workerId.trim()}, then ${event.nextAttempt.toFixed()}`;
    case 'released': return event.reason?.trim() ?? '';
    case 'paused': return `${event.reason?.trim() ?? ''}${by}`;
    case 'resumed': return by;
    case 'picked': return `${(event.job ?? 0).toFixed()}${by}`;
    case 'retried': return `${event.jobs.map((job) => job.toFixed()).join()}${by}`;
    case 'cancel_requested': return `${event.reason?.trim() ?? ''}${by}`;
    case 'pod': return `${event.pod.trim()}: ${event.reason.trim()}: ${event.message.trim()} (${event.hint.trim()})`;
    case 'checkpoint': return event.storedAt.trim();
    case 'truncated': return `${event.droppedBytes.toFixed()} of more than ${event.limitBytes.toFixed()}`;
    case 'dropped': return `${event.bytes.toFixed()}: ${event.reason.trim()}`;
    case 'input_lost': return event.lostBytes.toFixed();
    case 'question': return `${event.kind}: ${event.text.trim()} ${event.options.map((option) => option.label).join()}`;
    case 'answer': return `${event.questionId}: ${event.choice?.trim() ?? event.text?.trim() ?? ''}${by}`;
    case 'message': return `${event.text.trim()}${by}`;
    case 'delivered': return event.messageId.trim();
    case 'check': return `${event.command.trim()} → ${event.exitCode.toFixed()}, ${event.seconds.toFixed(1)} s`;
    case 'budget': return Object.entries(event.spent).map(([name, spent]) => `${name} ${spent.toFixed()}`).join();
    case 'rate_limited': return `${event.agent}: ${event.seconds.toFixed()} s until ${event.until} ${event.credential?.trim() ?? ''}`;
    case 'continued': return `${event.messageId.trim()}${by}`;
    case 'finished': return `${event.outcome} ${event.exitCode?.toFixed() ?? ''} ${event.usage?.costUsd?.toFixed(2) ?? ''}`;
    case 'succeeded': return event.taskId.trim();
    case 'failed': return `${event.reason?.trim() ?? ''}: ${event.message?.trim() ?? ''}`;
    case 'cancelled': return event.reason?.trim() ?? '';
    default: return missing(event);
  }
}

function said(event: AgentEvent): string {
  switch (event.event) {
    case 'session': return `${event.sessionId.trim()} ${event.model?.trim() ?? ''}`;
    case 'text_delta': return event.text.trim();
    case 'text': return event.streamed ? '' : event.text.trim();
    case 'tool_start': return `${event.kind}: ${event.title.trim()}`;
    case 'tool_end': return `${event.ok ? '✓' : '✗'} +${event.added?.toFixed() ?? ''} −${event.removed?.toFixed() ?? ''}`;
    case 'permission': return `${event.tool.trim()}: ${event.decision}: ${event.message.trim()}`;
    case 'usage': return `${event.inputTokens?.toFixed() ?? ''} ${event.costUsd?.toFixed(2) ?? ''}`;
    case 'retry': return event.message.trim();
    case 'error': return `${event.status?.toFixed() ?? ''} ${event.message.trim()}`;
    case 'result': return `${event.ok ? '✓' : '✗'} ${event.message.trim()}`;
    case 'other': return event.raw?.trim() ?? '';
    default: return missing(event);
  }
}
