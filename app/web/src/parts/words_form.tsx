/** A line for words that go with an action, and the buttons to do it or not. */

import { useLayoutEffect, useRef, useState } from 'preact/hooks';

interface Props {
  label: string;
  action: string;
  act(words: string): Promise<void>;
  close(): void;
}

export function WordsForm({ label, action, act, close }: Props) {
  const [text, setText] = useState('');
  const [busy, setBusy] = useState(false);
  const field = useRef<HTMLInputElement>(null);
  useLayoutEffect(() => field.current?.focus(), []);
  return (
    <form
      class="composer words-form"
      onSubmit={(event) => {
        event.preventDefault();
        if (busy) return;
        setBusy(true);
        void act(text.trim()).finally(() => setBusy(false));
      }}
    >
      <input
        ref={field}
        aria-label={label}
        placeholder={label}
        value={text}
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === 'Escape') close();
        }}
      />
      <button type="submit" class="primary" disabled={busy}>
        {action}
      </button>
      <button type="button" class="quiet" onClick={close}>
        Not now
      </button>
    </form>
  );
}
