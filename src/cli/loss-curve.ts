/** The loss curve as a picture: every step's loss, a smoothed line over it, the held-out loss at both ends. */

// ---------------------------------------------------------------------------------------- model

/** Losses in nats a token, one a step, and those of the held-out text. */
export interface LossCurve {
  readonly title: string
  /** training loss of each step, in nats a token */
  readonly losses: ReadonlyArray<number>
  readonly heldOut: { readonly before: number; readonly after: number }
}

const [WIDTH, HEIGHT] = [760, 420]
const FRAME = { left: 64, right: WIDTH - 24, top: 48, bottom: HEIGHT - 56 }
/** share that the smoothed line keeps of its past at each step */
const MEMORY = 0.9

// --------------------------------------------------------------------------------- constructors

/** s_i = m s_{i-1} + (1 - m) x_i, divided by 1 - m^i so that the start is not pulled to zero */
export const smooth = (xs: ReadonlyArray<number>, memory: number = MEMORY): ReadonlyArray<number> => {
  let s = 0
  return xs.map((x, i) => (s = memory * s + (1 - memory) * x) / (1 - memory ** (i + 1)))
}

/** Round numbers 1, 2 or 5 times a power of ten apart, about `count` of them from low to high. */
export const ticks = (low: number, high: number, count: number): ReadonlyArray<number> => {
  const rough = (high - low) / count
  const power = 10 ** Math.floor(Math.log10(rough))
  const step = ([1, 2, 5].find((m) => m * power >= rough) ?? 10) * power
  const first = Math.ceil(low / step - 1e-9)
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) =>
    Number(((first + i) * step).toPrecision(12)),
  )
}

const escape = (text: string): string => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`)

// --------------------------------------------------------------------------------- interpreters

/** The curve as an SVG file of its own. */
export const drawLossCurve = ({ title, losses, heldOut }: LossCurve): string => {
  const all = [...losses, heldOut.before, heldOut.after]
  const [low, high] = [Math.min(...all), Math.max(...all)]
  const margin = 0.05 * (high - low) || 0.5
  const [from, to] = [low - margin, high + margin]
  const x = (step: number): string =>
    (FRAME.left + ((FRAME.right - FRAME.left) * step) / Math.max(1, losses.length)).toFixed(1)
  const y = (loss: number): string =>
    (FRAME.bottom - ((FRAME.bottom - FRAME.top) * (loss - from)) / (to - from)).toFixed(1)
  const line = (ys: ReadonlyArray<number>, attributes: string): string =>
    `<polyline fill="none" ${attributes} points="${ys.map((l, i) => `${x(i + 1)},${y(l)}`).join(' ')}"/>`
  const text = (at: string, words: string, attributes = ''): string =>
    `<text ${at} ${attributes}>${escape(words)}</text>`
  const dot = (step: number, loss: number, words: string, anchor: string): string =>
    `<circle cx="${x(step)}" cy="${y(loss)}" r="4" fill="#c2410c"/>` +
    text(
      `x="${x(step)}" y="${y(loss)}"`,
      words,
      `dx="${anchor === 'end' ? -8 : 8}" dy="-6" text-anchor="${anchor}" fill="#c2410c"`,
    )
  const across = ticks(from, to, 6).map(
    (l) =>
      `<path d="M${FRAME.left} ${y(l)}H${FRAME.right}" stroke="#e5e7eb"/>` +
      text(`x="${FRAME.left - 8}" y="${y(l)}"`, String(l), 'text-anchor="end" dy="4"'),
  )
  const down = ticks(0, losses.length, 8)
    .filter(Number.isInteger)
    .map((s) => text(`x="${x(s)}" y="${FRAME.bottom + 20}"`, String(s), 'text-anchor="middle"'))
  const middle = (FRAME.top + FRAME.bottom) / 2
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" font-family="sans-serif" font-size="12" fill="#374151">`,
    `<rect width="${WIDTH}" height="${HEIGHT}" fill="white"/>`,
    text(`x="${FRAME.left}" y="26"`, title, 'font-size="15" fill="#111827"'),
    ...across,
    ...down,
    `<path d="M${FRAME.left} ${FRAME.top}V${FRAME.bottom}H${FRAME.right}" fill="none" stroke="#6b7280"/>`,
    line(losses, 'stroke="#93c5fd" stroke-width="1"'),
    line(smooth(losses), 'stroke="#1d4ed8" stroke-width="2"'),
    dot(0, heldOut.before, `held out ${heldOut.before.toFixed(4)}`, 'start'),
    dot(losses.length, heldOut.after, `held out ${heldOut.after.toFixed(4)}`, 'end'),
    text(`x="${(FRAME.left + FRAME.right) / 2}" y="${HEIGHT - 14}"`, 'step', 'text-anchor="middle"'),
    text(`x="16" y="${middle}"`, 'loss (nats a token)', `text-anchor="middle" transform="rotate(-90 16 ${middle})"`),
    '</svg>',
    '',
  ].join('\n')
}
