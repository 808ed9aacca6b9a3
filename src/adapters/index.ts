/**
 * Adapters as values: what one is (`adapter`), its config (`field`), those that are built in (`builtin`), and
 * their files (`files/`).
 */
export * from './adapter.ts'
export { choice, flag, natural, positiveInt, real, type Field, type Fields, type FieldsOf } from './field.ts'
export * from './builtin.ts'
export { adapterNamed, registry } from './registry.ts'
export { cayley, nearestDivisor, reflectChain, skew } from './rotations.ts'
