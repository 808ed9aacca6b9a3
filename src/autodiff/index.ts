/** Program -> Program: reverse mode and simplification. */
export { grad, hvp, valueAndGrad, vjp, vjpProgram, withVjp } from './vjp.ts'
export { proveEqual, proveZero, type Facts, type Proof } from './prove/index.ts'
export { costOf, simplifications, simplify, simplifyNodes, type Rule } from './simplify.ts'
