import tseslint from 'typescript-eslint'

/** In `src`, a failure is a value. */
const NO_THROW = {
  selector: 'ThrowStatement',
  message: 'no throw in src outside codegen/runtime and cli: return Checked<A> with a Fault',
}

export default tseslint.config(
  { ignores: ['node_modules/', 'out/', 'coverage/', '**/*.snap'] },
  {
    extends: [tseslint.configs.strictTypeChecked],
    files: ['**/*.{ts,js}'],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      eqeqeq: 'error',
      'no-var': 'error',
      'prefer-const': 'error',
      'no-restricted-syntax': ['error', { selector: 'TSEnumDeclaration', message: 'a union of literals, not an enum' }],
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            { regex: '^[.]{1,2}/(?!.*[.](ts|js|json)$)', message: "a relative import ends in its file's extension" },
            {
              regex: '^fp-ts($|/(?!lib/.*[.]js$))',
              message: "import from 'fp-ts/lib/Name.js': the form that runs everywhere",
            },
          ],
        },
      ],
      '@typescript-eslint/no-unused-vars': [
        'error',
        { argsIgnorePattern: '^_', varsIgnorePattern: '^_', caughtErrorsIgnorePattern: '^_', ignoreRestSiblings: true },
      ],
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],

      // matters of taste, or in the way of numeric and generic code
      // indexing with noUncheckedIndexedAccess inside a loop's own bounds is what `!` is for here
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/no-confusing-void-expression': 'off',
      '@typescript-eslint/restrict-template-expressions': 'off',
      '@typescript-eslint/restrict-plus-operands': 'off',
      '@typescript-eslint/no-unnecessary-condition': 'off',
      '@typescript-eslint/no-unnecessary-type-parameters': 'off',
      '@typescript-eslint/no-unnecessary-type-arguments': 'off',
      '@typescript-eslint/no-invalid-void-type': 'off',
      '@typescript-eslint/no-empty-function': 'off',
      '@typescript-eslint/unified-signatures': 'off',
      '@typescript-eslint/no-extraneous-class': 'off',
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/unbound-method': 'off',
      '@typescript-eslint/prefer-literal-enum-member': 'off',
      '@typescript-eslint/no-dynamic-delete': 'off',
      '@typescript-eslint/no-generated-empty-object-type': 'off',
      '@typescript-eslint/related-getter-setter-pairs': 'off',
    },
  },
  {
    files: ['src/**/*.ts'],
    rules: { 'max-lines': ['error', { max: 400, skipBlankLines: true, skipComments: true }] },
  },
  {
    files: ['src/**/*.ts'],
    ignores: ['src/codegen/runtime/**', 'src/cli/**', '**/*.test.ts'],
    rules: {
      'no-restricted-syntax': [
        'error',
        NO_THROW,
        { selector: 'TSEnumDeclaration', message: 'a union of literals, not an enum' },
      ],
    },
  },
  {
    files: ['**/*.js'],
    extends: [tseslint.configs.disableTypeChecked],
  },
)
