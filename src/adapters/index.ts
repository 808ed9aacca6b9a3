/**
 * Adapters as values: what one is (`adapter`), its config (`field`), those that are built in (`builtin`), and
 * their files (`files/`).
 */
export * from './adapter.ts'
export { choice, flag, natural, positiveInt, real, untried, type Field, type Fields, type FieldsOf } from './field.ts'
export * from './builtin.ts'
export {
  runLaws,
  showCounterexample,
  showVerdict,
  standardLaws,
  type LawReport,
  type LawResult,
  type MutationResult,
} from './laws/index.ts'
export {
  approximates,
  identityAtInit,
  linearInInput,
  matchesDefinition,
  mergeEquivalent,
  neuronAngles,
  normPreserving,
  orthogonal,
  rankAtMost,
  scaleZeroIsBase,
} from './laws/standard.ts'
export { compose, composition, graft, identityAdapter } from './compose.ts'
export { deriveMerge, mergeWeight } from './merge.ts'
export { adapterNamed, registry } from './registry.ts'
export { cayley, nearestDivisor, reflectChain, skew } from './rotations.ts'
export {
  readAdapter,
  writeAdapter,
  type LoadedAdapter,
  type SavedAdapter,
  type SiteTensors,
  type StoredParam,
} from './files/folder.ts'
