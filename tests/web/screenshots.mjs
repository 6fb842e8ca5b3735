// The pictures of doc/: node tests/web/screenshots.mjs, with the environment of run.sh. Same content, whoever makes them.
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from '../../web/node_modules/playwright-core/index.mjs';
import { Service, root } from './service.mjs';

const files = mkdtempSync(join(tmpdir(), 'models-'));
for (const name of ['Fable-8M', 'Fable-8M-chat']) cpSync(join(root, 'examples/model'), join(files, name), { recursive: true });
const service = await new Service([files]).start();
const types = ['Q2_K', 'Q3_K_M', 'Q4_K_M', 'Q5_K_M', 'Q6_K', 'Q8_0'];
const ladder = await service.submit({ name: 'Fable 8M, the ladder', source_model: join(files, 'Fable-8M'), gguf_quant_types: types, config: { measure: true } });
await service.wait(ladder.id);
const chat = await service.submit({ name: 'Fable chat for phones', source_model: join(files, 'Fable-8M-chat'), gguf_quant_types: ['IQ3_M', 'IQ4_XS', 'Q4_K_M'], config: { use_imatrix: true, measure: true } });
await service.wait(chat.id);
const busy = await service.submit({ name: 'Fable 8M with importance', source_model: join(files, 'Fable-8M'), gguf_quant_types: ['Q4_K_S', 'Q6_K'], config: { use_imatrix: true, measure: true, threads: 1 } });
await service.submit({ name: 'Fable chat, half precision', source_model: join(files, 'Fable-8M-chat'), gguf_quant_types: ['BF16'] });

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });
async function shoot(name, colorScheme, go, height = 700) {
    const page = await browser.newPage({ viewport: { width: 1200, height }, colorScheme });
    await go(page);
    await page.waitForTimeout(1200);
    await page.screenshot({ path: join(root, 'doc', name) });
    await page.close();
}
await service.wait(busy.id, (job) => job.status === 'measuring' || job.status === 'completed');
await shoot('page-jobs.png', 'light', (p) => p.goto(`${service.url}/#/jobs`), 560);
await shoot('page-wizard.png', 'dark', async (p) => {
    await p.goto(`${service.url}/#/new/1`);
    await p.getByRole('button', { name: files }).click();
    await p.getByRole('radio', { name: /^Fable-8M(?!-)/ }).check();
    await p.getByRole('button', { name: 'Next' }).click();
    await p.getByRole('row', { name: /^Q8_0/ }).getByText('8.78 MB').waitFor();
    await p.getByRole('button', { name: /^Balanced/ }).click();
    await p.getByLabel('Memory or graphics card').fill('20 MB');
    await p.getByRole('button', { name: 'Check fit' }).click();
    await p.getByText('is the best type for').waitFor();
}, 860);
await shoot('page-job.png', 'light', (p) => p.goto(`${service.url}/#/jobs/${ladder.id}`), 1240);
await shoot('page-models.png', 'dark', async (p) => {
    await p.goto(`${service.url}/#/models`);
    for (const name of ['Fable-8M', 'Fable-8M-chat']) await p.getByRole('checkbox', { name: `Compare ${name}`, exact: true }).check();
    await p.getByRole('link', { name: 'Compare 2' }).click();
}, 900);
await browser.close();
await service.close();
rmSync(files, { recursive: true, force: true });
