// The browser that the cases run in, one service for all of a file's cases, and what they share.
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from '../../web/node_modules/playwright-core/index.mjs';
import { Service, root } from './service.mjs';

const axe = readFileSync(join(root, 'web/node_modules/axe-core/axe.min.js'), 'utf8');
export const hostile = '<img src=x onerror=alert(1)> \u202eRTL ' + 'long'.repeat(40);

// The folder of models that the service may read.
export const files = mkdtempSync(join(tmpdir(), 'halftone-web-models-'));
cpSync(join(root, 'examples/model'), join(files, 'story'), { recursive: true });
cpSync(join(root, 'examples/model'), join(files, 'broken'), { recursive: true });
truncateSync(join(files, 'broken/model.safetensors'), 9_000_000);
mkdirSync(join(files, 'empty'));

export const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });
export const service = await new Service([files]).start();
let failed = 0, wrong = [];

// A page whose console must stay silent; what is expected to fail is told by `expected`.
export async function open(path = '', options = {}, base = service.url) {
    const context = await browser.newContext({ viewport: { width: 1200, height: 800 }, ...options });
    await context.grantPermissions(['clipboard-read', 'clipboard-write'], { origin: base });
    const page = await context.newPage();
    page.setDefaultTimeout(Number(process.env.PATIENCE ?? 300000)); // ends a test that hangs, and measures nothing
    page.expected = /Failed to load resource/;
    page.on('console', (m) => m.type() === 'error' && !page.expected.test(m.text()) && wrong.push(m.text()));
    page.on('pageerror', (e) => wrong.push(e.message));
    page.on('dialog', (d) => (wrong.push(`a dialog: ${d.message()}`), d.dismiss()));
    await page.goto(`${base}/#/${path}`);
    return page;
}
export const done = (page) => page.context().close();

// CASE=TEXT in the environment: only the cases whose names have that text.
export async function test(name, run) {
    if (process.env.CASE && !name.includes(process.env.CASE)) return;
    wrong = [];
    try {
        await run();
        assert.deepEqual(wrong, [], 'the console is silent');
        console.log(`ok    ${name}`);
    } catch (e) {
        failed++;
        console.log(`FAIL  ${name}\n      ${String(e.stack ?? e).split('\n').slice(0, 12).join('\n      ')}`);
    }
    for (const c of browser.contexts()) await c.close();
}

export const heading = (page, name) => page.getByRole('heading', { level: 1, name }).waitFor();

// Nothing makes the page wider than its window; what scrolls by itself may.
// A plot follows the window's width a moment later.
export async function fits(page, what) {
    await page.waitForFunction(() => document.scrollingElement.scrollWidth <= innerWidth, undefined, { timeout: 5000 }).catch(() => {});
    const over = await page.evaluate(() => document.scrollingElement.scrollWidth <= innerWidth ? ''
        : `${document.scrollingElement.scrollWidth} of ${innerWidth} px: ` + [...document.querySelectorAll('body *')].filter((e) => e.getBoundingClientRect().right > innerWidth && !e.closest('.scroll'))
            .map((e) => e.outerHTML.slice(0, 120)).join('\n'));
    assert.equal(over, '', `${what} is too wide`);
}

// No serious finding of accessibility.
export async function accessible(page, what) {
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
    const bad = violations.filter((v) => v.impact === 'serious' || v.impact === 'critical');
    assert.deepEqual(bad.map((v) => `${what}: ${v.id} ${v.nodes.map((n) => n.html.slice(0, 160)).join(' | ')}`), []);
}

// Closes everything; the exit status says whether a case failed.
export async function finish() {
    await browser.close();
    await service.close();
    rmSync(files, { recursive: true, force: true });
    console.log(failed ? `${failed} cases failed` : 'every case passed');
    process.exit(failed ? 1 : 0);
}
