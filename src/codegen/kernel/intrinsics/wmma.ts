/**
 * Tensor cores by `nvcuda::wmma`: 16 x 16 x 16, operands f16 or bf16, sums f32. A fragment is a warp's: 256 elements,
 * here eight a lane, row-major over the lanes; which lane really holds which is hidden, and nothing depends on it.
 */
import type { Intrinsic, Lane } from './row.ts'

const N = 16
/** elements of a fragment that a lane holds */
export const FRAGMENT = 8

/** every lane's elements with their row and column */
const each = (lanes: ReadonlyArray<Lane>, act: (lane: Lane, e: number, row: number, column: number) => void): void =>
  lanes.forEach((lane, l) => {
    for (let e = 0; e < FRAGMENT; e++) {
      const i = l * FRAGMENT + e
      act(lane, e, Math.floor(i / N), i % N)
    }
  })

const gathered = (lanes: ReadonlyArray<Lane>, place: number): Float64Array => {
  const all = new Float64Array(N * N)
  each(lanes, (lane, e, i, j) => {
    all[i * N + j] = lane.places[place]!.get(e)
  })
  return all
}

const fragment = (use: string, type: string, layout?: string): string =>
  `nvcuda::wmma::fragment<nvcuda::wmma::${use}, 16, 16, 16, ${type}${layout === undefined ? '' : `, nvcuda::wmma::${layout}`}>`

/** the C++ type of a fragment */
export const fragmentType = {
  left: (element: string): string => fragment('matrix_a', element, 'col_major'),
  right: (element: string): string => fragment('matrix_b', element, 'row_major'),
  acc: (): string => fragment('accumulator', 'float'),
} as const

export const intrinsicsWmma: ReadonlyArray<Intrinsic> = [
  {
    name: 'wmma_fill',
    formula: 'acc[i, j] = 0',
    places: [{ name: 'acc', access: 'write' }],
    ints: [],
    scope: 'warp',
    meaning: (lanes) => each(lanes, (lane, e) => lane.places[0]!.set(e, 0)),
    text: {
      cuda: `static __device__ __forceinline__ void wmma_fill(${fragmentType.acc()} &acc) {
  nvcuda::wmma::fill_fragment(acc, 0.0f);
}`,
    },
  },
  {
    name: 'wmma_load_left',
    formula: 'to[i, k] = from[k ld + i]',
    places: [
      { name: 'to', access: 'write' },
      { name: 'from', access: 'read' },
    ],
    ints: ['ld'],
    scope: 'warp',
    meaning: (lanes) =>
      each(lanes, (lane, e, i, k) => lane.places[0]!.set(e, lane.places[1]!.get(k * lane.ints[0]! + i))),
    text: {
      cuda: `template <class T>
static __device__ __forceinline__ void wmma_load_left(${fragmentType.left('T')} &to, const unsigned short *from, int ld) {
  nvcuda::wmma::load_matrix_sync(to, reinterpret_cast<const T *>(from), ld);
}`,
    },
  },
  {
    name: 'wmma_load_right',
    formula: 'to[k, j] = from[k ld + j]',
    places: [
      { name: 'to', access: 'write' },
      { name: 'from', access: 'read' },
    ],
    ints: ['ld'],
    scope: 'warp',
    meaning: (lanes) =>
      each(lanes, (lane, e, k, j) => lane.places[0]!.set(e, lane.places[1]!.get(k * lane.ints[0]! + j))),
    text: {
      cuda: `template <class T>
static __device__ __forceinline__ void wmma_load_right(${fragmentType.right('T')} &to, const unsigned short *from, int ld) {
  nvcuda::wmma::load_matrix_sync(to, reinterpret_cast<const T *>(from), ld);
}`,
    },
  },
  {
    name: 'wmma_mma',
    formula: 'acc[i, j] += sum_k left[i, k] right[k, j]',
    places: [
      { name: 'acc', access: 'update' },
      { name: 'left', access: 'read' },
      { name: 'right', access: 'read' },
    ],
    ints: [],
    scope: 'warp',
    meaning: (lanes) => {
      const [left, right] = [gathered(lanes, 1), gathered(lanes, 2)]
      each(lanes, (lane, e, i, j) => {
        let sum = lane.places[0]!.get(e)
        for (let k = 0; k < N; k++) sum += left[i * N + k]! * right[k * N + j]!
        lane.places[0]!.set(e, sum)
      })
    },
    text: {
      cuda: `template <class T>
static __device__ __forceinline__ void wmma_mma(${fragmentType.acc()} &acc, const ${fragmentType.left('T')} &left, const ${fragmentType.right('T')} &right) {
  nvcuda::wmma::mma_sync(acc, left, right, acc);
}`,
    },
  },
  {
    name: 'wmma_store',
    formula: 'to[i ld + j] = acc[i, j]',
    places: [
      { name: 'to', access: 'write' },
      { name: 'acc', access: 'read' },
    ],
    ints: ['ld'],
    scope: 'warp',
    meaning: (lanes) =>
      each(lanes, (lane, e, i, j) => lane.places[0]!.set(i * lane.ints[0]! + j, lane.places[1]!.get(e))),
    text: {
      cuda: `static __device__ __forceinline__ void wmma_store(float *to, const ${fragmentType.acc()} &acc, int ld) {
  nvcuda::wmma::store_matrix_sync(to, acc, ld, nvcuda::wmma::mem_row_major);
}`,
    },
  },
]
