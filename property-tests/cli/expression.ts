/** Expressions of a manifest, as a host in C, JavaScript or Python computes them. */

export type Sizes = Readonly<Record<string, number>>

/** exact: what does not divide is an error; floor: integers of C and of Python's //; real: numbers of JavaScript */
export type Division = 'exact' | 'floor' | 'real'

const DIVISION: Readonly<Record<Division, (a: number, b: number) => number>> = {
  exact: (a, b) => a / b,
  floor: (a, b) => Math.floor(a / b),
  real: (a, b) => a / b,
}

/** + - * / // and Math.ceil, with the usual precedence, at these sizes; a whole number, or an error. */
export const valueAt = (expression: string, sizes: Sizes, division: Division = 'exact'): number => {
  const tokens = expression.match(/Math\.ceil|\d+|\w+|\/\/|[-+*/()]/g) ?? []
  let at = 0
  const atom = (): number => {
    const token = tokens[at++] ?? ''
    if (token === '(') {
      const inner = sum()
      at++
      return inner
    }
    if (token === 'Math.ceil') return Math.ceil(atom())
    if (token === '-') return -atom()
    return /^\d/.test(token) ? Number(token) : (sizes[token] ?? NaN)
  }
  const product = (): number => {
    let value = atom()
    while (['*', '/', '//'].includes(tokens[at] ?? ''))
      value = tokens[at++] === '*' ? value * atom() : DIVISION[division](value, atom())
    return value
  }
  const sum = (): number => {
    let value = product()
    while (tokens[at] === '+' || tokens[at] === '-')
      value = tokens[at++] === '+' ? value + product() : value - product()
    return value
  }
  const value = sum()
  if (!Number.isInteger(value) || at !== tokens.length) throw new Error(`${expression}: ${String(value)}`)
  return value
}
