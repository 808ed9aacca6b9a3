/** Results as text: Markdown tables whose columns line up in a terminal too. */
import type { Form } from './case.ts'
import type { CaseResult, Claim, Result } from './result.ts'
import type { Summary } from './statistics.ts'

/** A Markdown table; numbers are right-aligned by the caller's own padding. */
export const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = head.map((h, i) => Math.max(3, h.length, ...rows.map((r) => (r[i] ?? '').length)))
  const line = (cells: ReadonlyArray<string>): string =>
    `| ${widths.map((w, i) => (cells[i] ?? '').padEnd(w)).join(' | ')} |`
  return [line(head), line(widths.map((w) => '-'.repeat(w))), ...rows.map(line)].join('\n')
}

export const showMs = (ms: number): string => (ms >= 100 ? ms.toFixed(0) : ms >= 1 ? ms.toFixed(2) : ms.toFixed(3))

const showTime = ({ median, best }: Summary): string => `${showMs(median)} (${showMs(best)})`

const FORMS: Readonly<Record<Form, string>> = { forward: 'fwd', both: 'fwd+bwd', step: 'step' }

/** of the machine: GFLOP/s and share of the peak, or GB/s and share of the bandwidth */
const rateOf = (c: CaseResult, form: Form, s: Summary): string => {
  const flops = c.flops[form]
  if (flops !== undefined) {
    const rate = flops / s.median / 1e6
    return `${rate.toFixed(0)} GFLOP/s, ${((100 * rate) / c.peak).toFixed(0)} %`
  }
  if (c.bytes === undefined || c.bandwidth === undefined) return ''
  const rate = c.bytes / s.median / 1e6
  return `${rate.toFixed(1)} GB/s, ${((100 * rate) / c.bandwidth).toFixed(0)} %`
}

/** One case: a row for every form and rival, ours first. */
export const showCase = (c: CaseResult): string => {
  const rows = Object.entries(c.forms).flatMap(([form, times]) =>
    Object.entries(times).map(([id, s]) => {
      const ours = times['c']
      return [
        FORMS[form as Form],
        id,
        showTime(s),
        ours === undefined || id === 'c' ? '' : (s.median / ours.median).toFixed(2),
        rateOf(c, form as Form, s),
        c.deviations[id]?.worst.toExponential(1) ?? '',
        s.waited > 0.05 ? `waited ${(100 * s.waited).toFixed(0)} % for the core` : '',
      ]
    }),
  )
  const failures = Object.entries(c.failures).map(([id, why]) => `FAILED ${id}: ${why}`)
  return [
    `${c.title} (${c.name}); results agree within ${c.bound.toExponential(1)} of ${c.reference}`,
    table(['form', 'who', 'ms (best)', 'x c', 'of the machine', 'deviation', ''], rows),
    ...failures,
  ].join('\n')
}

export const showClaims = (claims: ReadonlyArray<Claim>): string =>
  table(
    ['asked', 'measured', 'holds'],
    claims.map((c) => [c.asked, c.measured, c.holds === undefined ? '-' : c.holds ? 'yes' : 'NO']),
  )

const bytesText = (n: number): string =>
  n >= 2 ** 20 ? `${(n / 2 ** 20).toFixed(1)} MiB` : `${(n / 1024).toFixed(0)} KiB`

const showMachine = ({ machine: m }: Result): string =>
  [
    `${m.processor}, ${m.cores} cores, vectors of ${m.vectors}, ${m.memoryGiB} GiB; caches ${Object.entries(m.caches)
      .map(([level, size]) => `${level} ${size}`)
      .join(', ')}; ${m.system}, Node ${m.node}.`,
    `One core: ${m.peak.toFixed(0)} GFLOP/s of fused multiply-adds; triad ${m.bandwidth
      .map(({ bytes, rate }) => `${rate.toFixed(0)} GB/s over ${bytesText(bytes)}`)
      .join(', ')}. Load before the run: ${m.loadBefore.toFixed(1)}.`,
  ].join('\n')

const showCompilation = (r: Result): ReadonlyArray<string> =>
  r.compilation === undefined
    ? []
    : [
        '## Compiling the training step',
        'Vocabulary 512; a fresh process and an empty cache each.',
        table(
          [
            'layers',
            'launches',
            'trace and differentiate, ms',
            'passes, print, compile, load, ms',
            'of it cc, ms',
            'cc runs',
          ],
          r.compilation.steps.map((s) => [
            String(s.layers),
            String(s.launches),
            s.trace.toFixed(0),
            s.compile.toFixed(0),
            s.compiler.toFixed(0),
            String(s.runs),
          ]),
        ),
      ]

/** The whole run. */
export const showResult = (r: Result): string =>
  [
    '# Ours and the rivals, in one run',
    `Made by \`npm run bench${r.quick ? ' -- --quick' : ''}\` at ${r.when.slice(0, 10)}, revision ${r.revision}. One thread, pinned to one core; repeats are interleaved; times are milliseconds of that core's CPU time, medians and (bests); "x c" is the rival's median over ours.`,
    '## Machine',
    showMachine(r),
    '## Who',
    table(
      ['id', 'build'],
      r.rivals.map(({ id, build }) => [id, build]),
    ),
    ...r.absent.map((a) => `ABSENT ${a.id}: ${a.reason}`),
    '## What must hold',
    showClaims(r.claims),
    '## Cases',
    ...r.cases.map(showCase),
    ...showCompilation(r),
    '',
  ].join('\n\n')
