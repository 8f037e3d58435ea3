/** The token of this tab. It is in the tab's sessionStorage alone, and ends with the tab. */

const KEY = 'ado.token';
/** There is a session to end if the token came from a code; a pasted token is somebody's own and stays valid. */
const SESSION = 'ado.session';

/** Return the tab's token, or null. */
export function storedToken(): string | null {
  return sessionStorage.getItem(KEY);
}

/** Keep a token for this tab. */
export function keepToken(token: string): void {
  sessionStorage.setItem(KEY, token);
}

/** Note that the tab's token is of a session, which was opened with a code. */
export function noteSession(): void {
  sessionStorage.setItem(SESSION, 'yes');
}

export function isSession(): boolean {
  return sessionStorage.getItem(SESSION) !== null;
}

/** Forget the tab's token. */
export function forgetToken(): void {
  sessionStorage.removeItem(KEY);
  sessionStorage.removeItem(SESSION);
}

/** Take a code for one use out of the address, so that neither history nor a copied link has it. */
export function takeCode(): string | null {
  const values = new URLSearchParams(location.hash.replace(/^#/, ''));
  const code = values.get('code');
  if (code === null) return null;
  values.delete('code');
  const rest = values.toString();
  history.replaceState(history.state, '', location.pathname + location.search + (rest === '' ? '' : `#${rest}`));
  return code;
}
