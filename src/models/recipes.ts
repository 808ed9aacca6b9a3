/**
 * Peak learning rates that worked: the best of a sweep by factors of 3 over 200 steps of 4 x 128 tokens on
 * a 260 thousand parameter LLaMA (bench/peft). AdamW, linear warm-up, cosine to zero.
 */
const peaks: Readonly<Record<string, number>> = {
  lora: 1e-2,
  oft: 2e-2,
  hra: 1e-1,
  'llama-adapter': 1e-1,
  bottleneck: 2e-2,
}

/** Where nothing is known, LoRA's. */
export const learningRateOf = (adapter: string): number => peaks[adapter] ?? 1e-2
