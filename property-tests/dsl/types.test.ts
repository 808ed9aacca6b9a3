/** The compiler's words for misused axes and dtypes, pinned: a type trick stays only while its message is readable. */
import ts from 'typescript'
import { beforeAll, expect, test } from 'vitest'

const PRELUDE = `
import { pipe } from 'fp-ts/lib/function.js'
import { add, cast, contract, dot, input, rename, softmax, solve, split, sum, take, type Tensor } from '../../src/dsl/index.ts'
const x = input('x', { token: 'token', in: 8 })
const w = input('w', { out: 6, in: 8 })
const ids = input('ids', { token: 'token' }, 'i32')
`

const snippets = {
  'a right use': `const y: Tensor<'token' | 'out'> = pipe(x, dot(w, 'in'))`,
  'dot over an axis that the weight lacks': `pipe(x, dot(w, 'token'))`,
  'dot over an axis that x lacks': `pipe(x, dot(w, 'out'))`,
  'contract over an axis that the weight lacks': `pipe(x, contract('token')(w))`,
  'sum over a missing axis': `pipe(x, sum('inn'))`,
  'softmax over a missing axis': `pipe(x, softmax('out'))`,
  'a wider tensor for a narrower': `const y: Tensor<'token'> = pipe(x, dot(w, 'in'))`,
  'a narrower tensor for a wider': `const y: Tensor<'token' | 'in' | 'out'> = x`,
  'rename of a missing axis': `pipe(x, rename({ out: 'o' }))`,
  'split of a missing axis': `pipe(x, split('out', { a: 2, b: 3 }))`,
  'solve with a wrong row': `pipe(x, solve(w, 'token', 'out'))`,
  'two dtypes': `pipe(x, add(ids))`,
  'sum as a float of an integer': `const y: Tensor<never> = pipe(ids, sum('token'))`,
  'ids that are not integers': `pipe(w, take(x, 'out'))`,
  'a dtype that is none': `pipe(x, cast('f64'))`,
}

const file = (i: number): string => `${import.meta.dirname}/snippet-${String(i)}.ts`
const names = Object.keys(snippets) as ReadonlyArray<keyof typeof snippets>
let reports: ReadonlyArray<string> = []

beforeAll(() => {
  const config = ts.readConfigFile('tsconfig.json', ts.sys.readFile.bind(ts.sys)).config as { compilerOptions: object }
  const { options } = ts.convertCompilerOptionsFromJson(config.compilerOptions, '.')
  const host = ts.createCompilerHost(options)
  const sources = new Map(names.map((n, i) => [file(i), `${PRELUDE}${snippets[n]}\n`]))
  const [exists, read, source] = [host.fileExists, host.readFile, host.getSourceFile]
  host.fileExists = (f) => sources.has(f) || exists.call(host, f)
  host.readFile = (f) => sources.get(f) ?? read.call(host, f)
  host.getSourceFile = (f, ...rest) => {
    const text = sources.get(f)
    return text === undefined ? source.call(host, f, ...rest) : ts.createSourceFile(f, text, rest[0])
  }
  const built = ts.createProgram([...sources.keys()], { ...options, noUnusedLocals: false }, host)
  reports = names.map((_, i) => {
    const found = built.getSemanticDiagnostics(built.getSourceFile(file(i)))
    return found.map((d) => ts.flattenDiagnosticMessageText(d.messageText, '\n')).join('\n---\n')
  })
})

test('what the compiler says', () => {
  expect(`\n${names.map((n, i) => `## ${n}\n${reports[i]!}`).join('\n\n')}\n`).toMatchInlineSnapshot(`
    "
    ## a right use


    ## dot over an axis that the weight lacks
    Argument of type 'Tensor<"in" | "out", "f32">' is not assignable to parameter of type 'Tensor<"in" | "out", "f32"> & MissingAxis<"token", "in" | "out">'.
      Property ''no such axis'' is missing in type 'Tensor<"in" | "out", "f32">' but required in type 'MissingAxis<"token", "in" | "out">'.

    ## dot over an axis that x lacks
    Argument of type '<A extends string>(x: Tensor<A, "f32"> & Has<"out", A>) => Tensor<"in" | Exclude<A, "out">, "f32">' is not assignable to parameter of type '(a: Tensor<"token" | "in", "f32">) => Tensor<"token" | "in", "f32">'.
      Types of parameters 'x' and 'a' are incompatible.
        Type 'Tensor<"token" | "in", "f32">' is not assignable to type 'Tensor<"token" | "in", "f32"> & MissingAxis<"out", "token" | "in">'.
          Property ''no such axis'' is missing in type 'Tensor<"token" | "in", "f32">' but required in type 'MissingAxis<"out", "token" | "in">'.

    ## contract over an axis that the weight lacks
    Argument of type 'Tensor<"in" | "out", "f32">' is not assignable to parameter of type 'Tensor<"in" | "out", "f32"> & MissingAxis<"token", "in" | "out">'.
      Property ''no such axis'' is missing in type 'Tensor<"in" | "out", "f32">' but required in type 'MissingAxis<"token", "in" | "out">'.

    ## sum over a missing axis
    Argument of type '<A extends string, D extends DType>(x: Tensor<A, D> & Has<"inn", A>) => Tensor<Exclude<A, "inn">, D>' is not assignable to parameter of type '(a: Tensor<"token" | "in", "f32">) => Tensor<"token" | "in", "f32">'.
      Types of parameters 'x' and 'a' are incompatible.
        Type 'Tensor<"token" | "in", "f32">' is not assignable to type 'Tensor<"token" | "in", "f32"> & MissingAxis<"inn", "token" | "in">'.
          Property ''no such axis'' is missing in type 'Tensor<"token" | "in", "f32">' but required in type 'MissingAxis<"inn", "token" | "in">'.

    ## softmax over a missing axis
    Argument of type '<A extends string>(x: Tensor<A, "f32"> & Has<"out", A>) => Tensor<A, "f32">' is not assignable to parameter of type '(a: Tensor<"token" | "in", "f32">) => Tensor<"token" | "in", "f32">'.
      Types of parameters 'x' and 'a' are incompatible.
        Type 'Tensor<"token" | "in", "f32">' is not assignable to type 'Tensor<"token" | "in", "f32"> & MissingAxis<"out", "token" | "in">'.
          Property ''no such axis'' is missing in type 'Tensor<"token" | "in", "f32">' but required in type 'MissingAxis<"out", "token" | "in">'.

    ## a wider tensor for a narrower
    Type 'Tensor<"token" | "out", "f32">' is not assignable to type 'Tensor<"token", "f32">'.
      The types returned by '[axesOf](...)' are incompatible between these types.
        Type '"token" | "out"' is not assignable to type '"token"'.
          Type '"out"' is not assignable to type '"token"'.

    ## a narrower tensor for a wider
    Type 'Tensor<"token" | "in", "f32">' is not assignable to type 'Tensor<"token" | "in" | "out", "f32">'.
      Types of property '[axesOf]' are incompatible.
        Type '(a: "token" | "in") => "token" | "in"' is not assignable to type '(a: "token" | "in" | "out") => "token" | "in" | "out"'.
          Types of parameters 'a' and 'a' are incompatible.
            Type '"token" | "in" | "out"' is not assignable to type '"token" | "in"'.
              Type '"out"' is not assignable to type '"token" | "in"'.

    ## rename of a missing axis
    Argument of type '<A extends string, D extends DType>(x: Tensor<A, D> & Has<"out", A>) => Tensor<Renamed<A, { readonly out: "o"; }>, D>' is not assignable to parameter of type '(a: Tensor<"token" | "in", "f32">) => Tensor<Renamed<"token" | "in", { readonly out: "o"; }>, "f32">'.
      Types of parameters 'x' and 'a' are incompatible.
        Type 'Tensor<"token" | "in", "f32">' is not assignable to type 'Tensor<"token" | "in", "f32"> & MissingAxis<"out", "token" | "in">'.
          Property ''no such axis'' is missing in type 'Tensor<"token" | "in", "f32">' but required in type 'MissingAxis<"out", "token" | "in">'.

    ## split of a missing axis
    Argument of type '<A extends string, D extends DType>(x: Tensor<A, D> & Has<"out", A>) => Tensor<"a" | "b" | Exclude<A, "out">, D>' is not assignable to parameter of type '(a: Tensor<"token" | "in", "f32">) => Tensor<"token" | "in" | "a" | "b", "f32">'.
      Types of parameters 'x' and 'a' are incompatible.
        Type 'Tensor<"token" | "in", "f32">' is not assignable to type 'Tensor<"token" | "in", "f32"> & MissingAxis<"out", "token" | "in">'.
          Property ''no such axis'' is missing in type 'Tensor<"token" | "in", "f32">' but required in type 'MissingAxis<"out", "token" | "in">'.

    ## solve with a wrong row
    Argument of type 'Tensor<"in" | "out", "f32">' is not assignable to parameter of type 'Tensor<"in" | "out", "f32"> & MissingAxis<"token", "in" | "out">'.
      Property ''no such axis'' is missing in type 'Tensor<"in" | "out", "f32">' but required in type 'MissingAxis<"token", "in" | "out">'.

    ## two dtypes
    Argument of type '<A extends string, D extends "i32">(x: Tensor<A, D>) => Tensor<"token" | A, D>' is not assignable to parameter of type '(a: Tensor<"token" | "in", "f32">) => Tensor<"token" | "in", "i32">'.
      Types of parameters 'x' and 'a' are incompatible.
        Type 'Tensor<"token" | "in", "f32">' is not assignable to type 'Tensor<"token" | "in", "i32">'.
          Types of property '[dtypeOf]' are incompatible.
            Type '"f32"' is not assignable to type '"i32"'.

    ## sum as a float of an integer
    Type 'Tensor<never, "i32">' is not assignable to type 'Tensor<never, "f32">'.
      Types of property '[dtypeOf]' are incompatible.
        Type '"i32"' is not assignable to type '"f32"'.

    ## ids that are not integers
    Argument of type 'Tensor<"token" | "in", "f32">' is not assignable to parameter of type 'Tensor<"token" | "in", "i32">'.
      Types of property '[dtypeOf]' are incompatible.
        Type '"f32"' is not assignable to type '"i32"'.

    ## a dtype that is none
    Argument of type '"f64"' is not assignable to parameter of type '"bool" | "f32" | "f16" | "bf16" | "i32" | "u32"'.
    "
  `)
})

test('a right use says nothing; every misuse says something that names its axes', () => {
  expect(reports[0]).toBe('')
  reports.slice(1).forEach((r, i) => expect(r, names[i + 1]).not.toBe(''))
  const missing = names.flatMap((n, i) => (/missing|lacks|wrong row/.test(n) ? [reports[i]!] : []))
  missing.forEach((r) => expect(r).toMatch(/no such axis.*MissingAxis<"\w+", ("\w+"( \| )?)+>/))
})
