/** A word as a POSIX shell takes it: bare where that is safe, else in quotes that nothing expands in. */
export function shellQuote(word: string): string {
  if (/^[\w@%+=:,./-]+$/.test(word)) return word;
  if (/^[^"$`\\!\n]+$/.test(word)) return `"${word}"`;
  return `'${word.replaceAll("'", `'\\''`)}'`;
}
