/** The floors of the house, lowest first: a folder imports itself and what stands to its left. */
const FLOORS = ['dsl', 'autodiff', 'codegen', 'adapters', 'models', 'cli']

/** @type {import('dependency-cruiser').IConfiguration} */
export default {
  forbidden: [
    ...FLOORS.map((floor, i) => ({
      name: `${floor}-imports-upwards`,
      comment: `imports go ${FLOORS.join(' <- ')}, never upwards`,
      severity: 'error',
      from: { path: `^src/${floor}/`, pathNot: '[.]test[.]ts$' },
      to: { path: `^src/(${[...FLOORS.slice(i + 1).map((above) => `${above}/`), 'index[.]ts$'].join('|')})` },
    })),
    {
      name: 'cycle',
      comment: 'no import cycles, types included',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
    {
      name: 'outside-the-house',
      comment: 'src imports nothing from the tests, benches or examples',
      severity: 'error',
      from: { path: '^src/', pathNot: '[.]test[.]ts$' },
      to: { path: '^(property-tests|bench|examples|scripts)/' },
    },
    {
      name: 'undeclared-dependency',
      comment: 'a package that src uses stands under dependencies',
      severity: 'error',
      from: { path: '^src/', pathNot: '[.]test[.]ts$' },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'], dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'unresolved',
      comment: 'every import leads somewhere',
      severity: 'error',
      from: {},
      to: { couldNotResolve: true },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    // the rivals' own packages: where they are installed, their types match `bench/**/*.ts`
    exclude: { path: '^bench/node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'types', 'node', 'default'],
      extensions: ['.ts', '.js', '.d.ts'],
    },
  },
}
