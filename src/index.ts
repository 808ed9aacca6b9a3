/** Scion's table of contents: what a user imports. */
export * from './dsl/fault.ts'
