/** What a target's export answers with: the source, and its part of the manifest. */
import type { Manifest } from './manifest.ts'

export type Exported = Pick<
  Manifest,
  'kernels' | 'forward' | 'backward' | 'saved' | 'symbols' | 'compile' | 'requirements'
> & {
  readonly source: string
  /** of the source's file name */
  readonly extension: 'c' | 'cu' | 'js'
}

/** The first lines of a source as comments, given what begins a comment. */
export type Header = (mark: string) => string
