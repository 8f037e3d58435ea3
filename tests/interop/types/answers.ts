// The head of a file that tests/interop/test_answers.py goes on with: real answers, as literals of their types.
import type { inferRouterOutputs } from '@trpc/server';
import type { AppRouter } from './ado.js';
import type * as ado from './ado.js';

type Outputs = inferRouterOutputs<AppRouter>;
type AnyEvent =
  | ado.CreatedEvent | ado.StartedEvent | ado.OutputEvent | ado.ProgressEvent | ado.AgentEvent | ado.RequeuedEvent
  | ado.ReleasedEvent | ado.RetriedEvent | ado.CancelRequestedEvent | ado.PodEvent | ado.CheckpointEvent
  | ado.TruncatedEvent | ado.DroppedEvent | ado.FinishedEvent | ado.SucceededEvent | ado.FailedEvent
  | ado.CancelledEvent | ado.PausedEvent | ado.ResumedEvent;
