/**
 * The laws: the standard ones, which run for every adapter, and those that an adapter names for itself.
 * An adapter's own law replaces the standard one of its name.
 */
import type { Law } from '../adapter.ts'
import {
  aliveAtInit,
  baseUntouched,
  batchIndependent,
  deterministicInit,
  everyParameterMatters,
  frozenGetsNoGradient,
  gradMatchesDifferences,
  identityAtInit,
} from './start.ts'
import { checkpointRoundTrip, composeAssociative, composeIdentity, keysIndependent, paramCount } from './statics.ts'
import { linearInInput, mergeEquivalent, sequentialMerge, unmergeInverse } from './weights.ts'

export {
  aliveAtInit,
  baseUntouched,
  batchIndependent,
  deterministicInit,
  everyParameterMatters,
  frozenGetsNoGradient,
  gradMatchesDifferences,
  identityAtInit,
  onlyWhen,
} from './start.ts'
export { checkpointRoundTrip, composeAssociative, composeIdentity, keysIndependent, paramCount } from './statics.ts'
export {
  approximates,
  linearInInput,
  matchesDefinition,
  mergeEquivalent,
  neuronAngles,
  normPreserving,
  orthogonal,
  rankAtMost,
  scaleZeroIsBase,
  sequentialMerge,
  unmergeInverse,
  type Rotation,
} from './weights.ts'

/** Run for every adapter, cheap ones first: the order in which mutants meet them. */
export const standardLaws: ReadonlyArray<Law> = [
  paramCount,
  keysIndependent,
  deterministicInit,
  checkpointRoundTrip,
  identityAtInit(),
  baseUntouched,
  mergeEquivalent,
  linearInInput,
  batchIndependent,
  everyParameterMatters,
  sequentialMerge,
  unmergeInverse,
  composeIdentity,
  composeAssociative,
  frozenGetsNoGradient,
  gradMatchesDifferences,
  aliveAtInit,
]
