/**
 * Reverse mode: one walk from the output back to what is asked for. The rules are those of the rows,
 * written in the language itself, so that gradients of gradients need no second rule set.
 *
 * Activity: a node is *active* when it depends on something in `wrt`. Only active nodes get a cotangent,
 * so frozen weights cost nothing and nothing is computed below the lowest adapter.
 */
import * as E from 'fp-ts/lib/Either.js'
import { kit } from '../dsl/build.ts'
import { isFloat } from '../dsl/dtype.ts'
import type { Checked } from '../dsl/fault.ts'
import { showType, topological, type Node, type Region } from '../dsl/node.ts'
import { rowOf } from '../dsl/primitive.ts'
import { check, trace, type AnyTensor, type Program } from '../dsl/program.ts'
import { wrap, type Tensor } from '../dsl/tensor.ts'

// ---------------------------------------------------------------------------------- on nodes

const activeNodes = (roots: ReadonlyArray<Node>, wrt: ReadonlyArray<Node>): ReadonlySet<Node> => {
  const active = new Set<Node>(wrt)
  for (const n of topological(roots))
    if (n.op !== 'stopGrad' && isFloat(n.type.dtype) && n.args.some((a) => active.has(a))) active.add(n)
  return active
}

const zeros = (like: Node): Node => kit.broadcast(kit.scalar(0, like.type.dtype), like.type.dims)

/**
 * Cotangents of `wrt` from cotangents of `outputs`:  dx = sum_y (dy/dx)^T ct_y.
 * Each has its node's own dims; one that nothing depends on is zero.
 */
export const pullback = (
  outputs: ReadonlyArray<Node>,
  cotangents: ReadonlyArray<Node>,
  wrt: ReadonlyArray<Node>,
): ReadonlyArray<Node> => {
  const active = activeNodes(outputs, wrt)
  const ct = new Map<Node, Node>()
  const accumulate = (n: Node, c: Node): void => {
    const fitted = kit.fit(c, n.type.dims)
    const known = ct.get(n)
    ct.set(n, known === undefined ? fitted : kit.map('add', known, fitted))
  }
  outputs.forEach((y, i) => {
    if (active.has(y)) accumulate(y, cotangents[i]!)
  })
  for (const n of [...topological(outputs)].reverse()) {
    const c = ct.get(n)
    if (c === undefined || wrt.includes(n)) continue
    const parts = rowOf(n.op).vjp(kit, c, n)
    n.args.forEach((a, i) => {
      const part = parts[i]
      if (part !== undefined && part !== null && active.has(a)) accumulate(a, part)
    })
  }
  return wrt.map((n) => ct.get(n) ?? zeros(n))
}

// -------------------------------------------------------------------------------- on tensors

type Tensors = Readonly<Record<string, AnyTensor>>

/** `vjp(y, ct, {a, b})`: the cotangents of a and b, from the cotangent of y (of y's axes). */
export const vjp = <A extends string, P extends Tensors>(y: Tensor<A>, ct: Tensor<A>, wrt: P): P => {
  const names = Object.keys(wrt)
  const cts = pullback(
    [y.node],
    [ct.node],
    names.map((n) => wrt[n]!.node),
  )
  return Object.fromEntries(names.map((n, i) => [n, wrap(cts[i]!)])) as unknown as P
}

const one = (): Tensor<never> => wrap(kit.scalar(1))

/** A loss with axes is a misuse: it becomes a fault for `check` to report. */
const scalarLoss = (loss: Node): Node =>
  loss.op === 'fault' || loss.type.dims.length === 0
    ? loss
    : kit.fault({
        at: 'grad',
        expected: 'a loss without axes',
        actual: showType(loss.type),
        hint: 'sum or mean it first',
      })

/** Gradients of a loss without axes. */
export const grad = <P extends Tensors>(loss: Tensor<never>, wrt: P): P => {
  const node = scalarLoss(loss.node)
  return node.op === 'fault'
    ? (Object.fromEntries(Object.keys(wrt).map((n) => [n, wrap(node)])) as unknown as P)
    : vjp(loss, one(), wrt)
}

export const valueAndGrad = <P extends Tensors>(
  loss: Tensor<never>,
  wrt: P,
): { readonly value: Tensor<never>; readonly grads: P } => ({ value: loss, grads: grad(loss, wrt) })

/** Hessian times vector:  H v = d/dx (sum_x (dL/dx) v), with one v for each of `wrt`. */
export const hvp = <P extends Tensors>(loss: Tensor<never>, wrt: P, v: P): P => {
  const g = grad(loss, wrt)
  const inner = Object.keys(wrt)
    .map((n) => {
      const product = kit.map('mul', g[n]!.node, v[n]!.node)
      return kit.reduce(
        'sum',
        product,
        product.type.dims.map((d) => d.name),
      )
    })
    .reduce((a, b) => kit.map('add', a, b))
  return grad(wrap<never>(inner), wrt)
}

/** A region is closed: it may read its params and nothing else. Answers the fault, for a function of that name. */
const free = (results: ReadonlyArray<Node>, params: ReadonlyArray<Node>): ((name: string) => Node) | undefined => {
  const outer = topological(results).find((n) => n.op === 'input' && !params.includes(n))
  return outer?.op !== 'input'
    ? undefined
    : (name) =>
        kit.fault({
          at: name,
          expected: 'a function of its arguments only',
          actual: `it also reads '${outer.attrs.name}'`,
          hint: 'pass it as an argument',
        })
}

/**
 * A function with a VJP of its own. `rule(args, y, ct)` answers the cotangents of the args; the law
 * `custom = derived` is generated for every use.
 *
 *     const softplus = withVjp('softplus', (x) => ..., ([x], _y, ct) => [pipe(ct, mul(sigmoid(x)))])
 */
export const withVjp =
  (
    name: string,
    f: (...args: ReadonlyArray<Tensor<string>>) => Tensor<string>,
    rule: (args: ReadonlyArray<Tensor<string>>, y: Tensor<string>, ct: Tensor<string>) => ReadonlyArray<Tensor<string>>,
  ) =>
  <A extends string>(...args: ReadonlyArray<AnyTensor>): Tensor<A> => {
    const faulty = args.find((a) => a.node.op === 'fault')
    if (faulty !== undefined) return wrap(faulty.node)
    const params = args.map((a, i) => kit.input(`arg${String(i)}`, a.node.type.dims, a.node.type.dtype))
    const result = f(...params.map((p) => wrap<string>(p))).node
    if (result.op === 'fault') return wrap(result)
    const captured = free([result], params)
    if (captured !== undefined) return wrap(captured(name))
    const y = kit.input('y', result.type.dims, result.type.dtype)
    const ct = kit.input('ct', result.type.dims, result.type.dtype)
    const body: Region = { params, results: [result] }
    const cts = rule(
      params.map((p) => wrap<string>(p)),
      wrap(y),
      wrap(ct),
    )
    const results = cts.map((c, i) => (c.node.op === 'fault' ? c.node : kit.fit(c.node, params[i]?.type.dims ?? [])))
    const faultyRule = results.find((r) => r.op === 'fault')
    if (faultyRule !== undefined) return wrap(faultyRule)
    const capturedByRule = free(results, [...params, y, ct])
    if (capturedByRule !== undefined) return wrap(capturedByRule(`${name}'s rule`))
    return wrap(
      kit.call(
        name,
        body,
        { params: [...params, y, ct], results },
        args.map((a) => a.node),
      ),
    )
  }

// ------------------------------------------------------------------------------- on programs

/**
 * The program with its VJP: a further input `ct.<output>` for each float output and a further output
 * `d.<input>` for each of `wrt`.
 */
export const vjpProgram = (p: Program, wrt: ReadonlyArray<string>): Checked<Program> => {
  const ys = p.outputs.filter((o) => isFloat(o.node.type.dtype))
  const cts = ys.map((o) => kit.input(`ct.${o.name}`, o.node.type.dims, o.node.type.dtype))
  const xs = wrt.map((name) => ({ name, node: p.inputs.find((i) => i.name === name)?.node }))
  const missing = xs.find((x) => x.node === undefined)
  if (missing !== undefined)
    return E.left([
      {
        at: 'vjp',
        expected: `an input of ${p.name}: ${p.inputs.map((i) => i.name).join(', ')}`,
        actual: `'${missing.name}'`,
      },
    ])
  const nodes = xs.flatMap((x) => x.node ?? [])
  const grads = pullback(
    ys.map((o) => o.node),
    cts,
    nodes,
  )
  const outputs = Object.fromEntries([
    ...p.outputs.map((o) => [o.name, { node: o.node }] as const),
    ...wrt.map((n, i) => [`d.${n}`, { node: grads[i]! }] as const),
  ])
  return check(trace(`${p.name}.vjp`, outputs))
}
