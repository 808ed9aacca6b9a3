/** A config field: one record from which decoder, generator, help text and documentation come. */
import fc from 'fast-check'
import * as t from 'io-ts'

// ---------------------------------------------------------------------------------------- model

export interface Field<A> {
  readonly codec: t.Type<A>
  /** values that laws try */
  readonly arbitrary: fc.Arbitrary<A>
  readonly default: A
  readonly doc: string
}

export type Fields = Readonly<Record<string, Field<unknown>>>
/** a field for each key of a config record */
export type FieldsOf<C> = { readonly [K in keyof C]: Field<C[K]> }

// --------------------------------------------------------------------------------- constructors

const refined = <A>(name: string, base: t.Type<A>, holds: (a: A) => boolean): t.Type<A> =>
  new t.Type<A>(
    name,
    (u): u is A => base.is(u) && holds(u),
    (u, c) => {
      const decoded = base.validate(u, c)
      return decoded._tag === 'Right' && !holds(decoded.right) ? t.failure(u, c) : decoded
    },
    base.encode,
  )

/** A whole number of at least 1; laws try small ones. */
export const positiveInt = (
  byDefault: number,
  doc: string,
  tries: readonly [number, number] = [1, 4],
): Field<number> => ({
  codec: refined('a positive integer', t.number, (n) => Number.isSafeInteger(n) && n > 0),
  arbitrary: fc.integer({ min: tries[0], max: tries[1] }),
  default: byDefault,
  doc,
})

/** The field, which laws leave at its default: what does not change the mathematics, or only its rounding. */
export const untried = <A>(field: Field<A>): Field<A> => ({ ...field, arbitrary: fc.constant(field.default) })

/** A whole number of at least 0; laws leave it at the default. */
export const natural = (byDefault: number, doc: string): Field<number> => ({
  codec: refined('an integer of at least 0', t.number, (n) => Number.isSafeInteger(n) && n >= 0),
  arbitrary: fc.constant(byDefault),
  default: byDefault,
  doc,
})

/** A finite number; laws try the interval. */
export const real = (byDefault: number, doc: string, tries: readonly [number, number] = [0.5, 3]): Field<number> => ({
  codec: refined('a finite number', t.number, Number.isFinite),
  arbitrary: fc.double({ min: tries[0], max: tries[1], noNaN: true }),
  default: byDefault,
  doc,
})

export const flag = (byDefault: boolean, doc: string): Field<boolean> => ({
  codec: t.boolean,
  arbitrary: fc.boolean(),
  default: byDefault,
  doc,
})

/** One of a few words. */
export const choice = <const A extends string>(options: readonly [A, ...A[]], doc: string): Field<A> => ({
  codec: new t.Type<A>(
    `one of ${options.map((o) => `"${o}"`).join(', ')}`,
    (u): u is A => options.some((o) => o === u),
    (u, c) => {
      const known = options.find((o) => o === u)
      return known === undefined ? t.failure(u, c) : t.success(known)
    },
    (a) => a,
  ),
  arbitrary: fc.constantFrom(...options),
  default: options[0],
  doc,
})
