import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Browser, chromium, type Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { renderReport, reportInput } from '../src/report/report.js';
import { madeUpAnalysis, madeUpRun } from './report-input.js';

const CHROMIUM = process.env.DOPT_CHROMIUM ?? '/usr/bin/chromium';
const SCREENSHOTS = new URL('./screenshots/', import.meta.url);
const ARGUMENTS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

const present = existsSync(CHROMIUM);
if (!present) console.log(`Skipped the report in a browser: no Chromium at ${CHROMIUM} (set DOPT_CHROMIUM).`);

describe.skipIf(!present)('report.html in Chromium', () => {
  let browser: Browser;
  let folder: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'dopt-report-'));
    await mkdir(SCREENSHOTS, { recursive: true });
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ARGUMENTS });
  });

  afterAll(async () => {
    await browser?.close();
    await rm(folder, { recursive: true, force: true });
  });

  /** Opens a report and collects what went wrong and what was asked of the network. */
  async function open(
    layers: number,
    view: { width: number; dark?: boolean; script?: boolean; analyzed?: boolean },
  ): Promise<{ page: Page; problems: string[]; requests: string[] }> {
    const file = join(folder, `${layers}.html`);
    const files = madeUpRun(layers);
    const analysis = view.analyzed ? madeUpAnalysis(files) : null;
    await writeFile(file, renderReport(reportInput({ ...files, analysis })));
    const context = await browser.newContext({
      viewport: { width: view.width, height: 900 },
      colorScheme: view.dark ? 'dark' : 'light',
      javaScriptEnabled: view.script ?? true,
    });
    const page = await context.newPage();
    const problems: string[] = [];
    const requests: string[] = [];
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) problems.push(message.text());
    });
    page.on('pageerror', (error) => problems.push(error.message));
    page.on('request', (request) => requests.push(request.url()));
    await page.goto(pathToFileURL(file).href);
    return { page, problems, requests };
  }

  it.each([
    { width: 1280, dark: false },
    { width: 1280, dark: true },
    { width: 400, dark: false },
  ])('lies well at $width px, dark: $dark', async (view) => {
    const { page, problems, requests } = await open(72, view);
    expect(await page.locator('h1').textContent()).toBe('detector-nano');
    expect(await page.locator('.verdict').textContent()).toContain('35.12 % AP against 35.63 % in float');
    const overflow = await page.evaluate<number>('document.documentElement.scrollWidth - innerWidth');
    expect(overflow).toBeLessThanOrEqual(0);
    const name = `report-${view.width}${view.dark ? '-dark' : ''}.png`;
    await page.screenshot({ path: new URL(name, SCREENSHOTS).pathname, fullPage: true });
    expect(problems).toEqual([]);
    expect(requests).toEqual([page.url()]);
    expect(await page.title()).toBe('detector-nano – dopt report');
    await page.context().close();
  });

  it('sorts and filters the table of tensors', async () => {
    const { page, problems } = await open(72, { width: 1280 });
    const names = (): Promise<string[]> => page.locator('#tensors tbody tr:visible th').allTextContents();
    const column = (index: number): Promise<number[]> =>
      page
        .locator(`#tensors tbody tr td:nth-child(${index})`)
        .evaluateAll((cells) => cells.map((cell) => Number(cell.getAttribute('data-v'))));
    const before = await names();
    expect(before[0]).toBe('images');

    const head = page.locator('#tensors thead th', { hasText: 'Own noise' });
    await head.getByRole('button').click();
    expect(await head.getAttribute('aria-sort')).toBe('descending');
    const noise = await column(5);
    expect(noise).toEqual([...noise].sort((a, b) => b - a));
    expect(await names()).not.toEqual(before);

    await head.getByRole('button').click();
    expect(await head.getAttribute('aria-sort')).toBe('ascending');
    expect((await column(5))[0]).toBe(Math.min(...noise));

    await page.locator('#tensors input[type=search]').fill('IMAGES');
    expect(await names()).toEqual(['images']);
    expect(problems).toEqual([]);
    await page.context().close();
  });

  it('reads the same without script', async () => {
    const { page } = await open(72, { width: 1280, script: false });
    expect(await page.locator('#tensors tbody tr').count()).toBe(73);
    expect(await page.locator('input').count()).toBe(0);
    await page.context().close();
  });

  it('names charts for those who cannot see them', async () => {
    const { page } = await open(72, { width: 1280 });
    const charts = page.locator('svg:not([aria-hidden=true])');
    const labels = await charts.evaluateAll((list) =>
      list.map((chart) => chart.getAttribute('aria-label') ?? ''),
    );
    expect(labels.length).toBe(41);
    expect(labels.filter((label) => !/(clip from|Signal over noise)/.test(label))).toEqual([]);
    await page.context().close();
  });

  it('stays usable with 500 tensors', async () => {
    const { page, problems } = await open(500, { width: 1280 });
    const bytes = Buffer.byteLength(await page.content());
    expect(bytes).toBeLessThan(3_000_000);
    expect(await page.locator('#tensors tbody tr').count()).toBe(501);
    expect(await page.locator('.bars li').count()).toBe(40);
    expect(problems).toEqual([]);
    await page.context().close();
  });

  it.each([1280, 400])('shows an analysis in the place of suspicions, at %d px', async (width) => {
    const { page, problems } = await open(500, { width, analyzed: true });
    expect(await page.locator('#suspects').count()).toBe(0);
    const section = page.locator('#analysis');
    expect(await section.locator('.bars li').count()).toBe(30);
    expect(await section.locator('.bars li').first().textContent()).toContain('--int16');
    expect(await section.locator('.gallery figure').count()).toBe(12);
    expect(await section.locator('tbody tr').count()).toBeGreaterThan(501);
    const overflow = await page.evaluate<number>('document.documentElement.scrollWidth - innerWidth');
    expect(overflow).toBeLessThanOrEqual(0);
    const labels = await section
      .locator('svg:not([aria-hidden=true])')
      .evaluateAll((list) => list.map((chart) => chart.getAttribute('aria-label') ?? ''));
    expect(labels.filter((label) => !/^(Weights of|Signal over noise)/.test(label))).toEqual([]);
    expect(Buffer.byteLength(await page.content())).toBeLessThan(4_000_000);
    expect(problems).toEqual([]);
    await page.context().close();
  });

  it('prints everything that is folded', async () => {
    const { page, problems } = await open(20, { width: 1280 });
    const pdf = await page.pdf({ format: 'A4' });
    expect(pdf.subarray(0, 5).toString()).toBe('%PDF-');
    expect(await page.locator('details:not([open])').count()).toBe(0);
    expect(problems).toEqual([]);
    await page.context().close();
  });
});
