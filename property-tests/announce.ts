/** Once a run, before any test: which seed the properties use. */
import { seed } from './seed.ts'

export default (): void => {
  console.log(`property tests: seed ${String(seed)} (set SCION_SEED to change it)`)
}
