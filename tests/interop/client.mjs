// An unmodified @trpc/client, driven by the tests: one JSON object as argument says what to do, lines of JSON say what
// the program that uses the client sees.
import { EventSource } from 'eventsource';
import { WebSocket } from 'ws';
import {
  createTRPCClient,
  createWSClient,
  httpBatchLink,
  httpBatchStreamLink,
  httpLink,
  httpSubscriptionLink,
  wsLink,
} from '@trpc/client';

const job = JSON.parse(process.argv[2]);
const url = `${job.url}/trpc`;
const headers = { authorization: `Bearer ${job.token}` };
const connectionParams = { token: job.token };
let socket;

// Tells of each answer to a keep-alive, which the client keeps to itself.
class Telling extends WebSocket {
  constructor(...given) {
    super(...given);
    this.on('message', (data) => String(data) === 'PONG' && say({ pong: true }));
  }
}

function link() {
  switch (job.link) {
    case 'http':
      return httpLink({ url, headers });
    case 'batch':
      return httpBatchLink({ url, headers });
    case 'batch-one':
      return httpBatchLink({ url, headers, maxItems: 1 });
    case 'stream':
      return httpBatchStreamLink({ url, headers });
    case 'sse':
      return httpSubscriptionLink({ url, connectionParams, EventSource });
    case 'ws':
      socket = createWSClient({
        url: url.replace('http', 'ws'),
        WebSocket: job.keepAlive ? Telling : WebSocket,
        connectionParams,
        keepAlive: job.keepAlive,
      });
      return wsLink({ client: socket });
  }
  throw new Error(`no link ${job.link}`);
}

const say = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const client = createTRPCClient({ links: [link()] });

async function outcome(promise) {
  try {
    const value = await promise;
    return value === undefined ? { undefined: true } : { ok: value };
  } catch (error) {
    return { name: error.name, message: error.message, code: error.data?.code, data: error.data };
  }
}

function procedure(path) {
  return path.split('.').reduce((found, name) => found[name], client);
}

if (job.do === 'calls') {
  // All in one tick, so that a batching link batches them.
  const results = await Promise.all(job.calls.map(([path, kind, input]) => outcome(procedure(path)[kind](input))));
  results.forEach(say);
} else {
  await new Promise((resolve) => {
    procedure(job.path).subscribe(job.input, {
      onStarted: () => say({ state: 'started' }),
      onData: (item) => say({ item }),
      onError: (error) => {
        say({ error: error.message, code: error.data?.code, data: error.data });
        resolve();
      },
      onStopped: () => say({ state: 'stopped' }),
      onComplete: () => {
        say({ state: 'complete' });
        resolve();
      },
    });
  });
}
await socket?.close();
