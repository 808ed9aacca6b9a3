/** Every test file's fast-check runs start from the one seed, and a failure says how it was shrunk. */
import fc from 'fast-check'
import { seed } from './seed.ts'

fc.configureGlobal({ seed, verbose: fc.VerbosityLevel.Verbose })
