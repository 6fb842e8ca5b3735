// What a person does on the page, done by a browser: one line for each case, exit status 1 when one fails.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { execFileSync } from 'node:child_process';
import { accessible, done, files, finish, fits, heading, hostile, open, service, test } from './browser.mjs';
import { Service, program } from './service.mjs';

// The model of the wizard's first step, in the local browser.
async function chooseModel(page, name) {
    await heading(page, 'Which model?');
    await page.getByRole('button', { name: files }).click();
    await page.getByRole('radio', { name: new RegExp(`^${name}`) }).check();
    await page.getByRole('button', { name: 'Next' }).click();
    await heading(page, 'Which types?');
}

await test('a first visit says what to do', async () => {
    const page = await open();
    await page.getByText('Nothing has been made here yet.').waitFor();
    await page.getByRole('link', { name: 'Quantize a model' }).click();
    await heading(page, 'Which model?');
    assert.equal(await page.getByRole('button', { name: 'Next' }).isDisabled(), true);
    await done(page);
});

let story;
await test('the wizard from end to end, and the download has the hash that is shown', async () => {
    const page = await open('jobs');
    await page.getByRole('link', { name: 'New job' }).click();
    await chooseModel(page, 'story');
    const row = page.getByRole('row', { name: /^Q8_0/ });
    await row.getByText('8.78 MB').waitFor(); // of this model, to the byte
    await page.getByRole('button', { name: /^Balanced/ }).click();
    for (const type of ['Q4_K_M', 'Q5_K_M']) assert.equal(await page.getByRole('checkbox', { name: type, exact: true }).isChecked(), true);
    await page.getByRole('checkbox', { name: 'Q2_K', exact: true }).check();
    await page.getByRole('button', { name: /^All \d+ types/ }).click();
    await page.getByRole('checkbox', { name: 'IQ2_XS', exact: true }).check();
    assert.equal(await page.getByRole('checkbox', { name: /importance/ }).isChecked(), true, 'the type needs it');
    await page.getByRole('checkbox', { name: 'IQ2_XS', exact: true }).uncheck();
    await page.getByRole('checkbox', { name: /importance/ }).uncheck();
    await page.getByRole('button', { name: 'Next' }).click();
    await heading(page, 'Review');
    await page.getByText('It fits.').waitFor();
    await page.getByLabel('Name').fill('a story told smaller');
    await page.goBack();
    await heading(page, 'Which types?');
    assert.equal(await page.getByRole('checkbox', { name: 'Q2_K', exact: true }).isChecked(), true, 'going back forgets nothing');
    await page.goForward();
    assert.equal(await page.getByLabel('Name').inputValue(), 'a story told smaller');
    await page.getByRole('button', { name: 'Start' }).click();
    await heading(page, 'a story told smaller');
    await page.locator('.head').getByText('completed').waitFor();
    story = page.url().split('/').pop();
    const link = page.getByRole('link', { name: 'story-Q4_K_M.gguf', exact: true });
    const [download] = await Promise.all([page.waitForEvent('download'), link.click()]);
    const hash = createHash('sha256').update(readFileSync(await download.path())).digest('hex');
    assert.equal(await page.getByRole('row', { name: /story-Q4_K_M/ }).locator('.copy code').textContent(), hash);
    await page.getByRole('button', { name: 'Copy command' }).click();
    assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^halftone quantize --type=Q2_K,Q4_K_M,Q5_K_M|^halftone quantize --type=Q5_K_M,Q4_K_M,Q2_K/);
    await page.getByText('Tensor by tensor (75)').click();
    await page.getByRole('row', { name: /blk\.0\.attn_k\.weight/ }).waitFor();
    await done(page);
});

await test('progress is live, and cancel stops', async () => {
    const page = await open('jobs');
    // enough to do for a fast machine not to be done before the press of a button
    const many = ['IQ1_S', 'IQ1_M', 'IQ2_XXS', 'IQ2_XS', 'IQ2_S', 'IQ3_XXS', 'IQ3_S', 'Q2_K', 'Q3_K_M', 'Q4_K_M', 'Q5_K_M', 'Q6_K', 'Q8_0', 'F16', 'F32'];
    const job = await service.submit({ name: 'slow one', source_model: join(files, 'story'), gguf_quant_types: many, config: { threads: 1, use_imatrix: true, measure: true } });
    const row = page.getByRole('listitem').filter({ hasText: 'slow one' });
    await row.waitFor(); // nobody reloaded
    await row.locator('.status.live').waitFor();
    const bar = row.locator('progress');
    const seen = new Set();
    for (let i = 0; i < 2400 && seen.size < 3; i++) { // a busy machine takes its time
        seen.add(await bar.getAttribute('value'));
        await page.waitForTimeout(50);
    }
    const values = [...seen].map(Number);
    assert.ok(values.length >= 3, `progress moved: ${values}`);
    assert.deepEqual([...values].sort((a, b) => a - b), values, 'and never back');
    await row.getByRole('button', { name: 'Cancel slow one' }).click();
    await row.getByText('cancelled').waitFor();
    assert.equal((await service.wait(job.id)).status, 'cancelled');
    await row.getByRole('button', { name: 'Retry slow one' }).click();
    await row.locator('.status.live').waitFor();
    await service.api('POST', `/quantize/jobs/${job.id}/cancel`);
    await service.wait(job.id);
    await done(page);
});

await test('search, filter, order', async () => {
    const page = await open('jobs');
    await page.getByRole('searchbox', { name: 'Search jobs' }).fill('story told');
    await page.getByText('1 job found').waitFor();
    await page.getByRole('combobox', { name: /^Status/ }).selectOption('failed');
    await page.getByText('No job matches.').waitFor();
    await page.getByRole('link', { name: 'Show all jobs' }).click();
    await page.getByText(/^\d+ jobs$/).waitFor();
    await done(page);
});

await test('a job that fails says why and what to do', async () => {
    const job = await service.submit({ name: hostile, source_model: join(files, 'broken'), gguf_quant_types: ['Q8_0'] });
    assert.equal((await service.wait(job.id)).status, 'failed');
    const page = await open(`jobs/${job.id}`);
    await page.getByRole('alert').getByText(/model\.safetensors/).waitFor();
    assert.equal(await page.getByRole('heading', { level: 1 }).textContent(), hostile, 'names are text');
    await page.getByRole('button', { name: 'Retry' }).waitFor();
    await page.getByRole('button', { name: 'Delete…' }).click();
    const dialog = page.getByRole('dialog', { name: 'Delete this job?' });
    await dialog.waitFor();
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'hidden' });
    await done(page);
    for (const width of [390, 820]) {
        const narrow = await open('jobs', { viewport: { width, height: 800 } });
        await narrow.getByText('onerror').first().waitFor();
        assert.ok(await narrow.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `a long name fits ${width} px`);
        await done(narrow);
    }
});

await test('what the server refuses is shown where it belongs', async () => {
    const page = await open('jobs/0123456789abcdef0123456789abcdef');
    await page.getByRole('alert').waitFor();
    await page.goto(`${service.url}/#/nowhere`);
    await page.getByText('There is no such page.').waitFor();
    await page.route('**/quantize/jobs', (r) => r.request().method() === 'POST'
        ? r.fulfill({ status: 422, contentType: 'application/problem+json', body: JSON.stringify({ type: '/x', title: 'The request is not valid', status: 422, detail: 'd', errors: [{ pointer: '/name', detail: 'this name is taken' }] }) }) : r.continue());
    await page.goto(`${service.url}/#/new/1`);
    await chooseModel(page, 'story');
    await page.getByRole('button', { name: 'Next' }).click();
    await page.getByRole('button', { name: 'Start' }).click();
    await page.locator('#bad-name').getByText('this name is taken').waitFor();
    await done(page);
});

await test('a GGUF file sent from here becomes a model', async () => {
    const gguf = join(files, 'sent.gguf');
    execFileSync(program, ['convert', join(files, 'story'), '-t', 'BF16', '-o', gguf, '--quiet']);
    const page = await open('new/1');
    await page.getByRole('radio', { name: 'Upload a file' }).check();
    await page.getByLabel('Choose a GGUF file').setInputFiles(gguf);
    await page.getByRole('radio', { name: /^sent\.gguf/ }).waitFor();
    assert.equal(await page.getByRole('radio', { name: /^sent\.gguf/ }).isChecked(), true);
    await page.getByRole('button', { name: 'Next' }).click();
    await page.getByRole('button', { name: 'Next' }).click();
    await page.getByRole('button', { name: 'Start' }).click();
    await page.locator('.head').getByText('completed').waitFor();
    await done(page);
});

await test('the registry: tags, comparing, deleting', async () => {
    const page = await open('models');
    await page.getByRole('link', { name: 'story', exact: true }).click();
    await heading(page, 'story');
    await page.getByLabel('New tag').fill('bedtime');
    await page.keyboard.press('Enter');
    await page.getByRole('button', { name: 'Remove tag bedtime' }).waitFor();
    await page.getByRole('group', { name: /^error of the weights of 3 files/ }).waitFor();
    assert.equal(await page.getByRole('combobox', { name: 'Plot' }).locator('option').count(), 1, 'what was not measured is not offered');
    await page.goto(`${service.url}/#/models`);
    await page.getByRole('button', { name: 'bedtime' }).click();
    await page.getByText(/^1 model( found)?$/).waitFor();
    await page.getByRole('button', { name: /^tag: bedtime/ }).click();
    for (const name of ['story', 'sent.gguf']) await page.getByRole('checkbox', { name: `Compare ${name}` }).check();
    await page.getByRole('link', { name: 'Compare 2' }).click();
    await heading(page, 'Compare');
    await page.getByRole('row').nth(1 + 3).waitFor();
    assert.equal(await page.getByRole('row').count(), 1 + 3 + 1);
    await page.getByRole('link', { name: 'sent.gguf', exact: true }).first().click();
    await heading(page, 'sent.gguf');
    await page.getByRole('button', { name: 'Delete…' }).click();
    const dialog = page.getByRole('dialog', { name: 'Delete this model?' });
    await dialog.getByRole('button', { name: 'Cancel' }).click();
    await page.getByRole('button', { name: 'Delete…' }).click();
    await dialog.getByRole('button', { name: 'Delete' }).click();
    await heading(page, 'Models');
    await page.getByText(/^1 model( found)?$/).waitFor();
    await done(page);
});

await test('the machine', async () => {
    const page = await open('system');
    await page.getByText(files).waitFor();
    await page.getByRole('heading', { name: 'Workers' }).waitFor();
    await done(page);
});

await test('by keyboard alone, with a visible focus', async () => {
    const page = await open('jobs');
    await heading(page, 'Jobs');
    const press = async (key, times = 1) => {
        for (let i = 0; i < times; i++) await page.keyboard.press(key);
    };
    const focused = () => page.evaluate(() => {
        const e = document.activeElement, s = getComputedStyle(e);
        return { text: e.getAttribute('aria-label') ?? e.textContent ?? '', tag: e.tagName, type: e.type, name: e.name, ring: s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2 };
    });
    const reach = async (what, good) => {
        for (let i = 0; i < 80; i++) {
            const f = await focused();
            if (good(f)) {
                assert.ok(f.ring, `${what} shows that it has the focus`);
                return;
            }
            await press('Tab');
        }
        throw new Error(`${what} is not reached by Tab`);
    };
    await page.evaluate(() => document.activeElement?.blur());
    await reach('the skip link', (f) => f.text === 'Skip to content');
    await press('Enter');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'main');
    await reach('New job', (f) => f.text === 'New job');
    await press('Enter');
    await heading(page, 'Which model?');
    assert.equal((await focused()).text, 'Which model?', 'the heading has the focus: a screen reader says where we are');
    await reach('the folder', (f) => f.tag === 'BUTTON' && f.text.includes(files));
    await press('Enter');
    await page.getByRole('radio', { name: /^story/ }).waitFor();
    await reach('the models', (f) => f.type === 'radio' && f.name === 'model');
    await press('Space');
    for (let i = 0; i < 5 && !(await page.getByRole('radio', { name: /^story/ }).isChecked()); i++) await press('ArrowDown');
    assert.ok(await page.getByRole('radio', { name: /^story/ }).isChecked());
    for (const [here, next] of [['Next', 'Which types?'], ['Next', 'Review']]) {
        await reach(here, (f) => f.tag === 'BUTTON' && f.text === here);
        await press('Enter');
        await heading(page, next);
    }
    await page.getByText('It fits.').waitFor();
    await reach('Start', (f) => f.text === 'Start');
    await press('Enter');
    await heading(page, 'story');
    await page.locator('.head').getByText('completed').waitFor();
    await reach('Delete', (f) => f.text === 'Delete…');
    await press('Enter');
    const dialog = page.getByRole('dialog', { name: 'Delete this job?' });
    await dialog.waitFor();
    assert.ok(await page.evaluate(() => document.querySelector('dialog').contains(document.activeElement)), 'the focus is in the dialog');
    await press('Escape');
    await dialog.waitFor({ state: 'hidden' });
    assert.equal((await focused()).text, 'Delete…', 'and comes back');
    await done(page);
});

const views = ['jobs', `jobs/${story}`, 'new/1', 'models', 'system', 'compare'];
await test('three sizes of screen, no scrolling sideways', async () => {
    for (const width of [390, 820, 1400]) {
        const page = await open('jobs', { viewport: { width, height: 900 } });
        for (const view of views) {
            await page.goto(`${service.url}/#/${view}`);
            await page.getByRole('heading', { level: 1 }).waitFor();
            await page.waitForTimeout(150);
            await fits(page, `${view} at ${width} px`);
        }
        await done(page);
    }
});

await test('no serious finding of accessibility, dark or light', async () => {
    for (const colorScheme of ['light', 'dark']) {
        const page = await open('jobs', { colorScheme, reducedMotion: 'reduce' });
        const check = (view) => accessible(page, `${view} ${colorScheme}`);
        for (const view of views) {
            await page.goto(`${service.url}/#/${view}`);
            await page.getByRole('heading', { level: 1 }).waitFor();
            await page.waitForTimeout(250);
            await check(view);
        }
        await page.goto(`${service.url}/#/new/1`);
        await chooseModel(page, 'story');
        await page.getByRole('row', { name: /^Q8_0/ }).getByText('8.78 MB').waitFor();
        await check('new/2');
        await page.getByRole('button', { name: 'Next' }).click();
        await page.getByText('It fits.').waitFor();
        await check('new/3');
        await done(page);
    }
});

await test('the switch of themes is kept', async () => {
    const page = await open('jobs', { colorScheme: 'light' });
    const paper = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
    const light = await paper(), button = page.locator('.theme');
    await button.click(); // as the system, light, dark
    await page.getByRole('button', { name: /Colours: light/ }).click();
    await page.getByRole('button', { name: /Colours: dark/ }).waitFor();
    await page.waitForFunction((was) => getComputedStyle(document.documentElement).backgroundColor !== was, light);
    const dark = await paper();
    await page.reload();
    await heading(page, 'Jobs');
    assert.equal(await paper(), dark);
    await done(page);
});

await test('a server that goes away and comes back', async () => {
    const page = await open('jobs');
    await heading(page, 'Jobs');
    page.expected = /Failed to load resource|ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED/;
    await page.getByText('a story told smaller').first().waitFor();
    await service.stop();
    await page.getByText('Connection lost, trying again').waitFor();
    await service.start();
    await page.getByText('Connection lost, trying again').waitFor({ state: 'hidden' });
    await service.submit({ name: 'after the storm', source_model: join(files, 'story'), gguf_quant_types: ['Q8_0'] });
    await page.getByText('after the storm').waitFor();
    await done(page);
});

await test('a token, wrong and right', async () => {
    const closed = new Service([files], ['--host', '0.0.0.0', '--allow-host', '127.0.0.1']);
    const said = execFileSync(program, ['serve', '--data', closed.data, '--new-token', 'web', '--scope', 'admin'], { encoding: 'utf8' });
    const token = said.match(/[A-Za-z0-9_-]{32,}/)[0];
    await closed.start();
    try {
        const page = await open('jobs', {}, closed.url);
        await page.getByLabel('Token').fill('wrong');
        await page.keyboard.press('Enter');
        await page.getByRole('alert').waitFor();
        await page.getByLabel('Token').fill(token);
        await page.keyboard.press('Enter');
        await page.getByText('Nothing has been made here yet.').waitFor();
        await page.reload();
        await page.getByText('Nothing has been made here yet.').waitFor();
        assert.equal(await page.evaluate(() => document.cookie), '', 'scripts do not see the cookie');
        await done(page);
    } finally {
        await closed.close();
    }
});

await finish();
