// The levels of models that answer: what is set, the switch, memory and speed as they are.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { accessible, done, files, finish, fits, heading, open, service, test } from './browser.mjs';
import { Service } from './service.mjs';

const made = await service.wait((await service.submit({ name: 'eight bits', source_model: join(files, 'story'), gguf_quant_types: ['Q8_0'] })).id);
assert.equal(made.status, 'completed', made.error);
const ask = async (model, n = 24) => {
    const r = await fetch(`${service.url}/v1/completions`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ model, prompt: 'Once', max_tokens: n }) });
    assert.equal(r.status, 200, await r.clone().text());
    return (await r.json()).model;
};
const group = (page) => page.getByRole('group', { name: 'Level of story' });
async function pressed(page) {
    await group(page).waitFor();
    return group(page).locator('[aria-pressed=true]').allTextContents();
}

await test('a switch to a level that is there, and to one that is made', async () => {
    const page = await open('levels');
    await heading(page, 'Levels');
    assert.deepEqual(await pressed(page), ['as for all']);
    await group(page).getByRole('button', { name: '8 bits' }).click();
    await page.getByRole('row', { name: /^story:q8_0.*answers/ }).getByText(/^loaded$/).waitFor();
    assert.deepEqual(await pressed(page), ['8 bits']);
    assert.equal(await ask('story'), 'story:q8_0', 'it answers now');
    await page.getByText(/^1 loaded, [\d.]+ MB of/).waitFor();
    await group(page).getByRole('button', { name: '4 bits, is made' }).click();
    await page.getByRole('row', { name: /^story:q4_K_M.*answers/ }).getByText(/^loaded$/).waitFor();
    assert.deepEqual(await pressed(page), ['4 bits']);
    await page.locator('.unseen[aria-live]', { hasText: 'story: switched to 4 bits' }).waitFor({ state: 'attached' });
    assert.equal(await ask('story'), 'story:q4_K_M');
    await done(page);
});

await test('speed and memory come by themselves, in the table and as a plot', async () => {
    for (const model of ['story:q8_0', 'story:q4_K_M']) await ask(model);
    const page = await open('levels');
    await page.getByRole('group', { name: /tokens a second of \d levels against their memory/ }).waitFor();
    const row = page.getByRole('row', { name: /^story:q8_0/ }), calls = row.getByRole('cell').nth(5);
    const before = Number(await calls.textContent());
    assert.match((await row.getByRole('cell').allTextContents()).join('|'), /8 bits.*\|loaded\|[\d.]+ MBat most [\d.]+ MB\|[\d.]+\|\d+\|100 %\|\d/);
    await ask('story:q8_0');
    await page.waitForFunction((was) => [...document.querySelectorAll('.levels tr')].some((r) => r.textContent.startsWith('story:q8_0') && Number(r.cells[6].textContent) === was + 1), before);
    await row.getByRole('link', { name: 'Try story:q8_0' }).click();
    await heading(page, 'Try');
    assert.match(await page.getByRole('combobox', { name: 'Model', exact: true }).locator('option:checked').textContent(), /^story:q8_0,/);
    await done(page);
});

await test('the level of all, the memory of all, and what is refused', async () => {
    const page = await open('levels');
    await group(page).getByRole('button', { name: 'as for all' }).click();
    await page.getByRole('combobox', { name: 'All models' }).selectOption({ label: '8 bits' });
    await page.waitForFunction(() => [...document.querySelectorAll('.levels tr.on')].some((r) => r.textContent.startsWith('story:q8_0')));
    await page.getByLabel('Memory for all, MiB').fill('300');
    await page.getByRole('button', { name: 'Set' }).click();
    await page.getByText(/of 315 MB$/).first().waitFor();
    await page.getByRole('button', { name: 'No limit' }).click();
    await page.getByRole('button', { name: 'Set', exact: true }).waitFor();
    const set = page.waitForResponse((r) => r.request().method() === 'PATCH' && r.url().endsWith('/runtime/levels'));
    await page.getByRole('combobox', { name: 'All models' }).selectOption({ label: 'as they are named' });
    assert.equal((await set).status(), 200);
    assert.equal((await service.api('GET', '/runtime/levels')).settings.quantization_bits, null);
    await page.getByRole('group', { name: 'Level of broken' }).getByRole('button', { name: /^4 bits/ }).click();
    await page.getByText(/^could not switch to 4 bits: .+/).waitFor();
    await done(page);
    const empty = await new Service([join(files, 'empty')]).start(), nothing = await open('levels', {}, empty.url);
    await nothing.getByText('There is no model that can answer yet.').waitFor();
    nothing.expected = /Failed to load resource|ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED/;
    await empty.close();
    await done(nothing);
});

await test('levels are compared by prompts, in a table and as a plot', async () => {
    const page = await open('levels');
    await page.getByText('Compare levels by prompts of yours').click();
    const button = page.getByRole('button', { name: 'Compare levels' });
    assert.equal(await button.isDisabled(), true, 'without a prompt');
    await page.getByLabel('Model to compare').selectOption('story');
    await page.getByLabel('Prompts, one a line').fill('Once upon a time\nThe little girl');
    await button.click();
    const table = page.getByRole('region', { name: 'Comparison of story' });
    await table.getByText('story: 2 prompts, up to 64 tokens each', { exact: false }).waitFor();
    assert.match(await table.getByRole('row', { name: /^8 bits/ }).textContent(), /story:q8_0.*MB.*\d %/);
    await page.getByRole('group', { name: /likeliest tokens kept against tokens a second, of \d levels/ }).waitFor();
    await accessible(page, 'a comparison of levels');
    await done(page);
});

await test('adjusting is switched on, tells what it sees, and is off again', async () => {
    const page = await open('levels');
    const choice = page.getByLabel('Step down when memory or heat runs short');
    await choice.selectOption({ label: 'only tell' });
    await page.getByRole('region', { name: 'Adjusting' }).getByText(/^\d+ % \(/).first().waitFor();
    await page.getByRole('region', { name: 'Adjusting' }).getByText(/Nothing was decided yet|why/).first().waitFor();
    const now = await service.api('GET', '/runtime/adjust');
    assert.deepEqual([now.settings.enabled, now.settings.dry_run], [true, true]);
    await accessible(page, 'adjusting');
    await choice.selectOption({ label: 'no' });
    await page.waitForFunction(() => !document.querySelector('.levels-adjust dl'));
    assert.equal((await service.api('GET', '/runtime/adjust')).settings.enabled, false);
    await done(page);
});

await test('by keyboard, at three sizes, light and dark: it fits, and no serious finding of accessibility', async () => {
    for (const colorScheme of ['light', 'dark']) {
        const page = await open('levels', { colorScheme, reducedMotion: 'reduce' });
        await page.getByRole('row', { name: /^story:q8_0/ }).waitFor();
        for (const width of [390, 1024, 1440]) {
            await page.setViewportSize({ width, height: 860 });
            await fits(page, `levels at ${width} px`);
            await accessible(page, `levels at ${width} px, ${colorScheme}`);
        }
        const button = group(page).getByRole('button', { name: colorScheme === 'light' ? '8 bits' : '4 bits' });
        await button.focus();
        await page.keyboard.press('Enter');
        await page.waitForFunction((e) => e.getAttribute('aria-pressed') === 'true', await button.elementHandle());
        assert.equal(await button.evaluate((e) => document.activeElement === e && getComputedStyle(e).outlineStyle !== 'none'), true, 'the focus stays on it');
        await done(page);
    }
});

await finish();
