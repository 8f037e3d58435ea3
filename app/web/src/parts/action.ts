/** A button's call: whether it is under way, and how it ended. */

import { useState } from 'preact/hooks';
import { failureOf } from '../api.ts';
import { useApp } from '../context.tsx';

/** Return whether a call is under way, and what makes one, says how it ended and loads the page again. */
export function useAction(
  reload: () => void,
): [boolean, (call: () => Promise<unknown>, done: string) => Promise<boolean>] {
  const { say } = useApp();
  const [busy, setBusy] = useState(false);
  const act = async (call: () => Promise<unknown>, done: string) => {
    setBusy(true);
    let succeeded = true;
    try {
      await call();
      say(done);
    } catch (error) {
      const failure = failureOf(error);
      say(`${failure.message} ${failure.hint}`, 'bad');
      succeeded = false;
    }
    setBusy(false);
    reload();
    return succeeded;
  };
  return [busy, act];
}
