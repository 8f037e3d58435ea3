/** How a stretch of output looks, as `ESC [ … m` sets it. */

/** A colour: one of the 256 of terminals by its number, or `#rrggbb`. */
export type Colour = number | string;

export interface Style {
  readonly fg?: Colour;
  readonly bg?: Colour;
  readonly bold?: boolean;
  readonly dim?: boolean;
  readonly italic?: boolean;
  readonly underline?: boolean;
  readonly inverse?: boolean;
  readonly strike?: boolean;
}

export const PLAIN: Style = {};

const SETS: Record<number, Partial<Style>> = {
  1: { bold: true },
  2: { dim: true },
  3: { italic: true },
  4: { underline: true },
  7: { inverse: true },
  9: { strike: true },
};
const CLEARS: Record<number, (keyof Style)[]> = {
  21: ['bold'],
  22: ['bold', 'dim'],
  23: ['italic'],
  24: ['underline'],
  27: ['inverse'],
  29: ['strike'],
  39: ['fg'],
  49: ['bg'],
};

/** Return the style after a sequence `ESC [ PARAMETERS m`. */
export function styleAfter(style: Style, parameters: string): Style {
  const codes = parameters
    .replace(/:/g, ';')
    .split(';')
    .map((code) => Number(code || 0));
  let next = style;
  for (let at = 0; at < codes.length; at++) {
    const code = codes[at] ?? 0;
    if (code === 0) next = PLAIN;
    else if (code === 38 || code === 48) {
      const [colour, used] = extended(codes, at + 1);
      if (colour !== undefined) next = { ...next, [code === 38 ? 'fg' : 'bg']: colour };
      at += used;
    } else next = simple(next, code);
  }
  return next;
}

function simple(style: Style, code: number): Style {
  if (SETS[code]) return { ...style, ...SETS[code] };
  if (code >= 30 && code <= 37) return { ...style, fg: code - 30 };
  if (code >= 40 && code <= 47) return { ...style, bg: code - 40 };
  if (code >= 90 && code <= 97) return { ...style, fg: code - 82 };
  if (code >= 100 && code <= 107) return { ...style, bg: code - 92 };
  const cleared = CLEARS[code];
  if (cleared === undefined) return style;
  const next: { -readonly [K in keyof Style]: Style[K] } = { ...style };
  for (const name of cleared) delete next[name];
  return next;
}

/** Read `5;N` or `2;R;G;B`; return the colour, if it is one, and how many codes it took. */
function extended(codes: number[], at: number): [Colour | undefined, number] {
  if (codes[at] === 5) {
    const index = codes[at + 1];
    return [index !== undefined && index >= 0 && index <= 255 ? index : undefined, 2];
  }
  if (codes[at] !== 2) return [undefined, 1];
  const parts = codes.slice(at + 1, at + 4);
  const valid = parts.length === 3 && parts.every((part) => part >= 0 && part <= 255);
  return [valid ? `#${parts.map((part) => part.toString(16).padStart(2, '0')).join('')}` : undefined, 4];
}

/** Return a colour of the 256 from 16 on as `#rrggbb`; the first 16 are the theme's. */
export function paletteColour(index: number): string {
  const levels = [0, 95, 135, 175, 215, 255];
  const parts =
    index >= 232
      ? [0, 0, 0].map(() => 8 + (index - 232) * 10)
      : [36, 6, 1].map((place) => levels[Math.floor((index - 16) / place) % 6] ?? 0);
  return `#${parts.map((part) => part.toString(16).padStart(2, '0')).join('')}`;
}
