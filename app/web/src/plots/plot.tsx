/** One plot over time. The library that draws it is loaded when the first plot is shown. */

import { useEffect, useRef, useState } from 'preact/hooks';
import type uPlot from 'uplot';

const HEIGHT = 180;

export interface Curve {
  label: string;
  /** A colour of the theme: the name of a CSS variable. */
  colour: string;
  values: (number | null)[];
}

interface Props {
  title: string;
  /** Seconds since 1970. */
  times: number[];
  curves: Curve[];
  /** Write a value for a person. */
  format(value: number): string;
}

export function Plot({ title, times, curves, format }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const [dark, setDark] = useState(() => matchMedia('(prefers-color-scheme: dark)').matches);

  useEffect(() => {
    const media = matchMedia('(prefers-color-scheme: dark)');
    const changed = () => setDark(media.matches);
    media.addEventListener('change', changed);
    return () => media.removeEventListener('change', changed);
  }, []);

  // biome-ignore lint/correctness/useExhaustiveDependencies: the theme's colours are read again when it changes
  useEffect(() => {
    const element = box.current;
    if (element === null) return;
    let plot: uPlot | undefined;
    let left = false;
    const observer = new ResizeObserver(() => plot?.setSize({ width: element.clientWidth, height: HEIGHT }));
    void import('uplot').then(({ default: Plotter }) => {
      if (left) return;
      const data = [times, ...curves.map((curve) => curve.values)] as uPlot.AlignedData;
      plot = new Plotter(options(element, curves, format), data, element);
      observer.observe(element);
    });
    return () => {
      left = true;
      observer.disconnect();
      plot?.destroy();
    };
  }, [times, curves, format, dark]);

  return (
    <figure class="plot">
      <figcaption>{title}</figcaption>
      <div ref={box} role="img" aria-label={`${title}: ${summary(curves, format)}`} />
    </figure>
  );
}

/** Return what a plot shows, for those who cannot see it. */
function summary(curves: Curve[], format: (value: number) => string): string {
  return curves
    .map((curve) => {
      const known = curve.values.filter((value) => value !== null);
      const last = known.at(-1);
      if (last === undefined) return `${curve.label} without values`;
      return `${curve.label} at most ${format(known.reduce((one, other) => Math.max(one, other)))}, last ${format(last)}`;
    })
    .join('; ');
}

function options(element: HTMLElement, curves: Curve[], format: (value: number) => string): uPlot.Options {
  const theme = getComputedStyle(document.documentElement);
  const colour = (name: string) => theme.getPropertyValue(name).trim();
  const axis = { stroke: colour('--faint'), grid: { stroke: colour('--line'), width: 1 }, ticks: { show: false } };
  return {
    width: element.clientWidth,
    height: HEIGHT,
    cursor: { y: false },
    scales: { y: { range: (_, __, most) => [0, Math.max(1, most * 1.1)] } },
    axes: [axis, { ...axis, size: 56, values: (_, values) => values.map(format) }],
    series: [
      {},
      ...curves.map((curve) => ({
        label: curve.label,
        stroke: colour(curve.colour),
        width: 1.5,
        points: { show: curve.values.length < 3 },
        value: (_: uPlot, value: number | null) => (value === null ? '–' : format(value)),
      })),
    ],
  };
}
