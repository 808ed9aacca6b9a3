/** Intrinsics of the CUDA target: reductions over a warp, four floats at a time. */
import { WARP, type Intrinsic, type Lane } from './row.ts'

/** every lane's x = fn over the lanes */
const warpReduction = (name: string, formula: string, fn: (a: number, b: number) => number): Intrinsic => ({
  name,
  formula,
  places: [{ name: 'x', access: 'update' }],
  ints: [],
  scope: 'warp',
  meaning: (lanes: ReadonlyArray<Lane>) => {
    const views = lanes.map((l) => l.places[0]!)
    const all = views.map((v) => v.get(0)).reduce(fn)
    views.forEach((v) => v.set(0, all))
  },
  text: {},
})

const four = (name: string): Intrinsic => ({
  name,
  formula: 'to[i] = from[i], i < 4',
  places: [
    { name: 'to', access: 'write' },
    { name: 'from', access: 'read' },
  ],
  ints: [],
  scope: 'thread',
  meaning: ({ places }) => {
    for (let i = 0; i < 4; i++) places[0]!.set(i, places[1]!.get(i))
  },
  text: {},
})

export const intrinsicsCuda: ReadonlyArray<Intrinsic> = [
  warpReduction('warp_sum', `x = sum of the ${String(WARP)} lanes' x`, (a, b) => a + b),
  warpReduction('warp_max', `x = greatest of the ${String(WARP)} lanes' x, NaN kept`, Math.max),
  warpReduction('warp_min', `x = least of the ${String(WARP)} lanes' x, NaN kept`, Math.min),
  four('load4'),
  four('store4'),
]
