/** What must hold, line by line, against what a run measured. */
import type { Form } from './case.ts'
import type { CaseResult, Claim, Compilation, Result, RivalResult } from './result.ts'
import type { Summary } from './statistics.ts'

type Found = Pick<Result, 'cases' | 'rivals' | 'compilation'>

interface Line {
  readonly asked: string
  readonly measure: (f: Found) => { readonly text: string; readonly holds: boolean } | undefined
}

// --------------------------------------------------------------------------------- constructors

/** rivals by what they are, not by version: MKL is what pip's torch has, OpenBLAS what Debian's has */
const RIVALS = {
  'torch with OpenBLAS': (r: RivalResult) => r.family === 'torch' && r.build.includes('OpenBLAS'),
  "pip's torch (MKL)": (r: RivalResult) => r.family === 'torch' && r.build.includes('MKL'),
  'jax-js': (r: RivalResult) => r.family === 'jax-js',
  gpujs: (r: RivalResult) => r.family === 'gpujs',
}

const timeOf = (c: CaseResult | undefined, form: Form, id: string | undefined): Summary | undefined =>
  id === undefined ? undefined : c?.forms[form]?.[id]

/** c's median at most so many times the rival's */
const ratio = (name: string, form: Form, rival: keyof typeof RIVALS, most: number): Line => ({
  asked: `${name}: c at most ${most} x ${rival}`,
  measure: ({ cases, rivals }) => {
    const found = cases.find((c) => c.name === name)
    const ours = timeOf(found, form, 'c')
    const theirs = timeOf(found, form, rivals.find(RIVALS[rival])?.id)
    if (ours === undefined || theirs === undefined) return undefined
    const [medians, bests] = [ours.median / theirs.median, ours.best / theirs.best]
    return { text: `${medians.toFixed(2)} (bests ${bests.toFixed(2)})`, holds: medians <= most }
  },
})

const adapters = ['lora-8', 'lora-64', 'hra-8', 'oft-32', 'llama-adapter']

const shareOfPeak = (name: string, least: number): Line => ({
  asked: `${name}: at least ${(100 * least).toFixed(0)} % of the FMA peak of the same run`,
  measure: ({ cases }) => {
    const found = cases.find((c) => c.name === name)
    const ours = timeOf(found, 'forward', 'c')
    const flops = found?.flops.forward
    if (found === undefined || ours === undefined || flops === undefined) return undefined
    const rate = flops / ours.median / 1e6
    const share = rate / found.peak
    const best = flops / ours.best / 1e6 / found.peak
    return {
      text: `${(100 * share).toFixed(0)} % (best ${(100 * best).toFixed(0)} %): ${rate.toFixed(0)} of ${found.peak.toFixed(0)} GFLOP/s`,
      holds: share >= least,
    }
  },
})

const compiled = (
  asked: string,
  measure: (c: Compilation) => { readonly text: string; readonly holds: boolean } | undefined,
): Line => ({ asked, measure: ({ compilation }) => (compilation === undefined ? undefined : measure(compilation)) })

const six = (c: Compilation) => c.steps.find((s) => s.layers === 6)
const deep = (c: Compilation) => c.steps.find((s) => s.layers === 24)
const seconds = (ms: number): string => `${(ms / 1000).toFixed(2)} s`

const lines: ReadonlyArray<Line> = [
  ...adapters.map((name) => ratio(name, 'both', 'torch with OpenBLAS', 1.3)),
  ...adapters.map((name) => ratio(name, 'both', "pip's torch (MKL)", 0.7)),
  ...adapters.filter((name) => name !== 'oft-32').map((name) => ratio(name, 'both', 'jax-js', 0.25)),
  shareOfPeak('contraction-512', 0.7),
  ...['step-512', 'step-32000'].map((name) => ratio(name, 'step', 'torch with OpenBLAS', 1.1)),
  compiled("the step's source prints and compiles in at most 2 s", (c) => {
    const step = six(c)
    return step && { text: `${seconds(step.compile)}, of it cc ${seconds(step.compiler)}`, holds: step.compile <= 2000 }
  }),
  compiled("cc's time for 24 layers at most 1.1 x that for 6", (c) => {
    const [a, b] = [six(c), deep(c)]
    if (a === undefined || b === undefined) return undefined
    const times = b.compiler / a.compiler
    return { text: `${times.toFixed(2)}: ${seconds(b.compiler)}, ${seconds(a.compiler)}`, holds: times <= 1.1 }
  }),
  compiled("total time per layer doesn't grow from 6 to 24 layers", (c) => {
    const [a, b] = [six(c), deep(c)]
    if (a === undefined || b === undefined) return undefined
    const per = [a, b].map((s) => (s.trace + s.compile) / s.layers)
    return { text: per.map((ms) => `${ms.toFixed(0)} ms`).join(', then '), holds: per[1]! <= per[0]! }
  }),
  compiled('no recompilation when sizes change', ({ runsForTwoSizes }) => ({
    text: `${runsForTwoSizes} run${runsForTwoSizes === 1 ? '' : 's'} of cc for two sizes`,
    holds: runsForTwoSizes <= 1,
  })),
  ratio('demo-step', 'step', 'gpujs', 0.2),
]

/** Every line with what was measured for it. */
export const judge = (found: Found): ReadonlyArray<Claim> =>
  lines.map(({ asked, measure }) => {
    const measured = measure(found)
    return { asked, measured: measured?.text ?? 'not measured', holds: measured?.holds }
  })
