/** What a new adapter costs: one file and one line. And any may go, with its line. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import ts from 'typescript'
import { describe, expect, test } from 'vitest'
import * as builtin from '../../src/adapters/builtin.ts'
import { adapterNamed, registry } from '../../src/adapters/index.ts'

const root = new URL('../../', import.meta.url).pathname
const list = join(root, 'src/adapters/builtin.ts')
const lines = readFileSync(list, 'utf8')
  .split('\n')
  .filter((line) => line.startsWith('export '))
const fileOf = (line: string): string => join(dirname(list), /from '\.\/(.+)'/.exec(line)?.[1] ?? '?')

const { options } = ts.parseJsonConfigFileContent(
  ts.readConfigFile(join(root, 'tsconfig.json'), (f) => ts.sys.readFile(f)).config,
  ts.sys,
  root,
)
const parsed = new Map<string, ts.SourceFile | undefined>()

/** Type errors of the sources, tests and examples with some files changed, or gone where their text is undefined; unchanged files are parsed once. */
const errorsWith = (changes: ReadonlyMap<string, string | undefined>): ReadonlyArray<string> => {
  const host = ts.createCompilerHost(options)
  const [exists, parse] = [host.fileExists.bind(host), host.getSourceFile.bind(host)]
  host.fileExists = (f) => (changes.has(f) ? changes.get(f) !== undefined : exists(f))
  host.getSourceFile = (f, version) => {
    if (changes.has(f)) {
      const text = changes.get(f)
      return text === undefined ? undefined : ts.createSourceFile(f, text, version)
    }
    if (!parsed.has(f)) parsed.set(f, parse(f, version))
    return parsed.get(f)
  }
  const sources = ['src', 'property-tests', 'examples', 'scripts']
    .flatMap((folder) =>
      readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((f) => join(root, folder, f)),
    )
    .filter((f) => f.endsWith('.ts'))
    .concat([...changes.keys()])
    .filter((f) => !changes.has(f) || changes.get(f) !== undefined)
  const program = ts.createProgram([...new Set(sources)], options, host)
  // what stands below adapters cannot see them
  const own = program
    .getSourceFiles()
    .filter((f) => sources.includes(f.fileName) && !/src\/(dsl|autodiff|codegen)\//.test(f.fileName))
  return own
    .flatMap((f) => [...program.getSyntacticDiagnostics(f), ...program.getSemanticDiagnostics(f)])
    .map((d) => `${d.file?.fileName ?? ''}: ${ts.flattenDiagnosticMessageText(d.messageText, ' ')}`)
}

const without = (line: string): string => lines.filter((l) => l !== line).join('\n')

describe('the list of built-in adapters', () => {
  test('one line each, and the registry has them all', () => {
    expect(lines).toHaveLength(Object.keys(builtin).length)
    expect(registry).toEqual(Object.values(builtin))
    expect(new Set(registry.map((a) => a.name)).size).toBe(registry.length)
  })

  test('an unknown name is a fault that lists the known ones', () => {
    expect(adapterNamed('lorra')).toMatchObject({
      left: [{ expected: `one of ${registry.map((a) => a.name).join(', ')}` }],
    })
  })

  test.each(lines)('without the file and line of: %s', (line) => {
    const gone = new Map([
      [fileOf(line), undefined],
      [list, without(line)],
    ])
    expect(errorsWith(gone)).toEqual([])
  })

  test('without the file alone it does not compile', () => {
    expect(errorsWith(new Map([[fileOf(lines[0]!), undefined]])).join('\n')).toContain('builtin.ts')
  })

  test('a new adapter is one file and one line', () => {
    const file = readFileSync(fileOf(lines.find((l) => l.includes('/lora.ts'))!), 'utf8')
    const added = new Map([
      [
        join(dirname(list), 'mine.ts'),
        file.replace('export const lora', 'export const mine').replace("'lora'", "'mine'"),
      ],
      [list, [...lines, "export { mine } from './mine.ts'"].join('\n')],
    ])
    expect(errorsWith(added)).toEqual([])
  })
})
