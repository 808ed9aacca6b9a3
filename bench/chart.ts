/** The run as a chart: a bar for every rival of every case, in milliseconds on a logarithmic axis. Drawn by Vega. */
import type { Form } from './case.ts'
import type { Result } from './result.ts'
import { showMs } from './table.ts'

export interface Bar {
  readonly case: string
  readonly who: string
  readonly ms: number
  readonly label: string
}

const ORDER: ReadonlyArray<Form> = ['step', 'both', 'forward']

/** The most telling form of each case: the step, else forward and backward, else forward. */
export const barsOf = ({ cases }: Pick<Result, 'cases'>): ReadonlyArray<Bar> =>
  cases.flatMap((c) => {
    const form = ORDER.find((f) => c.forms[f] !== undefined && Object.keys(c.forms[f]).length > 0)
    const times = form === undefined ? undefined : c.forms[form]
    if (form === undefined || times === undefined) return []
    const title = form === 'both' ? `${c.title}, forward and backward` : c.title
    const ours = times['c']?.median
    return Object.entries(times).map(([who, { median }]) => ({
      case: title,
      who,
      ms: median,
      label: `${showMs(median)} ms${ours === undefined || who === 'c' ? '' : `  (${(median / ours).toFixed(median / ours < 10 ? 1 : 0)} x)`}`,
    }))
  })

const BAND = 14

/** A Vega specification. Bars start at a decade that leaves the shortest one some length. */
export const specification = (bars: ReadonlyArray<Bar>): object => {
  const names = [...new Set(bars.map((b) => b.case))]
  const who = [...new Set(bars.map((b) => b.who))]
  // one line a bar, and a line of space between the cases
  let line = 0
  const placed = names.flatMap((name) => {
    const own = bars.filter((b) => b.case === name).map((b) => ({ ...b, line: line++ }))
    line++
    return own
  })
  const middles = names.map((name) => {
    const own = placed.filter((b) => b.case === name).map((b) => b.line)
    return { case: name, line: ((own[0] ?? 0) + (own.at(-1) ?? 0)) / 2 }
  })
  const shortest = Math.min(...bars.map((b) => b.ms))
  const low = 10 ** Math.floor(Math.log10(shortest / 2))
  return {
    $schema: 'https://vega.github.io/schema/vega/v6.json',
    width: 560,
    height: Math.max(1, line) * BAND,
    padding: 12,
    background: 'white',
    title: { text: 'Milliseconds on one core, less is better (in brackets: times ours)', anchor: 'start', offset: 8 },
    data: [
      { name: 'bars', values: placed },
      { name: 'cases', values: middles },
    ],
    scales: [
      { name: 'x', type: 'log', range: 'width', domain: [low, Math.max(...bars.map((b) => b.ms)) * 3], nice: false },
      { name: 'y', type: 'linear', range: [0, Math.max(1, line) * BAND], domain: [0, Math.max(1, line)], zero: false },
      { name: 'color', type: 'ordinal', domain: who, range: { scheme: 'tableau10' } },
    ],
    axes: [{ orient: 'bottom', scale: 'x', title: 'milliseconds', format: '~g', grid: true, tickCount: 6 }],
    legends: [{ fill: 'color', orient: 'top', direction: 'horizontal', columns: 6 }],
    marks: [
      {
        type: 'rect',
        from: { data: 'bars' },
        encode: {
          enter: {
            x: { value: 0 },
            x2: { scale: 'x', field: 'ms' },
            y: { scale: 'y', field: 'line', offset: 1 },
            height: { value: BAND - 2 },
            fill: { scale: 'color', field: 'who' },
          },
        },
      },
      {
        type: 'text',
        from: { data: 'bars' },
        encode: {
          enter: {
            x: { scale: 'x', field: 'ms', offset: 4 },
            y: { scale: 'y', field: 'line', offset: BAND / 2 },
            baseline: { value: 'middle' },
            fontSize: { value: 9 },
            text: { field: 'label' },
          },
        },
      },
      {
        type: 'text',
        from: { data: 'cases' },
        encode: {
          enter: {
            x: { value: -8 },
            y: { scale: 'y', field: 'line', offset: BAND / 2 },
            align: { value: 'right' },
            baseline: { value: 'middle' },
            fontSize: { value: 11 },
            text: { field: 'case' },
          },
        },
      },
    ],
  }
}

/** what is used of Vega; the package stands in `bench/package.json`, and may be missing */
interface Vega {
  readonly parse: (spec: object) => unknown
  readonly View: new (runtime: unknown, options: { renderer: 'none' }) => { readonly toSVG: () => Promise<string> }
}

/** The chart as SVG, or why there is none. */
export const draw = async (
  bars: ReadonlyArray<Bar>,
): Promise<{ readonly svg: string } | { readonly reason: string }> => {
  if (bars.length === 0) return { reason: 'there is nothing to draw' }
  const name = 'vega'
  try {
    const vega = (await import(name)) as Vega
    return { svg: await new vega.View(vega.parse(specification(bars)), { renderer: 'none' }).toSVG() }
  } catch (e) {
    return {
      reason: `vega is not installed (npm --prefix bench install): ${e instanceof Error ? e.message : String(e)}`,
    }
  }
}
