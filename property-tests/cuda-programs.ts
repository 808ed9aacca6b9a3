/** What the CUDA recipes are tested on beside the zoo: ragged and unknown widths, tiles, streams in chunks, halves, systems; sizes stay symbols. */
import { pipe } from 'fp-ts/lib/function.js'
import { registry } from '../src/adapters/registry.ts'
import type { Adapter } from '../src/adapters/adapter.ts'
import { grad } from '../src/autodiff/index.ts'
import { kit } from '../src/dsl/build.ts'
import type { Sizes } from '../src/dsl/dim.ts'
import * as L from '../src/dsl/index.ts'
import type { Program } from '../src/dsl/program.ts'
import { rmsNorm } from '../src/models/layers.ts'
import { causalLoss } from '../src/models/loss.ts'
import type { Animal } from './codegen/zoo.ts'
import { adapted, attended, both, get, normed, prompted, softened, type Traced } from './codegen/traced.ts'

const tokens = { batch: 'B', token: 'T' }

const specimen = (name: string, program: Program, sizes: Sizes, ids = 4): Animal => ({
  ...{ name, program, sizes: [sizes], large: [], ids },
})

const lossProgram = (): Program => {
  const x = L.input('x', { batch: 2, token: 5, in: 12 })
  const [W, gain] = [L.input('W', { vocab: 33, in: 12 }), L.input('gain', { in: 12 })]
  const logits = pipe(rmsNorm(gain, 1e-5)(x as never), L.dot(W, 'in'))
  const loss = causalLoss(logits, L.input('t', { batch: 2, token: 5 }, 'i32') as never)
  return get(L.program('loss', { loss, dx: grad(loss, { x })['x'] }))
}

/** x W^T + b with operands as halves, sums in f32: tensor cores */
const halvesProgram = (half: 'f16' | 'bf16'): Program => {
  const x = L.input('x', { batch: 'B', token: 'T', in: 50 }, half)
  const [W, b] = [L.input('W', { out: 70, in: 50 }, half), L.input('b', { out: 70 })]
  return get(L.program(half, { y: pipe(x, L.cast('f32'), L.dot(pipe(W, L.cast('f32')), 'in'), L.add(b), L.silu) }))
}

/** nothing is cast: halves in, halves out */
const halfResults = (half: 'f16' | 'bf16'): Program => {
  const [x, W] = [L.input('x', { token: 'T', in: 64 }, half), L.input('W', { out: 128, in: 64 }, half)]
  return get(L.program(half, { y: L.wrap(kit.dot(x.node, W.node, ['in'])) }))
}

const n = 5
const [square, eye] = [L.input('m', { row: n, col: n }), L.eye('row', 'col', n)]
const skew = pipe(square, L.sub(pipe(square, L.rename({ row: 'col', col: 'row' }))))

/** ones beside the diagonal, cyclically: elimination cannot start without exchanging rows */
const shifted = pipe(
  L.eye('row', 'col', n + 1),
  L.slice('row', 1, n),
  L.slice('col', 0, n),
  L.add(pipe(L.eye('row', 'col', 1), L.pad('row', 0, n - 1), L.pad('col', n - 1, 0))),
)

/** Systems: what needs no pivot and what does, both triangles, right-hand sides of unknown number. */
const systems = (): ReadonlyArray<Animal> => {
  const rhs = L.input('rhs', { row: n, c: 3 })
  const wide = L.input('rhs', { row: n, c: 'C' })
  const triangle = pipe(square, L.add(pipe(eye, L.scale(3))))
  const of = (name: string, y: L.AnyTensor, wrt: Traced['wrt']): Animal =>
    specimen(name, both(name, { y, wrt }), { C: 7 })
  // a diagonal of zeros
  const permuted = pipe(square, L.mul(pipe(eye, L.neg, L.add(1))), L.scale(0.1), L.add(pipe(shifted, L.scale(2))))
  return [
    of('Cayley', pipe(rhs, L.solve(pipe(eye, L.add(skew)), 'row', 'col')), { m: square, rhs }),
    of('rows exchanged', pipe(rhs, L.solve(permuted, 'row', 'col')), { m: square, rhs }),
    of('lower triangle', pipe(rhs, L.triSolve(triangle, 'row', 'col', 'lower')), { m: square, rhs }),
    of('upper triangle', pipe(rhs, L.triSolve(triangle, 'row', 'col', 'upper')), { m: square, rhs }),
    of('any number of sides', pipe(wide, L.solve(permuted, 'row', 'col')), { m: square, rhs: wide }),
  ]
}

const few: Sizes = { B: 2, T: 5 }
const adapters: ReadonlyArray<Adapter> = registry

/** Small and ragged; widths literal, then symbolic. */
export const specimens: ReadonlyArray<Animal> = [
  ...adapters
    .filter((a) => a.site !== 'attention')
    .flatMap((a) => [
      specimen(a.name, both(a.name, adapted(a, 12, 20)), few),
      specimen(`${a.name}, widths unknown`, both(a.name, adapted(a, 'I', 'O')), { ...few, I: 12, O: 20 }),
    ]),
  ...adapters
    .filter((a) => a.name === 'lora')
    .map((a) => specimen('lora, tiles', both(a.name, adapted(a, 36, 70)), { B: 3, T: 23 })),
  specimen('llama-adapter', both('prompted', prompted(2, 2, 4, 3)), few),
  specimen('attention', both('attention', attended(2, 2, 4)), few),
  specimen('rmsNorm', both('norm', normed(tokens, 12)), few),
  specimen('rmsNorm, width unknown', both('norm', normed(tokens, 'I')), { ...few, I: 300 }),
  specimen('softmax', both('softmax', softened({ token: 'T' }, 70)), few),
  specimen('softmax, width unknown', both('softmax', softened({ token: 'T' }, 'I')), { T: 3, I: 301 }),
  ...(['f16', 'bf16'] as const).flatMap((half) => [
    specimen(`${half}, sums f32`, halvesProgram(half), { B: 3, T: 23 }),
    specimen(`${half} throughout`, halfResults(half), { T: 37 }),
  ]),
  ...systems(),
  specimen('attention, chunks', both('attention', attended(1, 2, 8)), { B: 1, T: 37 }),
  specimen('cross-entropy', lossProgram(), {}, 33),
]
