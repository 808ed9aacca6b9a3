/** Progress on stderr, for what takes over a second: a bar on a terminal, else a line every few seconds. */
import { SingleBar } from 'cli-progress'
import type { Terminal } from './terminal.ts'

// ---------------------------------------------------------------------------------------- model

/** Something under way. */
export interface ProgressBar {
  /** `done` of the total; `note` is shown beside it */
  readonly update: (done: number, total: number, note?: string) => void
  readonly stop: () => void
}

const QUIET_MS = 1000
const LINE_EVERY_MS = 5000

// --------------------------------------------------------------------------------- constructors

const barOn = ({ err }: Terminal, label: string): ProgressBar => {
  let bar: SingleBar | undefined
  return {
    update: (done, total, note = '') => {
      if (bar === undefined) {
        bar = new SingleBar({ stream: err, format: `${label} {bar} {value}/{total} {note}`, clearOnComplete: true })
        bar.start(total, done, { note })
      }
      bar.setTotal(total)
      bar.update(done, { note })
    },
    stop: () => bar?.stop(),
  }
}

const linesOn = ({ err }: Terminal, label: string): ProgressBar => {
  let last = -Infinity
  return {
    update: (done, total, note = '') => {
      if (performance.now() - last < LINE_EVERY_MS) return
      last = performance.now()
      err.write(`${label} ${done}/${total} ${note}`.trimEnd() + '\n')
    },
    stop: () => undefined,
  }
}

/** Silent for its first second. */
export const startProgress = (terminal: Terminal, label: string): ProgressBar => {
  const begun = performance.now()
  const shown = terminal.err.isTTY === true ? barOn(terminal, label) : linesOn(terminal, label)
  return {
    ...shown,
    update: (done, total, note) => {
      if (performance.now() - begun >= QUIET_MS) shown.update(done, total, note)
    },
  }
}

// ---------------------------------------------------------------------------------- combinators

/** `42 s`, `3 min 5 s` */
export const showSeconds = (seconds: number): string => {
  const s = Math.round(seconds)
  return s < 60 ? `${s} s` : `${Math.floor(s / 60)} min ${s % 60} s`
}
