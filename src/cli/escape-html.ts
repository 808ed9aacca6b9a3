/** Text as it may stand in HTML and SVG, between tags and within quoted attributes. */
const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

/** Control characters have no place in a page: they become the sign for what cannot be shown. */
export const escapeHtml = (text: string): string =>
  text.replace(/[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/g, '\ufffd').replace(/[&<>"']/g, (c) => ENTITIES[c] ?? '')
