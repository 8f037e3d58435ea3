/** Decides between signing in and the app. */

import { useEffect, useState } from 'preact/hooks';
import { type Connection, connect, type Failure, failureOf } from './api.ts';
import { App } from './app.tsx';
import { SignIn } from './pages/sign_in.tsx';
import { forgetToken, isSession, keepToken, noteSession, storedToken, takeCode } from './session.ts';
import type { Me } from './types.ts';

const RETRY_MS = 2000;

type State =
  | { step: 'starting' }
  | { step: 'unreachable'; failure: Failure }
  | { step: 'signed_out'; failure: Failure | null }
  | { step: 'signed_in'; connection: Connection; me: Me };

export function Root() {
  const [state, setState] = useState<State>({ step: 'starting' });
  const [token, setToken] = useState<string | null>(null);

  useEffect(() => {
    const code = takeCode();
    if (code === null) {
      const stored = storedToken();
      setToken(stored);
      if (stored === null) setState({ step: 'signed_out', failure: null });
      return;
    }
    exchange(code).then(setToken, (error: unknown) => setState({ step: 'signed_out', failure: failureOf(error) }));
  }, []);

  useEffect(() => {
    if (token === null) return;
    const connection = connect(token);
    let left = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const signIn = () => {
      connection.api.users.whoami.query().then(
        (me) => {
          if (left) return;
          keepToken(token);
          setState({ step: 'signed_in', connection, me });
        },
        (error: unknown) => {
          if (left) return;
          const failure = failureOf(error);
          if (failure.code === 'UNAUTHORIZED' || failure.code === 'FORBIDDEN') {
            forgetToken();
            setToken(null);
            setState({ step: 'signed_out', failure });
          } else {
            setState({ step: 'unreachable', failure });
            timer = setTimeout(signIn, RETRY_MS);
          }
        },
      );
    };
    signIn();
    return () => {
      left = true;
      clearTimeout(timer);
      connection.close();
    };
  }, [token]);

  const signOut = (failure: Failure | null) => {
    // a session that cannot be ended now ends by itself after some hours
    if (failure === null && isSession() && state.step === 'signed_in') {
      state.connection.api.sessions.end.mutate().catch(() => {});
    }
    forgetToken();
    setToken(null);
    setState({ step: 'signed_out', failure });
  };

  if (state.step === 'signed_in') {
    return <App connection={state.connection} me={state.me} signOut={signOut} />;
  }
  if (state.step === 'signed_out') return <SignIn failure={state.failure} signIn={setToken} />;
  if (state.step === 'unreachable') {
    return (
      <main class="centred">
        <div role="alert">
          <p>{state.failure.message}</p>
          <p class="faint">{state.failure.hint}</p>
        </div>
      </main>
    );
  }
  return <main class="centred" />;
}

/** Exchange a code for a token. The call has no token yet, so it is made without the client of the app. */
async function exchange(code: string): Promise<string> {
  const answer = await fetch('/trpc/sessions.exchange', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ code }),
  });
  const body = (await answer.json()) as { result?: { data?: { token?: string } }; error?: { message?: string } };
  const token = body.result?.data?.token;
  if (token === undefined) {
    throw new Error(`${body.error?.message ?? 'The sign-in failed'}. Run "ado open" again, or paste a token.`);
  }
  noteSession();
  return token;
}
