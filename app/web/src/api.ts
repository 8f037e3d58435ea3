/** The connection to the API: an unmodified tRPC client, with calls over HTTP and subscriptions over one WebSocket. */

import {
  createTRPCClient,
  createWSClient,
  httpBatchLink,
  splitLink,
  type TRPCClient,
  TRPCClientError,
  wsLink,
} from '@trpc/client';
import type { AppRouter } from './ado.d.ts';

export type Api = TRPCClient<AppRouter>;

/** Whether changes arrive: `lost` while the socket is being opened again. */
export type Link = 'open' | 'connecting' | 'lost';

export interface Connection {
  api: Api;
  token: string;
  /** Call a function at each change of the link, and now. Return what ends that. */
  onLink(listener: (link: Link) => void): () => void;
  close(): void;
}

const FIRST_RETRY_MS = 250;
const LAST_RETRY_MS = 5000;

/** Connect with a token. Nothing is sent before the first call. */
export function connect(token: string): Connection {
  const origin = location.origin;
  const socket = createWSClient({
    url: `${origin.replace(/^http/, 'ws')}/trpc`,
    connectionParams: { token },
    keepAlive: { enabled: true, intervalMs: 10_000, pongTimeoutMs: 5_000 },
    retryDelayMs: (attempt) => Math.min(LAST_RETRY_MS, FIRST_RETRY_MS * 2 ** attempt),
    onOpen: () => change('open'),
    onClose: () => change('lost'),
  });
  const listeners = new Set<(link: Link) => void>();
  let link: Link = 'connecting';
  let closed = false;
  const change = (now: Link) => {
    if (closed || (link === 'connecting' && now === 'connecting')) return;
    link = now;
    for (const listener of listeners) listener(now);
  };
  const api = createTRPCClient<AppRouter>({
    links: [
      splitLink({
        condition: (operation) => operation.type === 'subscription',
        true: wsLink({ client: socket }),
        false: httpBatchLink({
          url: `${origin}/trpc`,
          headers: { authorization: `Bearer ${token}` },
          maxURLLength: 6000,
          maxItems: 50,
        }),
      }),
    ],
  });
  return {
    api,
    token,
    onLink(listener) {
      listeners.add(listener);
      listener(link);
      return () => listeners.delete(listener);
    },
    close() {
      closed = true;
      void socket.close();
    },
  };
}

/** What went wrong, for a person: what, and the next step. */
export interface Failure {
  code: string;
  reason: string;
  message: string;
  hint: string;
  /** The member of the input that is wrong; empty if none is named. */
  field: string;
}

/** Return what an error says. */
export function failureOf(error: unknown): Failure {
  if (error instanceof TRPCClientError && error.data) {
    const data = error.data as { code?: string; reason?: string; hint?: string; field?: string };
    const { code = '', reason = '', hint = '', field = '' } = data;
    return { code, reason, message: error.message, hint, field };
  }
  const message = error instanceof Error ? error.message : String(error);
  if (/fetch|network/i.test(message)) {
    return {
      code: '',
      reason: 'unreachable',
      message: 'The server does not answer.',
      hint: 'The page tries again by itself.',
      field: '',
    };
  }
  return { code: '', reason: '', message, hint: '', field: '' };
}
