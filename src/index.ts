/**
 * Scion's table of contents: what a user imports.
 *
 *     dsl       the language: tensors with named axes, programs, faults, the f64 oracle
 *     autodiff  gradients as programs; the simplifier; the prover
 *     codegen   programs -> kernels -> something that runs
 *     adapters  the declaration of an adapter, the built-in ones, their laws and files
 *     models    LLaMA, its files, training and generation
 */
export * from './dsl/index.ts'
export * from './autodiff/index.ts'
export * from './codegen/index.ts'
export * from './adapters/index.ts'
export * from './models/index.ts'
