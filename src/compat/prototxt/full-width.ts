/** Punctuation that input methods leave behind and that is not at a fixed distance from ASCII. */
const OTHERS: Record<string, string> = {
  '“': '"',
  '”': '"',
  '„': '"',
  '‟': '"',
  '‘': "'",
  '’': "'",
  '、': ',',
  '。': '.',
  '【': '[',
  '】': ']',
  '〈': '<',
  '〉': '>',
  '–': '-',
  '—': '-',
  '−': '-',
};

/**
 * The ASCII character that was meant by a full-width one, such as ":" for "：" (U+FF01 to U+FF5E lie 0xFEE0 above
 * ASCII) or '"' for "“"; undefined for any other character.
 */
export function asciiFor(character: string): string | undefined {
  const code = character.codePointAt(0) ?? 0;
  if (code >= 0xff01 && code <= 0xff5e) return String.fromCodePoint(code - 0xfee0);
  return Object.hasOwn(OTHERS, character) ? OTHERS[character] : undefined;
}
