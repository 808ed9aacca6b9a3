/** The adapters that come with Scion, one line each: a new one is its file and a line here. */
export { bottleneck } from './bottleneck.ts'
export { hra } from './hra.ts'
export { llamaAdapter } from './llama-adapter.ts'
export { lora } from './lora.ts'
export { oft } from './oft.ts'
