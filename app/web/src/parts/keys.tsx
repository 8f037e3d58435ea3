/** Keys that work on every page, and the list of all keys. */

import { useEffect, useLayoutEffect, useRef, useState } from 'preact/hooks';

const GO: Record<string, string> = { i: '/inbox', t: '/tasks', s: '/schedules', w: '/workers', h: '/health' };
const SECOND_KEY_MS = 1200;
const LIST: [string, string][] = [
  ['g i, g t, g s', 'go to the inbox, tasks, schedules'],
  ['g w, g h', 'go to the workers, health'],
  ['c', 'new task'],
  ['j, k', 'next, previous row'],
  ['Enter', 'open the row'],
  ['x', 'choose the row'],
  ['/', 'search'],
  ['f', 'follow the end of a log'],
  ['[, ]', 'previous, next job of a task'],
  ['e', 'next failed job of a task'],
  ['m', 'write a message to a task'],
  ['p', 'pause or resume a task'],
  ['?', 'show these keys'],
];

/** Whether a key belongs to what is being typed. */
export function isTyping(event: KeyboardEvent): boolean {
  const target = event.target as HTMLElement;
  return event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
}

/** Call a function for a key that is pressed outside of fields. */
export function useKey(keys: { [key: string]: () => void }): void {
  const newest = useRef(keys);
  newest.current = keys;
  // before the page is seen: an effect would come after the next frame, and lose what is pressed until then
  useLayoutEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (isTyping(event) || document.querySelector('dialog[open]') !== null) return;
      const act = newest.current[event.key];
      if (act === undefined || event.defaultPrevented) return;
      event.preventDefault();
      act();
    };
    addEventListener('keydown', pressed);
    return () => removeEventListener('keydown', pressed);
  }, []);
}

export function Keys({ go }: { go(address: string): void }) {
  const [shown, setShown] = useState(false);
  const dialog = useRef<HTMLDialogElement>(null);
  const after = useRef(0);

  useLayoutEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      if (isTyping(event) || document.querySelector('dialog[open]') !== null) return;
      const second = GO[event.key];
      if (Date.now() - after.current < SECOND_KEY_MS && second !== undefined) {
        event.preventDefault();
        after.current = 0;
        go(second);
      } else if (event.key === 'g') after.current = Date.now();
      else if (event.key === 'c') {
        event.preventDefault(); // the form has the focus before the letter would be written
        go('/new');
      } else if (event.key === '?') setShown(true);
    };
    // before the keys of pages, which may use the second letter themselves
    addEventListener('keydown', pressed, { capture: true });
    return () => removeEventListener('keydown', pressed, { capture: true });
  }, [go]);

  useEffect(() => {
    if (shown) dialog.current?.showModal();
  }, [shown]);

  if (!shown) return null;
  return (
    <dialog ref={dialog} onClose={() => setShown(false)} aria-label="Keys">
      <h2>Keys</h2>
      <table>
        <tbody>
          {LIST.map(([keys, what]) => (
            <tr key={keys}>
              <th scope="row">
                <kbd>{keys}</kbd>
              </th>
              <td>{what}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <button type="button" onClick={() => dialog.current?.close()}>
        Close
      </button>
    </dialog>
  );
}
