/** The report's style sheet: light and dark by the reader's system, narrow screens, paper. */
export const STYLE = `
:root { color-scheme: light dark; --ground: #f6f7f9; --paper: #fff; --ink: #1b2330; --quiet: #5b6675; --edge: #dfe3e9;
  --accent: #2563c9; --accent-soft: #dbe7fb; --good: #17734a; --good-soft: #e1f4ea; --caution: #8a5a00;
  --caution-soft: #fdf1d8; --bad: #b3261e; --bad-soft: #fce6e4; --code: #eef1f5; }
@media (prefers-color-scheme: dark) { :root { --ground: #12161c; --paper: #1a2029; --ink: #e4e9f0; --quiet: #9aa6b5;
  --edge: #2e3744; --accent: #74a7ff; --accent-soft: #24344f; --good: #6fd3a0; --good-soft: #173528; --caution: #f0c264;
  --caution-soft: #3b2f13; --bad: #ff9b93; --bad-soft: #43211f; --code: #232b36; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { margin: 0 0 12px; font-size: 28px; line-height: 1.2; letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 { margin: 0 0 12px; font-size: 18px; }
h3 { margin: 20px 0 8px; font-size: 15px; }
p { margin: 0 0 12px; }
a { color: var(--accent); }
.eyebrow, .rule, .quiet, .note, caption, figcaption, footer { color: var(--quiet); }
.eyebrow { margin-bottom: 4px; font-size: 13px; }
.rule { font-size: 13px; margin-bottom: 20px; }
.verdict { display: flex; gap: 12px; align-items: baseline; margin-bottom: 6px; padding: 12px 16px; border-radius: 10px;
  font-size: 17px; background: var(--tint); border: 1px solid var(--tone); }
.badge { flex: none; color: var(--tone); }
.good { --tone: var(--good); --tint: var(--good-soft); }
.caution { --tone: var(--caution); --tint: var(--caution-soft); }
.bad { --tone: var(--bad); --tint: var(--bad-soft); }
.unknown { --tone: var(--quiet); --tint: var(--code); }
nav { margin-bottom: 20px; font-size: 14px; }
nav a { display: inline-block; margin-right: 16px; text-decoration: none; padding: 2px 0; }
nav a:hover { text-decoration: underline; }
section { margin-bottom: 20px; padding: 20px; background: var(--paper); border: 1px solid var(--edge); border-radius: 12px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(205px, 1fr)); gap: 12px; padding: 0; background: none;
  border: 0; }
.card { padding: 14px 16px; background: var(--paper); border: 1px solid var(--edge); border-radius: 12px; }
.card p { margin: 0; }
.card .title, .card .detail { color: var(--quiet); font-size: 13px; overflow-wrap: anywhere; }
.card .value { margin: 2px 0; font-size: 19px; white-space: nowrap; font-weight: 650; font-variant-numeric: tabular-nums; }
.before, .arrow { color: var(--quiet); font-weight: 400; font-size: 15px; }
.warnings { border-color: var(--caution); background: var(--caution-soft); }
.warnings ul { margin: 0; padding-left: 20px; }
.facts { margin: 0; }
.facts div { display: grid; grid-template-columns: 140px 1fr; gap: 12px; padding: 6px 0; border-top: 1px solid var(--edge); }
.facts div:first-child { border-top: 0; }
.facts dt { color: var(--quiet); }
.facts dd { margin: 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin-bottom: 12px; }
.tall { max-height: 560px; overflow-y: auto; border: 1px solid var(--edge); border-radius: 8px; }
.tall thead th { position: sticky; top: 0; background: var(--paper); z-index: 1; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
caption { text-align: left; padding: 0 0 6px; font-size: 13px; }
.tall caption { padding: 8px 10px; }
th, td { padding: 6px 10px; border-top: 1px solid var(--edge); text-align: left; font-weight: 400; vertical-align: baseline; }
thead th { border-top: 0; border-bottom: 2px solid var(--edge); color: var(--quiet); font-size: 13px; white-space: nowrap; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.name, code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: 13px; }
td.name, th.name { max-width: 340px; overflow-wrap: anywhere; min-width: 250px; }
.tall th, .tall td { padding: 6px 8px; font-size: 13px; }
td.rule { max-width: 200px; min-width: 90px; overflow-wrap: anywhere; margin: 0; }
th button { all: unset; cursor: pointer; display: inline-block; }
th button:hover, th button:focus-visible { color: var(--accent); text-decoration: underline; }
th[aria-sort=descending] button::after { content: " ↓"; }
th[aria-sort=ascending] button::after { content: " ↑"; }
input[type=search] { margin-bottom: 10px; padding: 6px 10px; width: min(320px, 100%); color: inherit; background: var(--ground);
  border: 1px solid var(--edge); border-radius: 8px; font: inherit; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
.suspects { margin: 0; padding-left: 24px; }
.suspects li { padding: 8px 0; border-top: 1px solid var(--edge); }
.suspects li:first-child { border-top: 0; }
.suspects p { margin: 0; overflow-wrap: anywhere; }
code { padding: 1px 6px; background: var(--code); border-radius: 5px; overflow-wrap: anywhere; }
pre { margin: 0 0 12px; padding: 12px 14px; background: var(--code); border-radius: 8px; white-space: pre-wrap; overflow-wrap: anywhere; }
pre code { padding: 0; background: none; }
.bars { margin: 0; padding: 0; list-style: none; }
.bars-head { margin: 0; color: var(--quiet); font-size: 13px; }
.bars li, .bars-head { display: grid; grid-template-columns: minmax(0, 350px) minmax(60px, 1fr) 76px 76px; gap: 12px; align-items: center;
  padding: 3px 0; }
.bars .name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.bars .sqnr { color: var(--quiet); }
.bars .remedy { grid-column: 1 / -1; margin: -4px 0 2px; font-size: 12px; overflow-wrap: anywhere; }
.bar { width: 100%; height: 14px; display: block; }
.track { fill: var(--code); }
.fill, .bins { fill: var(--accent); }
.curve { margin: 0 0 20px; }
.plot { display: flex; gap: 8px; height: 190px; }
.plot svg { flex: 1; min-width: 0; height: 100%; overflow: visible; }
.axis { display: flex; flex-direction: column; justify-content: space-between; margin: -9px 0; color: var(--quiet); font-size: 12px;
  text-align: right; font-variant-numeric: tabular-nums; }
.grid { stroke: var(--edge); vector-effect: non-scaling-stroke; }
.curve polyline { fill: none; stroke: var(--accent); stroke-width: 2; stroke-linejoin: round; vector-effect: non-scaling-stroke; }
.curve figcaption { margin-top: 12px; font-size: 13px; }
.pareto svg { width: 100%; height: auto; border: 1px solid var(--edge); border-radius: 8px; }
.try { fill: var(--paper); stroke: var(--accent); stroke-width: 2; }
.chosen { fill: var(--accent); }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(230px, 1fr)); gap: 18px 20px; }
.gallery figure { margin: 0; min-width: 0; break-inside: avoid; }
.gallery figure { display: flex; flex-direction: column; }
.gallery figcaption { color: var(--ink); overflow-wrap: anywhere; margin-bottom: auto; line-height: 1.35; }
.gallery p { margin: 0; font-size: 12px; }
.histogram { width: 100%; height: 72px; display: block; margin: 4px 0 2px; border-bottom: 1px solid var(--quiet); }
.outside { fill: var(--bad); opacity: .18; }
.clip { stroke: var(--bad); stroke-width: 1.5; stroke-dasharray: 4 3; vector-effect: non-scaling-stroke; }
.zero { stroke: var(--quiet); vector-effect: non-scaling-stroke; opacity: .5; }
.ends { display: flex; justify-content: space-between; font-variant-numeric: tabular-nums; }
.float { list-style: none; margin: 0; padding: 0; }
.float li { padding: 6px 0; border-top: 1px solid var(--edge); }
.float li:first-child { border-top: 0; }
.float .name { margin: 6px 0 0; color: var(--quiet); overflow-wrap: anywhere; }
.cause { display: inline-block; padding: 0 8px; border-radius: 99px; background: var(--code); font-size: 12px; }
.cause.unsupported { background: var(--caution-soft); color: var(--caution); }
summary { cursor: pointer; }
details > .scroll { margin-top: 10px; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); gap: 24px; margin-bottom: 12px; align-items: start; }
.columns td { white-space: normal; overflow-wrap: anywhere; }
footer { font-size: 13px; }
@media (max-width: 640px) {
  main { padding: 20px 12px 40px; }
  section { padding: 16px 14px; }
  .verdict { flex-direction: column; gap: 2px; font-size: 16px; }
  .facts div { grid-template-columns: 1fr; gap: 0; }
  th, td { padding: 6px; }
  .bars-head { display: none; }
  .bars li { grid-template-columns: 1fr 68px 68px; gap: 0 8px; padding: 6px 0; }
  .bars .name { grid-column: 1 / -1; }
}
@media print {
  :root { color-scheme: light; --ground: #fff; --paper: #fff; --ink: #000; --quiet: #444; --edge: #ccc; }
  body { font-size: 11px; }
  main { max-width: none; padding: 0; }
  nav, input { display: none; }
  section { break-inside: auto; border-radius: 0; padding: 12px 0; border-width: 1px 0 0; }
  .scroll, .tall { overflow: visible; max-height: none; border: 0; }
  td.name, th.name, td.rule { min-width: 0; }
  table { font-size: 9px; } th, td { padding: 2px 4px; }
  svg, .verdict, .warnings { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  tr, li { break-inside: avoid; }
}
`;
