/** The names under which the pages use the API's shapes. */

import type { inferRouterInputs, inferRouterOutputs } from '@trpc/server';
import type { AppRouter } from './ado.d.ts';

export type Inputs = inferRouterInputs<AppRouter>;
export type Outputs = inferRouterOutputs<AppRouter>;
export type { Job, Me, Message, Question, Task, Usage, Worker } from './ado.d.ts';
