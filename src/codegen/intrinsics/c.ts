/** Intrinsics of the C target: the register-tiled inner product and the packing before it. */
import type { Intrinsic } from './row.ts'

export const intrinsicsC: ReadonlyArray<Intrinsic> = [
  {
    name: 'mma',
    formula:
      'acc[i ldc + j] = (accumulate ? acc[i ldc + j] : 0) + sum_k<depth a[k lda + i] b[k ldb + j], i < mr, j < nr',
    places: [
      { name: 'a', access: 'read' },
      { name: 'b', access: 'read' },
      { name: 'acc', access: 'update' },
    ],
    ints: ['width', 'mr', 'nr', 'depth', 'lda', 'ldb', 'ldc', 'accumulate'],
    scope: 'thread',
    meaning: ({ places, ints }) => {
      const [a, b, acc] = places
      const [, mr, nr, depth, lda, ldb, ldc, accumulate] = ints
      for (let i = 0; i < mr!; i++)
        for (let j = 0; j < nr!; j++) {
          let sum = accumulate === 0 ? 0 : acc!.get(i * ldc! + j)
          for (let k = 0; k < depth!; k++) sum += a!.get(k * lda! + i) * b!.get(k * ldb! + j)
          acc!.set(i * ldc! + j, sum)
        }
    },
    text: {},
  },
  {
    name: 'pack',
    formula: 'to[k p + i] = i < valid ? from[i si + k sk] : 0, i < p, k < depth',
    places: [
      { name: 'to', access: 'write' },
      { name: 'from', access: 'read' },
    ],
    ints: ['p', 'valid', 'depth', 'si', 'sk'],
    scope: 'thread',
    meaning: ({ places, ints }) => {
      const [to, from] = places
      const [p, valid, depth, si, sk] = ints
      for (let k = 0; k < depth!; k++)
        for (let i = 0; i < p!; i++) to!.set(k * p! + i, i < valid! ? from!.get(i * si! + k * sk!) : 0)
    },
    text: {},
  },
]
