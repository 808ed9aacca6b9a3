/**
 * Byte-pair encoding learned from a text (Sennrich et al. 2016, arXiv 1508.07909) and written in the form
 * of Hugging Face's `tokenizer.json`. For the shipped checkpoint only; reading is the library's work.
 */

/** the printable stand-in of each byte that byte-level BPE writes in its files (GPT-2's convention) */
const byteLetters = (): ReadonlyArray<string> => {
  const printable = (b: number): boolean => (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174
  let extra = 0
  return Array.from({ length: 256 }, (_, b) => String.fromCodePoint(printable(b) ? b : 256 + extra++))
}

/** words as the byte-level pre-tokenizer cuts them: a leading space belongs to its word */
const WORDS = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu

interface Word {
  pieces: string[]
  readonly count: number
}

const pairsOf = (w: Word): ReadonlyArray<string> => w.pieces.slice(1).map((p, i) => `${w.pieces[i]!} ${p}`)

const joinPair = (pieces: ReadonlyArray<string>, left: string, right: string): string[] => {
  const out: string[] = []
  for (let i = 0; i < pieces.length; i++) {
    if (pieces[i] === left && pieces[i + 1] === right) {
      out.push(left + right)
      i++
    } else out.push(pieces[i]!)
  }
  return out
}

/** `tokenizer.json` with `size` tokens: the end token, the bytes, and the most frequent merges (the first in order on ties). */
export const learnTokenizer = (text: string, size: number, end: string): object => {
  const letters = byteLetters()
  const counts = new Map<string, number>()
  for (const [word] of text.matchAll(WORDS)) counts.set(word, (counts.get(word) ?? 0) + 1)
  const words: ReadonlyArray<Word> = [...counts].map(([word, count]) => ({
    pieces: [...Buffer.from(word, 'utf8')].map((b) => letters[b]!),
    count,
  }))
  const merges: string[] = []
  const vocab = [end, ...letters]
  while (vocab.length < size) {
    const frequency = new Map<string, number>()
    for (const w of words) for (const pair of pairsOf(w)) frequency.set(pair, (frequency.get(pair) ?? 0) + w.count)
    const best = [...frequency].reduce((a, b) => (b[1] > a[1] || (b[1] === a[1] && b[0] < a[0]) ? b : a))
    const [left, right] = best[0].split(' ') as [string, string]
    for (const w of words) if (w.pieces.includes(left)) w.pieces = joinPair(w.pieces, left, right)
    merges.push(best[0])
    vocab.push(left + right)
  }
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [
      { id: 0, content: end, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true },
    ],
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: null,
    decoder: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(vocab.map((piece, id) => [piece, id])),
      merges,
    },
  }
}
