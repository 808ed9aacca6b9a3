/** Regions: `call` (a function with a custom VJP), and `fault`, a misuse that travels with the graph to `check`. */
import * as E from 'fp-ts/lib/Either.js'
import { dim } from '../dim.ts'
import { intern, showType, type Node, type Type } from '../node.ts'
import { elements } from '../value.ts'
import type { Primitive } from './row.ts'
import { misuse } from './typing.ts'

export const call: Primitive<'call'> = {
  doc: 'body(args) with a VJP of its own: rule(args, y, ct) gives the cotangents',
  type: (args, { body }) => {
    const result = body.results[0]
    if (result === undefined || body.results.length !== 1)
      return E.left(misuse('a body with one result', String(body.results.length)))
    if (args.length !== body.params.length)
      return E.left(misuse(`${String(body.params.length)} arguments`, String(args.length)))
    const bad = args.findIndex((a, i) => showType(a) !== showType(body.params[i]!.type))
    return bad >= 0
      ? E.left(misuse(`argument ${String(bad)} of type ${showType(body.params[bad]!.type)}`, showType(args[bad]!)))
      : E.right(result.type)
  },
  vjp: (k, ct, node) => k.inline(node.attrs.rule, [...node.args, node, ct]),
  meaning: (args, { body }, _, run) => run.region(body, args)[0]!.data,
  bound: (args, { body }, _, __, run) => run.boundedRegion(body, args)[0]!.bound,
  flops: (_, out) => elements(out),
  // y = a b, with da = ct b, db = ct a
  sample: (g) => {
    const type: Type = { dims: [{ name: 'i', size: dim(g.size()) }], dtype: 'f32' }
    const param = (name: string): Node => intern('input', [], { name, ...type }, type)
    const times = (x: Node, y: Node): Node => intern('map', [x, y], { fn: 'mul' }, type)
    const [a, b, y, ct] = ['a', 'b', 'y', 'ct'].map(param) as [Node, Node, Node, Node]
    return {
      args: [
        { type, range: [-3, 3] },
        { type, range: [-3, 3] },
      ],
      attrs: {
        name: 'times',
        body: { params: [a, b], results: [times(a, b)] },
        rule: { params: [a, b, y, ct], results: [times(ct, b), times(ct, a)] },
      },
    }
  },
}

export const fault: Primitive<'fault'> = {
  doc: 'a misuse, with what was expected and where',
  type: () => E.right({ dims: [], dtype: 'f32' }),
  vjp: () => [],
  meaning: () => Float64Array.of(NaN),
  bound: () => Float64Array.of(Infinity),
  flops: () => 0,
  sample: () => ({ args: [], attrs: { fault: { at: 'sample', expected: 'nothing', actual: dim(0).key } } }),
}
