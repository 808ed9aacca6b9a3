/** The shipped model speaks, with an adapter grafted on: which target computes, whether keys are kept, and the text. */
import * as E from 'fp-ts/lib/Either.js'
import { pipe } from 'fp-ts/lib/function.js'
import { adapter, cumsum, generate, graftOnto, llamaSites, llamaValues, loadModel, scale, showFaults } from 'scion'

const nothing = { config: {}, params: () => ({}), init: () => () => ({ params: {} }) }
const site = { site: 'linear' as const, targets: ['q_proj'] }

// y = 0.9 x W^T : every token by itself, so the keys of the tokens before are kept
const calmer = adapter({
  ...{ name: 'calmer', doc: 'queries scaled', ...nothing, ...site },
  apply: () => (_, x, host) => pipe(host.call(x), scale(0.9)),
})
// y_t = (sum of x_s over s <= t) W^T : a token looks at those before it, so the text is read again for each
const blurred = adapter({
  ...{ name: 'blurred', doc: 'queries of running sums', ...nothing, ...site },
  apply: () => (_, x, host) => host.call(pipe(x, cumsum('token'))),
})

const model = loadModel(new URL('../checkpoints/moby', import.meta.url).pathname)
if (E.isLeft(model)) console.error(showFaults(model.left))
else {
  const { config, tensors, tokenizer } = model.right
  const prompt = tokenizer?.encode('The captain') ?? []
  for (const a of [calmer, blurred]) {
    const grafted = graftOnto(llamaSites(config), a, {})
    if (E.isLeft(grafted)) continue
    const speaker = {
      ...{ config, weights: llamaValues(config, tensors), params: {}, target: 'auto' as const },
      grafted: grafted.right,
    }
    const ids = await generate(
      speaker,
      prompt,
      24,
      { temperature: 0, topP: 1, seed: 0 },
      {
        onReady: ({ target, reason, rereads }) =>
          console.log(`${a.name}, ${target}, for "${reason}": ${rereads ?? 'keys are kept'}`),
      },
    )()
    console.log(E.isRight(ids) ? tokenizer?.decode([...prompt, ...ids.right]) : showFaults(ids.left))
  }
}
