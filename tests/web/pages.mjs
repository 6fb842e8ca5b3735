// Job, registry, comparison and report: what they tell, at three sizes of screen.
import assert from 'node:assert/strict';
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { accessible, browser, done, files, finish, fits, heading, open, service, test } from './browser.mjs';
import { root } from './service.mjs';

const sizes = [390, 1024, 1440];
cpSync(join(root, 'examples/model'), join(files, 'talk'), { recursive: true });
const quick = { chunks: 1, ctx: 64 };
const submit = async (body) => service.wait((await service.submit(body)).id);
const ladder = await submit({ name: 'the ladder', source_model: join(files, 'story'), gguf_quant_types: ['Q2_K', 'Q3_K_M', 'Q4_K_M', 'Q4_K_S', 'IQ4_XS', 'Q5_K_M', 'Q8_0'], config: { measure: true }, options: quick });
const again = await submit({ name: 'the same again', source_model: join(files, 'story'), gguf_quant_types: ['Q4_K_M'] });
const talk = await submit({ name: 'with importance', source_model: join(files, 'talk'), gguf_quant_types: ['Q4_K_M', 'IQ3_XXS'], config: { measure: true, use_imatrix: true }, options: quick });
const broken = await submit({ name: 'broken', source_model: join(files, 'broken'), gguf_quant_types: ['Q8_0'] });
assert.deepEqual([ladder.status, again.status, talk.status, broken.status], ['completed', 'completed', 'completed', 'failed']);
const slow = await service.submit({ name: 'stopped', source_model: join(files, 'story'), gguf_quant_types: ['Q2_K', 'Q3_K_M', 'Q4_K_M', 'Q5_K_M', 'Q6_K', 'Q8_0', 'BF16'], config: { threads: 1, measure: true } });
await service.wait(slow.id, (job) => job.status === 'measuring');
await service.api('POST', `/quantize/jobs/${slow.id}/cancel`);
const stopped = await service.wait(slow.id);
const compared = `compare?models=${ladder.model_id},${talk.model_id}`;

const steps = (page) => page.getByRole('list', { name: 'Steps' }).getByRole('listitem').evaluateAll((items) => items.map((i) => [i.className, i.textContent]));
const boxes = (locator) => locator.evaluateAll((all) => all.map((e) => {
    const { x, y, width, height } = e.getBoundingClientRect();
    return { text: e.textContent, x, y, width, height };
}));
const overlap = (a, b) => a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;

// What the service says of a job whose first output is a folder.
const folderFiles = (url) => ['config.json', 'model.safetensors'].map((name, i) => ({ name, size: [500, 4_000_000][i], sha256: String(i).repeat(64), url: `${url}/files/${name}` }));
const asFolder = (o) => ({ ...o, name: 'story-nf4', format: 'safetensors', quant_type: 'nf4:block=128', sha256: null, files: folderFiles(o.url) });

await test('an output that is a folder: one download, each file alone, and how to use it', async () => {
    const page = await open('jobs');
    await page.route(`**/quantize/jobs/${again.id}`, (r) => r.fulfill({ json: { ...again, requested: [{ format: 'safetensors', type: 'nf4', options: { block: 128 }, quant_type: 'nf4:block=128' }], outputs: again.outputs.map(asFolder) } }));
    await page.goto(`${service.url}/#/jobs/${again.id}`);
    await heading(page, 'the same again');
    const result = page.getByRole('region', { name: 'Result' }), url = again.outputs[0].url;
    assert.equal(await result.getByRole('link', { name: /^Download .* as tar$/ }).getAttribute('href'), url);
    await page.getByRole('definition').getByText('nf4:block=128').waitFor();
    for (const place of [result, page.getByRole('region', { name: 'Files' })]) {
        await place.getByText('2 files').click();
        const link = place.getByRole('link', { name: 'model.safetensors' });
        assert.equal(await link.getAttribute('href'), `${url}/files/model.safetensors`);
        assert.notEqual(await link.getAttribute('download'), null);
    }
    await result.getByText('Loaded by transformers').waitFor();
    await accessible(page, 'a job that made a folder');
    await result.getByRole('button', { name: 'Copy lines for transformers' }).click();
    assert.match(await page.evaluate(() => navigator.clipboard.readText()), /^tar -xf story-nf4\.tar\npython3 -c 'from transformers import pipeline; .*"story-nf4"/);
    assert.equal(await page.getByText('llama-cli').count(), 0, 'llama.cpp does not load it');
    for (const width of sizes) {
        await page.setViewportSize({ width, height: 860 });
        await fits(page, `a job that made a folder at ${width} px`);
    }
    await page.route(`**/api/v1/models/${again.model_id}`, async (r) => {
        const model = await (await r.fetch()).json();
        await r.fulfill({ json: { ...model, variants: model.variants.map((v) => (v.job_id === again.id ? asFolder(v) : v)) } });
    });
    await page.goto(`${service.url}/#/models/${again.model_id}`);
    await heading(page, 'story');
    const kept = page.getByRole('row', { name: /story-nf4/ });
    await kept.getByText('2 files').click();
    assert.match(await kept.getByRole('link', { name: 'config.json' }).getAttribute('href'), /\/files\/config\.json$/);
    await done(page);
});

await test('a file and a folder of one job: each against the source once, with its own tensors', async () => {
    const both = await submit({ name: 'a file and a folder', source_model: join(files, 'story'), outputs: [{ type: 'Q5_0' }, { type: 'gptq', options: { bits: 3 } }] });
    assert.equal(both.status, 'completed', both.error);
    const page = await open(`jobs/${both.id}`), result = page.getByRole('region', { name: 'Result' });
    const smaller = Object.fromEntries(both.outputs.map((o) => [o.quant_type, Math.round(100 * (1 - o.file_size / 16.27e6))]));
    for (const type of ['Q5_0', 'gptq:bits=3']) {
        await result.getByRole('button', { name: type, exact: true }).click();
        await result.getByRole('heading', { name: `${type}: ${smaller[type]} % smaller` }).waitFor();
        await page.getByLabel(/^Error of each tensor in/).selectOption(type);
    }
    const table = page.locator('details.tensors');
    await table.locator('summary').click();
    await table.getByText('model.layers.0.self_attn.q_proj.weight').waitFor();
    const link = await result.getByRole('link', { name: /as tar$/ }).getAttribute('href');
    const answer = await fetch(service.url + link);
    assert.deepEqual([answer.status, answer.headers.get('content-type')], [200, 'application/x-tar']);
    assert.equal((await answer.arrayBuffer()).byteLength, Number(answer.headers.get('content-length')));
    await done(page);
});

await test('a failed or cancelled job keeps the steps that were done, and shows where it ended', async () => {
    const page = await open(`jobs/${broken.id}`);
    await heading(page, 'broken');
    assert.deepEqual((await steps(page)).map(([state]) => state), ['past', 'failed', 'later', 'later', 'later']);
    assert.match((await steps(page))[1][1], /preparing.*failed here/);
    await page.goto(`${service.url}/#/jobs/${stopped.id}`);
    await heading(page, 'stopped');
    const states = await steps(page), at = states.findIndex(([, text]) => text.includes(stopped.ended_in));
    assert.ok(at >= 2, stopped.ended_in);
    states.forEach(([state], i) => assert.equal(state, i < at ? 'past' : i === at ? 'cancelled' : 'later'));
    await done(page);
});

await test('a completed job leads on: headline, download, lines to run it, registry, report', async () => {
    const page = await open(`jobs/${ladder.id}`);
    const result = page.getByRole('region', { name: 'Result' });
    const top = (type) => ladder.outputs.find((o) => o.quant_type === type).top1_agreement;
    await result.getByRole('button', { name: 'Q4_K_M', exact: true }).click();
    await result.getByRole('heading', { name: /^Q4_K_M: 68 % smaller, same top token [\d.]+ %$/ }).waitFor();
    assert.ok((await result.getByRole('heading', { level: 2 }).textContent()).includes(`${(100 * top('Q4_K_M')).toFixed(top('Q4_K_M') > 0.985 ? 1 : 0)} %`), 'the share is the measured one');
    assert.equal(await result.getByRole('link', { name: 'Download 5.21 MB' }).getAttribute('href'), ladder.outputs.find((o) => o.quant_type === 'Q4_K_M').url);
    const copied = async (label) => {
        await result.getByRole('button', { name: `Copy ${label}` }).click();
        return page.evaluate(() => navigator.clipboard.readText());
    };
    assert.match(await copied('lines for llama.cpp'), /^llama-cli -m story-Q4_K_M\.gguf -p .*\nllama-server -m story-Q4_K_M\.gguf/);
    assert.match(await copied('lines for Ollama'), /^echo 'FROM \.\/story-Q4_K_M\.gguf' > Modelfile\nollama create story-q4_k_m -f Modelfile\nollama run story-q4_k_m /);
    const report = await result.getByRole('link', { name: 'Quality report' }).getAttribute('href');
    await result.getByRole('link', { name: 'In the registry' }).click();
    await heading(page, 'story');
    for (const width of sizes) {
        await page.setViewportSize({ width, height: 900 });
        await page.goto(service.url + report);
        await page.getByRole('heading', { name: 'What quantizing lost' }).waitFor();
        await fits(page, `the report at ${width} px`);
        const [shown, whole] = await page.locator('.scroll').first().evaluate((e) => [e.clientWidth, e.scrollWidth]);
        if (width === 1440) assert.ok(whole <= shown, `the report's table is not clipped: ${whole} of ${shown} px`);
    }
    await done(page);
});

await test('figures with their errors, what was measured, and the reference', async () => {
    const page = await open(`jobs/${ladder.id}`);
    const table = page.getByRole('region', { name: 'Files' });
    const row = table.getByRole('row', { name: /^story-Q8_0/ });
    await row.getByText(/virtually lossless|very small loss/).waitFor();
    await row.getByText(/±/).first().waitFor(); // they come with the registry's answer
    const cells = await row.getByRole('cell').allTextContents();
    assert.equal(cells.filter((c) => c.includes(' ± ')).length >= 2, true, cells.join(' | '));
    assert.match(cells[5], / ± /, 'perplexity has its error');
    const names = await table.getByRole('columnheader').allTextContents();
    assert.ok(names.indexOf('KL divergence') < names.indexOf('perplexity'), 'divergence leads');
    const reference = table.getByRole('row', { name: /^story reference/ });
    assert.match(await reference.textContent(), /BF16.*16\.3 MB.* ± /);
    await page.getByText(/Measured on 31 tokens of the text that Halftone brings \(1 chunk of 64/).waitFor();
    await done(page);
});

await test('the map of tensors: labels, legend, colour, pointer and keyboard', async () => {
    for (const width of sizes) {
        const page = await open(`jobs/${ladder.id}`, { viewport: { width, height: 900 } });
        const map = page.locator('.map-field');
        await map.scrollIntoViewIfNeeded();
        await page.getByRole('list', { name: 'Legend' }).getByText('relative error').waitFor();
        const [field, main] = [await map.boundingBox(), await page.locator('main').evaluate((e) => e.clientWidth - 2 * parseFloat(getComputedStyle(e).paddingLeft))];
        assert.ok(Math.abs(field.width - main) < 2, `full width: ${field.width} of ${main}`);
        for (const role of ['ffn_down', 'attn_v', 'token_embd', 'output']) await page.locator('.map-role', { hasText: role }).first().waitFor();
        assert.equal(await page.locator('.map-layer').count() > 1, true, 'layers are numbered');
        const told = page.locator('.map-told');
        await page.keyboard.press('Tab');
        await map.focus();
        await told.getByText('token_embd.weight').waitFor();
        await page.keyboard.press('ArrowDown');
        await told.getByText('blk.0.ffn_down.weight').waitFor();
        await page.keyboard.press('ArrowRight');
        await told.getByText('blk.1.ffn_down.weight').waitFor();
        assert.match(await told.textContent(), /BF16.*Q4_K_M: Q[456]_K, error 0\.0\d+/);
        const v = await page.locator('.map-role', { hasText: 'attn_v' }).boundingBox();
        await page.mouse.move(field.x + field.width - 8, v.y + v.height / 2);
        await told.getByText('blk.7.attn_v.weight').waitFor();
        const colours = () => page.locator('.map canvas').evaluate((c) => c.toDataURL());
        const before = await colours();
        await page.getByRole('combobox', { name: /^Error of each tensor/ }).selectOption('Q2_K');
        await page.waitForFunction((was) => document.querySelector('.map canvas').toDataURL() !== was, before);
        await done(page);
    }
});

await test('a budget: size against loss, and the file of a point; the error by layer and role as the codes were chosen', async () => {
    const config = { bpw: 4.5, effort: 'best', calibration_dataset: 'default', calibration_samples: 40, calibration_length: 64, budget_time: '1s' };
    const best = await submit({ name: 'by a budget', source_model: join(files, 'story'), config });
    assert.equal(best.status, 'completed', best.error);
    const page = await open(`jobs/${best.id}`), curve = page.locator('.budget-curve');
    await curve.getByRole('heading', { name: 'What a budget buys' }).waitFor();
    assert.ok(await curve.locator('.point').count() > 10, 'points of the curve');
    await curve.getByRole('button', { name: /^this file: .* as measured$/ }).waitFor();
    const choices = await curve.getByRole('combobox', { name: /^Size/ }).locator('option').count();
    await curve.locator('.point').nth(3).click();
    const at = Number(await curve.getByRole('combobox', { name: /^Size/ }).inputValue());
    assert.ok(at > 0 && at < choices, 'a click picks a point');
    const told = await curve.getByRole('combobox', { name: /^Size/ }).locator('option').nth(at).textContent();
    await page.getByRole('combobox', { name: /^Colour/ }).selectOption({ label: 'share of the error that is left' });
    await page.getByRole('list', { name: 'Legend' }).getByText('share of the error that is left').waitFor();
    const map = page.locator('.map-field');
    await map.focus();
    await page.keyboard.press('ArrowDown');
    assert.match(await page.locator('.map-told').textContent(), /held-out error [\d.e-]+, rounded [\d.e-]+ \(\d+ % left\)/);
    await accessible(page, 'a job by a budget');
    for (const width of sizes) {
        await page.setViewportSize({ width, height: 900 });
        await fits(page, `a job by a budget at ${width} px`);
    }
    await curve.getByRole('button', { name: 'Make this file' }).click();
    await heading(page, /^by a budget, /);
    const made = await service.wait(page.url().split('/').pop());
    assert.equal(made.status, 'completed', made.error);
    assert.deepEqual([made.config.effort, made.config.calibration_samples], ['best', 40]);
    const wanted = Number(/([\d.]+) bits a weight/.exec(told)[1]);
    assert.ok(Math.abs(made.outputs[0].bits_per_weight - wanted) < 0.1, `${made.outputs[0].bits_per_weight} of ${wanted}`);
    await done(page);
});

await test('plots: a logarithmic loss, the front, other axes, names that do not collide', async () => {
    for (const width of sizes) {
        const page = await open(compared, { viewport: { width, height: 900 } });
        await page.locator('.plot .point').first().waitFor();
        for (const [y, x] of [['kld', 'size'], ['top1', 'memory'], ['rmse', 'speed'], ['perplexity', 'size']]) {
            await page.getByRole('combobox', { name: 'Plot' }).first().selectOption(y);
            await page.getByRole('combobox', { name: 'against' }).selectOption(x);
            const names = await boxes(page.locator('.plot .name')), points = await boxes(page.locator('.plot .point circle:last-child'));
            assert.equal(points.length, 9);
            assert.ok(names.length >= (width < 500 ? 6 : 9), `${names.length} names at ${width} px`);
            for (const [i, a] of names.entries()) {
                for (const b of names.slice(i + 1)) assert.ok(!overlap(a, b), `${a.text} and ${b.text} at ${width} px, ${y} against ${x}`);
                for (const p of points) assert.ok(!overlap(a, p), `${a.text} covers a point at ${width} px`);
                assert.ok(a.x >= 0 && a.x + a.width <= width, `${a.text} is inside`);
            }
        }
        await page.getByRole('combobox', { name: 'Plot' }).first().selectOption('kld');
        const ticks = (await page.locator('.plot').first().locator('.axes text[text-anchor=end]').allTextContents()).map(Number);
        assert.ok(ticks.length >= 2 && ticks.every((t, i) => i === 0 || t / ticks[i - 1] >= 1.9), `a logarithmic scale: ${ticks}`);
        assert.ok(await page.locator('.plot .ring').count() >= 2, 'the front is marked');
        await page.locator('.plot .point').first().focus();
        await page.locator('figcaption', { hasText: 'KL divergence' }).waitFor();
        assert.equal(await page.locator('.plot.lines .plot-box .line').count(), 9, 'a line by layer for each file');
        await page.getByRole('combobox', { name: 'Plot' }).nth(1).selectOption('layer_error');
        await page.getByRole('img', { name: /relative error of the activations/ }).waitFor();
        await done(page);
    }
});

await test('the registry: equal files are one, with importance, date and jobs', async () => {
    const page = await open(`models/${ladder.model_id}`);
    const row = page.getByRole('row', { name: /^story-Q4_K_M/ });
    await row.waitFor();
    assert.equal(await row.count(), 1);
    for (const name of ['the ladder', 'the same again']) await row.getByRole('link', { name }).waitFor();
    await row.getByText('no importance').waitFor();
    assert.equal(await row.locator('time').count(), 2);
    await row.getByRole('button', { name: 'Delete story-Q4_K_M.gguf' }).click();
    await page.getByRole('dialog', { name: 'Delete this file?' }).getByText('This frees 10.4 MB in 2 files.').waitFor();
    await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click();
    await page.goto(`${service.url}/#/models/${talk.model_id}`);
    await page.getByText('importance: the built-in text').first().waitFor();
    await done(page);
});

const views = { jobs: 'jobs', 'a completed job': `jobs/${ladder.id}`, 'a failed job': `jobs/${broken.id}`, 'a cancelled job': `jobs/${stopped.id}`, models: 'models', 'a model': `models/${ladder.model_id}`, compare: compared, system: 'system' };
await test('three sizes of screen: nothing scrolls sideways, nothing is cut off', async () => {
    for (const width of sizes) {
        const page = await open('jobs', { viewport: { width, height: 900 } });
        for (const [name, view] of Object.entries(views)) {
            await page.goto(`${service.url}/#/${view}`);
            await page.getByRole('heading', { level: 1 }).waitFor();
            await page.locator('[aria-busy=true]').waitFor({ state: 'detached' });
            if (await page.locator('details:not([open])').count()) await page.locator('details:not([open]) summary').first().click();
            await page.waitForTimeout(200);
            await fits(page, `${name} at ${width} px`);
            const cut = await page.evaluate(() => [...document.querySelectorAll('main *')].filter((e) => {
                const r = e.getBoundingClientRect();
                return r.width > 1 && (r.right > innerWidth + 0.5 || r.left < -0.5) && !e.closest('.scroll, .log, .unseen');
            }).map((e) => e.outerHTML.slice(0, 100)));
            assert.deepEqual(cut, [], `${name} at ${width} px`);
        }
        await done(page);
    }
});

await test('no serious finding of accessibility in these views, light and dark', async () => {
    for (const colorScheme of ['light', 'dark']) {
        const page = await open('jobs', { colorScheme, reducedMotion: 'reduce' });
        for (const [name, view] of Object.entries(views)) {
            await page.goto(`${service.url}/#/${view}`);
            await page.getByRole('heading', { level: 1 }).waitFor();
            await page.waitForTimeout(250);
            await accessible(page, `${name}, ${colorScheme}`);
        }
        await done(page);
    }
});

await finish();
