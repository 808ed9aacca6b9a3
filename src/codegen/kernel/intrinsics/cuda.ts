/** Intrinsics of the CUDA target: reductions over a warp, four floats at a time. */
import { whole } from '../affine.ts'
import { intrinsicsWmma } from './wmma.ts'
import { WARP, type Intrinsic, type Lane } from './row.ts'

/** every lane's x = fn over the lanes */
const warpReduction = (
  name: string,
  formula: string,
  fn: (a: number, b: number) => number,
  step: string,
): Intrinsic => ({
  name,
  formula,
  places: [{ name: 'x', access: 'update' }],
  ints: [],
  scope: 'warp',
  meaning: (lanes: ReadonlyArray<Lane>) => {
    const views = lanes.map((l) => l.places[0]!)
    const all = views.map((v) => v.get(0)).reduce((x, y) => fn(x, y))
    views.forEach((v) => v.set(0, all))
  },
  text: {
    cuda: `static __device__ __forceinline__ float ${name}(float x) {
  for (int lanes = 16; lanes > 0; lanes /= 2) {
    const float y = __shfl_xor_sync(0xffffffffu, x, lanes);
    x = ${step};
  }
  return x;
}`,
  },
})

const four = (name: string, text: string): Intrinsic => ({
  name,
  formula: 'to[i] = from[i], i < 4',
  places: [
    { name: 'to', access: 'write', reach: () => [{ step: whole(1), count: whole(4) }] },
    { name: 'from', access: 'read', reach: () => [{ step: whole(1), count: whole(4) }] },
  ],
  ints: [],
  scope: 'thread',
  meaning: ({ places }) => {
    for (let i = 0; i < 4; i++) places[0]!.set(i, places[1]!.get(i))
  },
  text: { cuda: text },
})

export const intrinsicsCuda: ReadonlyArray<Intrinsic> = [
  warpReduction('warp_sum', `x = sum of the ${String(WARP)} lanes' x`, (a, b) => a + b, 'x + y'),
  warpReduction('warp_max', `x = greatest of the ${String(WARP)} lanes' x, NaN kept`, Math.max, 'larger(x, y)'),
  warpReduction('warp_min', `x = least of the ${String(WARP)} lanes' x, NaN kept`, Math.min, 'smaller(x, y)'),
  four(
    'load4',
    `static __device__ __forceinline__ void load4(float *to, const float *from) {
  *reinterpret_cast<float4 *>(to) = *reinterpret_cast<const float4 *>(from);
}`,
  ),
  four(
    'store4',
    `static __device__ __forceinline__ void store4(float *to, const float *from) {
  *reinterpret_cast<float4 *>(to) = *reinterpret_cast<const float4 *>(from);
}`,
  ),
  ...intrinsicsWmma,
]
