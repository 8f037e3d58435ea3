/** Fields of a form: a label, the input, and below it what is wrong or how to write it. */

import type { ComponentChildren } from 'preact';
import { createContext } from 'preact';
import { useContext } from 'preact/hooks';
import { visible } from '../format/text.ts';

/** What is wrong with a field, if it is to be said, and what is called when a reader leaves one. */
export interface FormState {
  problem(field: string): string | undefined;
  left(field: string): void;
}

export const FormContext = createContext<FormState>({ problem: () => undefined, left: () => {} });

interface FieldProps {
  id: string;
  label: string;
  hint?: string | undefined;
  children: ComponentChildren;
}

/** A field around its input, which has the attributes of `useField`. */
export function Field({ id, label, hint, children }: FieldProps) {
  const problem = useContext(FormContext).problem(id);
  return (
    <div class="field">
      <label for={id}>{label}</label>
      {children}
      {problem !== undefined ? (
        <p class="field-problem" id={`${id}-note`}>
          {visible(problem)}
        </p>
      ) : (
        hint && (
          <p class="faint field-hint" id={`${id}-note`}>
            {hint}
          </p>
        )
      )}
    </div>
  );
}

/** The attributes that tie an input to its label and note. */
export function useField(id: string, hint?: string) {
  const form = useContext(FormContext);
  const wrong = form.problem(id) !== undefined;
  return {
    id,
    onBlur: () => form.left(id),
    ...(wrong ? { 'aria-invalid': 'true' as const } : {}),
    ...(wrong || hint ? { 'aria-describedby': `${id}-note` } : {}),
  };
}

export interface TextProps {
  id: string;
  label: string;
  hint?: string;
  placeholder?: string;
  code?: boolean;
  /** More than one line. */
  rows?: number;
  numeric?: boolean;
  value: string;
  set(value: string): void;
}

export function TextField({ id, label, hint, placeholder, code = false, rows, numeric, value, set }: TextProps) {
  const common = { ...useField(id, hint), value, class: code ? 'code' : '', ...(placeholder ? { placeholder } : {}) };
  return (
    <Field id={id} label={label} hint={hint}>
      {rows === undefined ? (
        <input
          type="text"
          {...common}
          {...(numeric ? { inputMode: 'numeric' as const } : {})}
          onInput={(event) => set(event.currentTarget.value)}
        />
      ) : (
        <textarea {...common} rows={rows} onInput={(event) => set(event.currentTarget.value)} />
      )}
    </Field>
  );
}

export interface ChoiceProps<T extends string> {
  id: string;
  label: string;
  hint?: string;
  options: readonly (readonly [T, string])[];
  value: T;
  set(value: T): void;
}

export function ChoiceField<T extends string>({ id, label, hint, options, value, set }: ChoiceProps<T>) {
  const attributes = useField(id, hint);
  return (
    <Field id={id} label={label} hint={hint}>
      <select {...attributes} value={value} onChange={(event) => set(event.currentTarget.value as T)}>
        {options.map(([name, text]) => (
          <option key={name} value={name}>
            {text}
          </option>
        ))}
      </select>
    </Field>
  );
}

interface CheckProps {
  label: string;
  checked: boolean;
  set(checked: boolean): void;
}

export function CheckField({ label, checked, set }: CheckProps) {
  return (
    <label class="check">
      <input type="checkbox" checked={checked} onChange={(event) => set(event.currentTarget.checked)} />
      {label}
    </label>
  );
}
