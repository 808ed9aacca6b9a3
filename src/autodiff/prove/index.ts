/** The prover: equality of graphs for all sizes, by a normal form of its own. */
export { proveEqual, proveZero, type Facts, type Proof } from './prove.ts'
