/** Shows lines in the place of those before them on a terminal; elsewhere below them, where they have changed. */
export function liveLines(stream: NodeJS.WriteStream): (lines: readonly string[]) => void {
  let shown: readonly string[] = [];
  return (lines) => {
    if (lines.join() === shown.join()) return;
    if (stream.isTTY) {
      const up = shown.length > 0 ? `\u001b[${shown.length}A\u001b[J` : '';
      const width = Math.max(20, stream.columns ?? 80);
      lines = lines.map((line) => line.slice(0, width - 1));
      stream.write(`${up}${lines.join('\n')}\n`);
    } else stream.write(`${lines.join('\n')}\n\n`);
    shown = lines;
  };
}
