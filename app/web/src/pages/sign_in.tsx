/** Asks for a token. */

import { useState } from 'preact/hooks';
import type { Failure } from '../api.ts';
import { Problem } from '../parts/basics.tsx';

export function SignIn({ failure, signIn }: { failure: Failure | null; signIn(token: string): void }) {
  const [token, setToken] = useState('');
  return (
    <main class="centred">
      <form
        class="sign-in"
        onSubmit={(event) => {
          event.preventDefault();
          if (token.trim() !== '') signIn(token.trim());
        }}
      >
        <h1>
          <span class="brand" aria-hidden="true" /> Sign in to ado
        </h1>
        <Problem failure={failure} />
        <p>
          Run <code>ado open</code> on your machine: it opens this page signed in. Or paste a token.
        </p>
        <label for="token">Token</label>
        <input
          id="token"
          type="password"
          autocomplete="off"
          spellcheck={false}
          value={token}
          onInput={(event) => setToken(event.currentTarget.value)}
        />
        <button class="primary" type="submit" disabled={token.trim() === ''}>
          Sign in
        </button>
        <p class="faint">The token stays in this tab, and is forgotten when the tab is closed.</p>
      </form>
    </main>
  );
}
