/**
 * The manifest beside exported kernels: all that a host needs to launch them. Sizes are integer expressions over named
 * symbols (`n_token*n_in`, quotients exact), so that one export serves every size; a fixed size is a number.
 */
import * as t from 'io-ts'

// ---------------------------------------------------------------------------------------- codecs

const list = <C extends t.Mixed>(codec: C, name?: string): t.ReadonlyArrayC<C> => t.readonlyArray(codec, name)

/** an integer expression: numbers, symbols, + - * / and parentheses; a division is exact */
const Expression = t.string

const DTypeName = t.keyof({ f32: null, f16: null, bf16: null, i32: null })

/** row-major and contiguous, one extent an axis */
const Tensor = t.readonly(
  t.type({ name: t.string, dtype: DTypeName, axes: list(t.string), shape: list(Expression) }),
  'a tensor',
)

/** a launch's number of blocks, in three languages; division rounds down */
const Grid = t.readonly(t.type({ c: t.string, javascript: t.string, python: t.string }), 'a grid')

const Parameter = t.readonly(
  t.intersection([
    t.type({
      name: t.string,
      /** pointers first, then whole numbers of 32 bits */
      kind: t.keyof({ pointer: null, int: null }),
      dtype: DTypeName,
      access: t.keyof({ read: null, write: null }),
      /** of a pointer: what it points to */
      shape: list(Expression),
    }),
    /** where it lies in the packed parameters, where a target packs them: bytes */
    t.partial({ offset: t.number, size: t.number }),
  ]),
  'a parameter',
)

const Kernel = t.readonly(
  t.intersection([
    t.type({
      name: t.string,
      /** operations that it computes, in order, and why it ends where it does */
      fused: list(t.string),
      boundary: t.string,
      parameters: list(Parameter),
    }),
    t.partial({
      grid: Grid,
      /** threads a block */
      block: t.number,
      /** bytes a block: static, inside the kernel, and dynamic, given at the launch */
      sharedStatic: t.number,
      sharedDynamic: t.number,
      /** bytes of memory that each worker brings (C) */
      scratch: Expression,
    }),
  ]),
  'a kernel',
)

/** arguments in order of the kernel's pointers, by tensor name; sizes in order of its whole numbers */
const Launch = t.readonly(t.type({ kernel: t.string, arguments: list(t.string), sizes: list(Expression) }), 'a launch')

const Sequence = t.readonly(
  t.type({
    inputs: list(Tensor),
    /** `from`: the output is that tensor itself, nothing is launched for it */
    outputs: list(t.intersection([Tensor, t.partial({ from: t.string })])),
    /** known beforehand: the same at every call */
    constants: list(t.intersection([Tensor, t.type({ values: list(t.number) })])),
    /** between the launches; alive from launch `first` to launch `last`, both counted from 0 */
    temporaries: list(
      t.intersection([
        Tensor,
        t.type({ bytes: Expression, first: t.number, last: t.number }),
        /** it may take the place of that temporary, which launch `first` of this one reads last: address on address */
        t.partial({ inPlaceOf: t.string }),
      ]),
    ),
    /** in this order, on one stream */
    launches: list(Launch),
  }),
  'a sequence',
)

const Symbol = t.readonly(
  t.type({
    name: t.string,
    /** the size that it stands for */
    meaning: t.string,
    least: t.number,
    /** must divide it: products of numbers and symbols */
    divisors: list(Expression),
  }),
  'a symbol',
)

export const manifestCodec = t.readonly(
  t.type({
    format: t.literal('scion-kernels'),
    version: t.literal(1),
    generator: t.type({ name: t.literal('scion'), version: t.string }),
    adapter: t.intersection([
      t.type({ name: t.string, site: t.string, config: t.record(t.string, t.unknown) }),
      t.partial({ sha256: t.string }),
    ]),
    target: t.keyof({ c: null, cuda: null, gpujs: null }),
    source: t.type({ file: t.string, sha256: t.string }),
    compile: t.type({ with: t.string, options: list(t.string), architectures: list(t.string) }),
    symbols: list(Symbol),
    kernels: list(Kernel),
    forward: Sequence,
    /** its inputs: those of `forward`, the tensors in `saved`, and `ct.<output>`, the gradient of each output */
    backward: Sequence,
    /** outputs of `forward` that `backward` reads */
    saved: list(t.string),
    requirements: list(t.string),
    tolerance: t.string,
  }),
  'a manifest',
)

// ---------------------------------------------------------------------------------------- model

export type Manifest = t.TypeOf<typeof manifestCodec>
export type TensorEntry = t.TypeOf<typeof Tensor>
export type SequenceEntry = t.TypeOf<typeof Sequence>
export type KernelEntry = t.TypeOf<typeof Kernel>
export type ParameterEntry = t.TypeOf<typeof Parameter>
export type LaunchEntry = t.TypeOf<typeof Launch>
export type SymbolEntry = t.TypeOf<typeof Symbol>

// --------------------------------------------------------------------------------- interpreters

const WIDTH = 110

/** numbers in lines as long as others */
const showNumbers = (numbers: ReadonlyArray<number>, pad: string): string => {
  const lines: string[] = []
  for (const n of numbers.map(String)) {
    const last = lines.at(-1)
    if (last === undefined || pad.length + last.length + n.length + 1 > WIDTH) lines.push(n)
    else lines[lines.length - 1] = `${last},${n}`
  }
  return `[\n${lines.map((l) => `${pad}  ${l}`).join(',\n')}\n${pad}]`
}

/** JSON for people: what fits on a line stands on one. */
const showJson = (value: unknown, pad: string): string => {
  const short = JSON.stringify(value)
  if (short.length + pad.length <= WIDTH || typeof value !== 'object' || value === null) return short
  if (Array.isArray(value) && value.every((v) => typeof v === 'number')) return showNumbers(value, pad)
  const inner = `${pad}  `
  const parts = Array.isArray(value)
    ? value.map((v) => showJson(v, inner))
    : Object.entries(value).map(([k, v]) => `${JSON.stringify(k)}: ${showJson(v, inner)}`)
  const [open, close] = Array.isArray(value) ? ['[', ']'] : ['{', '}']
  return `${open}\n${parts.map((p) => inner + p).join(',\n')}\n${pad}${close}`
}

/** The manifest's file. */
export const showManifest = (m: Manifest): string => `${showJson(m, '')}\n`
