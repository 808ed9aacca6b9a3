/** Graphs as formulas, short enough for a report: `add(dot(x, weight; in), mul(dot(x, p.a; in), 2))`. */
import type { Node } from '../../dsl/node.ts'

const details = (n: Node): string => {
  switch (n.op) {
    case 'reduce':
    case 'dot':
      return `; ${n.attrs.over.join(', ')}`
    case 'rename':
      return `; ${Object.entries(n.attrs.axes)
        .map(([a, b]) => `${a} -> ${b}`)
        .join(', ')}`
    case 'slice':
      return `; ${n.attrs.axis} from ${n.attrs.start.key}, ${n.attrs.size.key}`
    case 'solve':
    case 'triSolve':
      return `; ${n.attrs.row}, ${n.attrs.col}`
    case 'cast':
      return `; ${n.attrs.dtype}`
    case 'reshape':
      return `; ${n.attrs.from.join(', ')} -> ${n.attrs.to.map((d) => d.name).join(', ')}`
    default:
      return ''
  }
}

/** One line; what lies deeper than `depth` is `...`. */
export const showFormula = (n: Node, depth = 7): string => {
  if (n.op === 'input') return n.attrs.name
  if (n.op === 'const') return String(Number(n.attrs.value.toPrecision(6)))
  if (n.op === 'iota') return `iota(${n.attrs.axis})`
  if (n.op === 'fault') return `<${n.attrs.fault.at}: ${n.attrs.fault.actual}>`
  if (n.op === 'randomBits') return 'random'
  if (depth === 0) return '...'
  const name = n.op === 'map' ? n.attrs.fn : n.op === 'call' ? n.attrs.name : n.op === 'reduce' ? n.attrs.fn : n.op
  return `${name}(${n.args.map((a) => showFormula(a, depth - 1)).join(', ')}${details(n)})`
}
