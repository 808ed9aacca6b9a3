/** Which modules a config adapts: PEFT's rules for lists of names. Regular expressions from files are never run. */

// ------------------------------------------------------------------------------------------ model

export interface Targets {
  readonly names: ReadonlyArray<string>
  readonly exclude: ReadonlyArray<string>
  /** numbers of layers, or every layer */
  readonly layers?: ReadonlyArray<number>
  /** what the list of layers is called in a path, e.g. `layers` */
  readonly pattern: ReadonlyArray<string>
}

// ----------------------------------------------------------------------------------- interpreters

const endsIn = (path: string, name: string): boolean => path === name || path.endsWith(`.${name}`)

/** The first number in a path that stands after a segment (any, or one of the patterns) with something before it. */
const layerOf = (path: string, pattern: ReadonlyArray<string>): number | undefined => {
  const parts = path.split('.')
  const at = parts.findIndex(
    (p, i) =>
      i >= 2 && i < parts.length - 1 && /^\d+$/.test(p) && (pattern.length === 0 || pattern.includes(parts[i - 1]!)),
  )
  return at < 0 ? undefined : Number(parts[at])
}

/** Excluded wins; then a whole path, or the end of one behind a dot; a list of layers filters ends only. */
export const isTarget =
  ({ names, exclude, layers, pattern }: Targets) =>
  (path: string): boolean => {
    if (exclude.some((n) => endsIn(path, n))) return false
    if (names.includes(path)) return true
    if (!names.some((n) => endsIn(path, n))) return false
    const layer = layerOf(path, pattern)
    return layers === undefined || (layer !== undefined && layers.includes(layer))
  }
