/**
 * Explicit randomness: a key is two 32-bit words; the same key always gives the same numbers, on every
 * target with 32-bit integers. A key is split, never used twice.
 */
import { kit } from './build.ts'
import { dim, type DimLike } from './dim.ts'
import { dimsOf, wrap, type Tensor } from './tensor.ts'

export type Key = Tensor<'word', 'u32'>

/** An input of the program that holds a key. */
export const keyInput = (name: string): Key => wrap(kit.input(name, [{ name: 'word', size: dim(2) }], 'u32'))

/** The i-th of any number of independent keys. */
export const childKey = (key: Key, i: number): Key => {
  const words = kit.randomBits(key.node, [
    { name: 'child', size: dim(i + 1) },
    { name: 'pair', size: dim(2) },
  ])
  const pair = kit.reshape(kit.slice(words, 'child', i, 1), ['child', 'pair'], [{ name: 'word', size: dim(2) }])
  return wrap(pair)
}

/** Uniform in [low, high): low + (high - low) (bits + 1/2) / 2^32 */
export const uniform =
  (low: number, high: number) =>
  <const S extends Readonly<Record<string, DimLike>>>(key: Key, shape: S): Tensor<keyof S & string> => {
    const bits = kit.cast(kit.randomBits(key.node, dimsOf(shape)), 'f32')
    const unit = kit.map('mul', kit.map('add', bits, kit.scalar(0.5)), kit.scalar(2 ** -32))
    return wrap(kit.map('add', kit.map('mul', unit, kit.scalar(high - low)), kit.scalar(low)))
  }

/** Normal with mean 0 and the given standard deviation, by Box and Muller:  sqrt(-2 log u1) cos(2 pi u2) */
export const normal =
  (std: number) =>
  <const S extends Readonly<Record<string, DimLike>>>(key: Key, shape: S): Tensor<keyof S & string> => {
    const u1 = uniform(0, 1)(childKey(key, 0), shape).node
    const u2 = uniform(0, 2 * Math.PI)(childKey(key, 1), shape).node
    const radius = kit.map('sqrt', kit.map('mul', kit.map('log', u1), kit.scalar(-2)))
    return wrap(kit.map('mul', kit.map('mul', radius, kit.map('cos', u2)), kit.scalar(std)))
  }

/** Zeros, and any other constant, of a shape. */
export const fill =
  (x: number) =>
  <const S extends Readonly<Record<string, DimLike>>>(shape: S): Tensor<keyof S & string> =>
    wrap(kit.broadcast(kit.scalar(x), dimsOf(shape)))

/** The words of a key from a seed, for the caller that supplies the input. */
export const keyWords = (seed: number): readonly [number, number] => [Math.floor(seed / 2 ** 32) >>> 0, seed >>> 0]
