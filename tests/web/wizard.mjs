// A new job, from the model to the start: the wizard's screens at three sizes, one line for each case.
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { accessible, done, files, finish, fits, heading, open, service, test } from './browser.mjs';
import { Service, root } from './service.mjs';

const sizes = [[390, 'light'], [1024, 'dark'], [1440, 'light']];
const examples = mkdtempSync(join(tmpdir(), 'halftone-web-wizard-'));
cpSync(join(root, 'examples/model'), join(examples, 'examples/model'), { recursive: true });

const check = (page, name) => page.getByRole('checkbox', { name, exact: true });
const row = (page, type) => page.getByRole('row', { name: new RegExp(`^${type}\\b`) });
const summary = (page) => page.getByRole('status', { name: 'Summary' });
const json = (body, status = 200) => ({ status, contentType: status < 300 ? 'application/json' : 'application/problem+json', body: JSON.stringify(body) });

// The draft lies in sessionStorage: each page has a context, and so a draft, of its own.
async function types(page) {
    await page.getByRole('button', { name: files }).click();
    await page.getByRole('radio', { name: /^story/ }).check();
    await page.getByRole('button', { name: 'Next' }).click();
    await heading(page, 'Which types?');
    await row(page, 'Q8_0').getByText('8.78 MB').waitFor();
}

await test('the example model from an empty list to its files, at every size', async () => {
    const fresh = await new Service([join(examples, 'examples')]).start();
    try {
        for (const [width, colorScheme] of sizes) {
            const page = await open('jobs', { viewport: { width, height: 860 }, colorScheme, reducedMotion: 'reduce' }, fresh.url);
            const look = async (what) => {
                await fits(page, `${what} at ${width} px`);
                await accessible(page, `${what} at ${width} px`);
            };
            await heading(page, 'Jobs');
            const first = width === sizes[0][0];
            if (first) await page.getByRole('button', { name: /^Try the example model/ }).click();
            else {
                await page.getByRole('link', { name: 'New job' }).click();
                await page.getByRole('radio', { name: /^The example model/ }).check();
                await look('the model');
                await page.getByRole('button', { name: 'Next' }).click();
            }
            await heading(page, 'Which types?');
            await row(page, 'Q8_0').getByText('8.78 MB').waitFor();
            await summary(page).getByText(first ? '2 files' : '1 file').waitFor();
            await page.getByLabel('Memory or graphics card').fill('19 MB');
            await page.getByRole('button', { name: 'Check fit' }).click();
            await page.getByText('Q3_K_M is the best type for 19 MB.').waitFor();
            await page.getByRole('button', { name: /^All \d+ types/ }).click();
            await look('the types');
            const next = await page.getByRole('button', { name: 'Next' }).boundingBox();
            assert.ok(next.y + next.height <= 860, 'Next stays in sight');
            await page.getByRole('button', { name: 'Next' }).click();
            await heading(page, 'Review');
            await page.getByText('It fits.').waitFor();
            await look('the review');
            if (first) {
                await page.getByRole('button', { name: 'Start' }).click();
                await heading(page, 'example model');
                await page.locator('.head').getByText('completed').waitFor();
            }
            await done(page);
        }
    } finally {
        await fresh.close();
    }
});

await test('the picture and the table of the types say the same', async () => {
    const page = await open('new/1');
    await types(page);
    const picture = page.getByRole('img', { name: /File size against expected loss of \d+ types/ });
    await picture.waitFor();
    assert.deepEqual((await page.locator('.ladder-table tbody tr').allTextContents()).map((t) => /^ ?(Q\d_[K0](_M)?)/.exec(t)?.[1]), ['Q8_0', 'Q6_K', 'Q5_K_M', 'Q4_K_M', 'Q3_K_M', 'Q2_K'], 'six types first, the largest on top');
    const dot = (name) => page.locator('.rung').nth(names.indexOf(name));
    // dots stand in the order of their sizes: the table with every type tells which is which
    await page.getByRole('button', { name: /^All \d+ types/ }).click();
    const table = await page.locator('.ladder-table tbody tr').evaluateAll((rows) => rows.map((r) => ({ name: r.querySelector('code').textContent, size: parseFloat(r.cells[1].textContent), loss: r.cells[3].textContent })));
    const dots = await page.locator('.rung').count();
    const names = table.filter((t) => t.loss.includes('KL')).sort((a, b) => b.size - a.size).map((t) => t.name);
    assert.equal(dots, names.length, 'a dot for every type whose loss is known');
    await dot('Q8_0').click();
    assert.equal(await check(page, 'Q8_0').isChecked(), true, 'a click on a dot chooses its type');
    await summary(page).getByText('2 files').waitFor();
    await summary(page).getByText('14.0 MB').waitFor();
    await check(page, 'Q4_K_M').focus();
    await page.keyboard.press('Space');
    await summary(page).getByText('1 file').waitFor();
    await summary(page).getByText('8.78 MB').waitFor();
    await check(page, 'Q8_0').uncheck();
    await page.getByText('Choose at least one type.').waitFor();
    assert.equal(await page.getByRole('button', { name: 'Next' }).isDisabled(), true);
    await done(page);
});

await test('what fits marks the table and the picture', async () => {
    const page = await open('new/1');
    await types(page);
    await page.getByLabel('Memory or graphics card').fill('19 MB');
    await page.keyboard.press('Enter');
    await page.getByText('Q3_K_M is the best type for 19 MB.').waitFor();
    await page.getByText(/20 % headroom/).first().waitFor();
    for (const [type, word] of [['Q8_0', 'too large'], ['Q5_K_M', 'tight'], ['Q3_K_M', 'fits'], ['Q2_K', 'fits']]) await row(page, type).locator('.verdict').getByText(word).waitFor();
    await row(page, 'Q3_K_M').getByText('best that fits').waitFor();
    const line = Number(await page.locator('.limit').getAttribute('x1')), border = Number(await page.locator('.zone.tight').getAttribute('x'));
    const places = await page.locator('.rung').evaluateAll((all) => all.map((g) => ({ x: Number(g.querySelector('.target').getAttribute('cx')), no: g.classList.contains('no') })));
    assert.ok(places.some((p) => p.no) && places.every((p) => p.no === p.x > line), 'what is too large stands behind the line, and nothing else');
    assert.ok(border < line);
    await page.getByRole('button', { name: 'Use Q3_K_M' }).click();
    assert.equal(await check(page, 'Q3_K_M').isChecked(), true);
    assert.equal(await check(page, 'Q4_K_M').isChecked(), false);
    await page.getByLabel('Memory or graphics card').fill('rtx 3060');
    await page.getByRole('button', { name: 'Check fit' }).click();
    await page.getByText(/^Q8_0 is the best type for RTX 3060/).waitFor();
    await page.getByText('every type fits').waitFor();
    await page.getByLabel('Program').selectOption('vLLM');
    await page.getByText(/^gptq:bits=8 is the best type for RTX 3060/).waitFor();
    assert.equal(await row(page, 'Q3_K_M').locator('.verdict').count(), 0, 'GGUF files are not for it');
    await page.getByRole('region', { name: 'Types of folders' }).getByRole('row', { name: /^NF4/ }).locator('.verdict').getByText('fits').waitFor();
    await page.getByRole('button', { name: 'Use gptq:bits=8' }).click();
    await summary(page).getByText('1 folder', { exact: true }).waitFor();
    assert.equal(await page.getByLabel('bits of GPTQ').inputValue(), '8');
    await page.getByLabel('Program').selectOption('llama.cpp');
    await page.getByText(/^Q8_0 is the best type for RTX 3060/).waitFor();
    await page.getByLabel('Memory or graphics card').fill('no such card');
    await page.getByRole('button', { name: 'Check fit' }).click();
    await page.getByRole('alert').waitFor();
    assert.equal(await page.locator('.zone').count(), 0, 'nothing is marked by an answer that did not come');
    await done(page);
});

await test('losses that were measured on this model replace those of the example', async () => {
    const job = await service.submit({ name: 'measured', source_model: join(files, 'story'), gguf_quant_types: ['Q4_K_M'], config: { measure: true }, options: { chunks: '2' } });
    assert.equal((await service.wait(job.id)).status, 'completed');
    const page = await open('new/1');
    await types(page);
    await page.getByText('measured on this model.').waitFor();
    await row(page, 'Q4_K_M').getByText('◆').waitFor();
    assert.equal(await row(page, 'Q8_0').getByText('◆').count(), 0);
    await done(page);
});

await test('Hugging Face folders: types with their options, beside GGUF files', async () => {
    const page = await open('new/1');
    await types(page);
    const folders = page.getByRole('region', { name: 'Types of folders' }), nf4 = folders.getByRole('row', { name: /^NF4/ });
    await nf4.getByText('transformers').waitFor();
    await nf4.getByText('bits/weight').waitFor();
    assert.equal(await nf4.getByRole('combobox').count(), 0, 'options of what is chosen alone');
    await nf4.getByRole('checkbox').check();
    await summary(page).getByText('1 file, 1 folder').waitFor();
    await page.getByLabel('block of NF4').selectOption('128');
    await page.reload();
    await heading(page, 'Which types?');
    assert.equal(await page.getByLabel('block of NF4').inputValue(), '128', 'the draft has it');
    await check(page, 'Q4_K_M').uncheck();
    await summary(page).getByText('1 folder', { exact: true }).waitFor();
    await check(page, 'Q8_0').check();
    await page.getByLabel('Rules for single parts').fill('attention=fp4\n first:2=none \n');
    await folders.getByText('w4a16:group=32>w8a16>w8a8>none').waitFor();
    await accessible(page, 'types of folders');
    await page.getByRole('button', { name: 'Next' }).click();
    await heading(page, 'Review');
    await page.getByText('nf4:block=128', { exact: true }).waitFor();
    let asked;
    await page.route('**/quantize/jobs', (r) => (r.request().method() === 'POST' ? ((asked = r.request().postDataJSON()), r.fulfill(json({ type: 'about:blank', title: 'no', status: 503, detail: 'not now' }, 503))) : r.continue()));
    await page.getByRole('button', { name: 'Start' }).click();
    await page.getByText('not now').waitFor();
    assert.deepEqual(asked.outputs, [{ format: 'gguf', type: 'Q8_0' }, { format: 'safetensors', type: 'nf4:block=128' }]);
    assert.deepEqual(asked.options, { rule: ['attention=fp4', 'first:2=none'] });
    await page.getByRole('link', { name: 'Back' }).click();
    await page.getByLabel('block of NF4').selectOption('64');
    await page.getByLabel('Weights in').selectOption('pytorch');
    await nf4.getByText('transformers').waitFor();
    assert.equal(await page.getByLabel('block of NF4').inputValue(), '64', 'what was chosen stays');
    await page.getByRole('button', { name: 'Next' }).click();
    await page.getByRole('button', { name: 'Start' }).click();
    await page.getByText('not now').waitFor();
    assert.deepEqual(asked.outputs[1], { format: 'pytorch', type: 'nf4' });
    await page.getByRole('link', { name: 'Back' }).click();
    await page.getByLabel('Weights in').selectOption('safetensors');
    await page.getByRole('button', { name: 'Next' }).click();
    await page.locator('.facts .types').getByText('nf4', { exact: true }).waitFor();
    await done(page);
});

await test('effort, calibration and a budget instead of types', async () => {
    const page = await open('new/1');
    let asked;
    await page.route('**/quantize/jobs', (r) => (r.request().method() === 'POST' ? ((asked = r.request().postDataJSON()), r.fulfill(json({ type: 'about:blank', title: 'no', status: 503, detail: 'not now' }, 503))) : r.continue()));
    const start = async () => {
        await page.getByRole('button', { name: 'Next' }).click();
        await heading(page, 'Review');
        await page.getByText('It fits.').waitFor();
        await page.getByRole('button', { name: 'Start' }).click();
        await page.getByText('not now').waitFor();
    };
    await types(page);
    assert.equal(await page.getByRole('group', { name: 'Calibration' }).count(), 0, 'no text is looked at');
    await page.getByRole('button', { name: /^Least loss/ }).click();
    await page.getByLabel('Calibration text').fill('default,story/README.md:2');
    await page.getByLabel('Samples').fill('40');
    await page.getByLabel('Tokens in each').fill('64');
    await page.getByLabel('Seed').fill('7');
    await start();
    const text = { use_imatrix: true, calibration_dataset: 'default,story/README.md:2', calibration_samples: 40, calibration_length: 64, calibration_seed: 7 };
    assert.deepEqual([asked.config, asked.outputs], [{ ...text, effort: 'best' }, [{ format: 'gguf', type: 'Q4_K_M' }]]);
    await page.locator('.facts').getByText('40 samples').waitFor();
    await page.getByRole('link', { name: 'Back' }).click();
    await page.getByRole('radio', { name: /^Meet a budget/ }).check();
    await page.getByRole('textbox', { name: /^Bits a weight/ }).fill('');
    await page.getByText('Say what the budget is.').waitFor();
    assert.equal(await page.getByRole('button', { name: 'Next' }).isDisabled(), true);
    await page.getByRole('button', { name: /^Three and a half bits/ }).click();
    await page.getByLabel('Time to measure').fill('90s');
    await page.getByLabel('Calibration text').fill('');
    await summary(page).getByText('1 file by a budget').waitFor();
    await accessible(page, 'a budget');
    await page.reload();
    await heading(page, 'Which types?');
    assert.equal(await page.getByRole('textbox', { name: /^Bits a weight/ }).inputValue(), '3.5', 'the draft has it');
    await page.getByRole('button', { name: /^With importance/ }).click();
    await start();
    assert.deepEqual([asked.config, asked.outputs], [{ ...text, calibration_dataset: 'default', bpw: 3.5, budget_time: '90s' }, undefined]);
    await page.getByRole('link', { name: 'Back' }).click();
    await page.getByRole('button', { name: /^A card of 12 GB/ }).click();
    await start();
    assert.deepEqual([asked.config.gpu, asked.config.fit, asked.config.ctx, asked.config.bpw], ['RTX 3060', undefined, 8192, undefined]);
    await page.getByRole('link', { name: 'Back' }).click();
    await page.getByLabel('Limit').selectOption('size');
    await page.getByRole('textbox', { name: /^Size/ }).fill('100 kB');
    await page.getByRole('button', { name: 'Next' }).click();
    await page.getByText(/the smallest file that this model can have is/).waitFor();
    for (const [width] of sizes) {
        await page.setViewportSize({ width, height: 860 });
        await page.goto(`${service.url}/#/new/2`);
        await fits(page, `a budget at ${width} px`);
    }
    await done(page);
});

await test('the draft survives a reload', async () => {
    const page = await open('new/1');
    await types(page);
    assert.equal(await page.getByRole('list', { name: 'Steps' }).getByRole('listitem').count(), 3);
    await check(page, 'Q6_K').check();
    await page.getByRole('checkbox', { name: /^Measure the loss/ }).check();
    await page.reload();
    await heading(page, 'Which types?');
    assert.equal(await check(page, 'Q6_K').isChecked(), true);
    assert.equal(await page.getByRole('checkbox', { name: /^Measure the loss/ }).isChecked(), true);
    await page.goto(`${service.url}/#/new/2`);
    await heading(page, 'Which types?');
    await page.getByRole('link', { name: 'Back' }).click();
    await heading(page, 'Which model?');
    await summary(page).getByText('story').waitFor();
    // what lies there from another version, or damaged, is left out
    for (const text of ['{"draft": {"kind": "x", "types": [1], "model": 7}}', 'nonsense', '{"draft": null}']) {
        await page.evaluate((t) => sessionStorage.setItem('halftone-draft', t), text);
        await page.reload();
        await heading(page, 'Which model?');
        await page.getByText('No model chosen yet').waitFor();
    }
    await done(page);
});

await test('the hub: a name is taken while it is typed, with size, licence and gate', async () => {
    for (const [width, colorScheme] of sizes) {
        const page = await open('new/1', { viewport: { width, height: 860 }, colorScheme });
        let asked = 0;
        await page.route('**/api/v1/hub/models/**', (r) => r.fulfill(json({ id: 'org/gated-7b', revision: 'main', commit: 'c'.repeat(40), gated: true, license: 'llama3.1', bytes: 30e9,
            files: [{ name: 'model-00001-of-00002.safetensors', size: 8e9 }, { name: 'model-00002-of-00002.safetensors', size: 6e9 }, { name: 'pytorch_model.bin', size: 14e9 }] })));
        await page.route('**/api/v1/hub/search**', (r) => (asked++, r.fulfill(json({ models: [{ id: 'org/' + 'long-name-'.repeat(9), downloads: 123456, likes: 1, updated: null, gated: true, license: 'apache-2.0' }] }))));
        await page.getByRole('radio', { name: 'From the hub' }).check();
        const box = page.getByRole('searchbox', { name: 'Model on the hub' });
        await box.pressSequentially('gated');
        await page.getByText('apache-2.0').waitFor();
        assert.equal(asked, 1, 'one search when the typing rests');
        await fits(page, `the search at ${width} px`);
        await box.fill('org/gated-7b');
        await summary(page).getByText('org/gated-7b').waitFor();
        assert.equal(await page.getByRole('button', { name: 'Next' }).isDisabled(), false, 'nobody pressed Search');
        const card = page.getByRole('region', { name: 'Model org/gated-7b' });
        for (const text of ['14 GB', 'llama3.1', 'gated', 'HF_TOKEN']) await card.getByText(text).first().waitFor();
        await fits(page, `the hub at ${width} px`);
        await accessible(page, `the hub at ${width} px`);
        await done(page);
    }
});

await test('a hub that is not reached is said plainly, and can be asked again', async () => {
    const alone = await new Service([files], [], { HF_ENDPOINT: 'http://127.0.0.1:9', HALFTONE_HUB_TRIES: '1' }).start();
    try {
        const page = await open('new/1', { viewport: { width: 390, height: 860 } }, alone.url);
        await page.getByRole('radio', { name: 'From the hub' }).check();
        const box = page.getByRole('searchbox', { name: 'Model on the hub' });
        await box.fill('some words');
        await page.getByText('This server cannot reach the model hub.').waitFor();
        assert.equal(await page.getByText(/^Searching/).count(), 0, 'nothing pretends to go on');
        await page.route('**/api/v1/hub/search**', (r) => r.fulfill(json({ models: [{ id: 'org/back', downloads: 1, likes: 1, updated: null, gated: false }] })));
        await page.getByRole('button', { name: 'Retry' }).click();
        await page.getByRole('radio', { name: /^org\/back/ }).waitFor();
        await box.fill('org/model');
        await page.getByText('This server cannot reach the model hub.').waitFor();
        await summary(page).getByText('org/model').waitFor();
        await fits(page, 'the hub that is away');
        await page.getByRole('button', { name: 'Next' }).click();
        await page.getByRole('alert').first().waitFor();
        await page.getByText('…', { exact: true }).first().waitFor({ state: 'detached' }); // the tables do not wait for ever
        await page.getByRole('button', { name: 'Retry' }).first().waitFor();
        await done(page);
    } finally {
        await alone.close();
    }
});

await test('what the server says of memory and disk is what is shown', async () => {
    const page = await open('new/1');
    await types(page);
    await page.getByRole('checkbox', { name: /^Measure the loss/ }).check();
    await page.getByRole('checkbox', { name: /^Use an importance matrix/ }).check();
    const plain = await service.api('POST', '/quantize/estimate', { source_model: join(files, 'story'), gguf_quant_types: ['Q4_K_M'], config: { measure: true, use_imatrix: true } });
    await page.getByRole('button', { name: 'Next' }).click();
    await page.getByText('It fits.').waitFor();
    const shown = await page.locator('.facts > div').filter({ hasText: 'memory needed' }).locator('dd').textContent();
    assert.match(shown, /with importance matrix and measuring/);
    assert.ok(Math.abs(parseFloat(shown) - plain.memory_bytes / 1e6) < 1, `${shown} is what the server says: ${plain.memory_bytes}`);
    await page.route('**/quantize/estimate', (r) => r.fulfill(json({ ...plain, fits: false, reasons: ['the job needs 2.9 GB of memory with measuring, 1.0 GB are free'] })));
    await page.reload();
    await page.getByText('It does not fit.').waitFor();
    await page.getByText('2.9 GB of memory with measuring').waitFor();
    await summary(page).getByText('does not fit').waitFor();
    await done(page);
});

rmSync(examples, { recursive: true, force: true });
await finish();
