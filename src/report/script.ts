/**
 * The report's script: click on a heading sorts, a box filters tables, printing opens what is folded. The report reads
 * the same without it, so heads turn into buttons only where it runs.
 */
export const SCRIPT = `
for (const table of document.querySelectorAll('table.sortable')) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const value = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.v === undefined ? null : Number(cell.dataset.v);
  };
  const compare = (a, b, column) => {
    const [x, y] = [value(a, column), value(b, column)];
    if (x === null && y === null) return a.cells[column].textContent.localeCompare(b.cells[column].textContent);
    if (x === null || y === null) return x === null ? -1 : 1;
    return x - y;
  };
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener('click', () => {
      const down = head.getAttribute('aria-sort') !== 'descending';
      for (const other of table.tHead.rows[0].cells) other.removeAttribute('aria-sort');
      head.setAttribute('aria-sort', down ? 'descending' : 'ascending');
      rows.sort((a, b) => (down ? -1 : 1) * compare(a, b, column));
      body.append(...rows);
    });
  });
  if (rows.length > 12) {
    const box = document.createElement('input');
    box.type = 'search';
    box.placeholder = 'Filter by name';
    box.setAttribute('aria-label', 'Filter by name');
    box.addEventListener('input', () => {
      const text = box.value.toLowerCase();
      for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(text);
    });
    table.parentElement.before(box);
  }
}
addEventListener('beforeprint', () => {
  for (const folded of document.querySelectorAll('details')) folded.open = true;
});
`;
