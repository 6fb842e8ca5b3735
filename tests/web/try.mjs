// Conversations with models on the page: one model, two side by side, what goes wrong, keyboard and screen readers.
import assert from 'node:assert/strict';
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { accessible, done, files, finish, fits, heading, open, service, test } from './browser.mjs';
import { Service, root } from './service.mjs';

// Beside the story: a model that talks for long, one without a chat template.
const change = (path, f) => writeFileSync(path, JSON.stringify(f(JSON.parse(readFileSync(path)))));
for (const name of ['talker', 'base']) cpSync(join(root, 'examples/model'), join(files, name), { recursive: true });
change(join(files, 'talker/config.json'), (c) => ({ ...c, max_position_embeddings: 16384, eos_token_id: 4095 }));
change(join(files, 'talker/generation_config.json'), (c) => ({ ...c, eos_token_id: 4095 }));
rmSync(join(files, 'base/chat_template.jinja'));
const ladder = await service.wait((await service.submit({ name: 'the ladder', source_model: join(files, 'story'), gguf_quant_types: ['Q2_K', 'Q8_0'] })).id);
assert.equal(ladder.status, 'completed', ladder.error);
const { variants } = await service.api('GET', `/models/${ladder.model_id}`);
const variant = (type) => variants.find((v) => v.quant_type === type).id;

// What the page asks of models, request by request.
function watched(page) {
    const bodies = [];
    page.on('request', (r) => r.method() === 'POST' && new URL(r.url()).pathname.startsWith('/v1/') && bodies.push(r.postDataJSON()));
    return bodies;
}
const say = async (page, text) => {
    await page.getByRole('textbox', { name: 'Message' }).fill(text);
    await page.getByRole('button', { name: 'Send' }).click();
};
const answer = (page, name, n) => page.getByRole('article', { name: `${name}, answer ${n}` });
const ended = (article) => article.and(article.page().locator('[aria-busy=false]')).waitFor();
const text = async (article) => (await article.locator('.says').evaluate((e) => {
    const copy = e.cloneNode(true);
    copy.querySelectorAll('.unseen, .ends').forEach((x) => x.remove());
    return copy.textContent;
}));

await test('from a file of the registry to a conversation of two turns, with its settings', async () => {
    const page = await open(`models/${ladder.model_id}`), asked = watched(page);
    await page.getByRole('link', { name: 'Try story-Q8_0.gguf' }).click();
    await heading(page, 'Try');
    assert.match(await page.getByRole('combobox', { name: 'Model', exact: true }).locator('option:checked').textContent(), /^story:q8_0, 8\.78 MB/);
    await page.getByText('System prompt and sampling').click();
    await page.getByLabel('System prompt').last().fill('You are brief.');
    for (const [label, value] of [['Temperature', '0'], ['Most tokens', '12'], ['Seed', '7'], ['Top k', '40']]) await page.getByLabel(label, { exact: true }).fill(value);
    await page.getByLabel('Stop at').fill('zzz\nqqq');
    await say(page, 'Tell me about the sea.');
    const first = answer(page, 'story:q8_0', 1);
    await ended(first);
    await first.getByText(/12 tokens · the first after [\d.]+ s · prompt of \d+/).waitFor();
    assert.match(await first.locator('.figures').textContent(), /cut: the most tokens were reached · [\d.]+ tokens\/s/);
    const said = await text(first);
    assert.ok(said.trim().length > 10, said);
    assert.ok((await page.getByRole('status').allTextContents()).some((s) => s.includes(said.trim())), 'the whole answer is said aloud once');
    await say(page, 'And then?');
    await ended(answer(page, 'story:q8_0', 2));
    await answer(page, 'story:q8_0', 2).getByText(/of them known from before/).waitFor();
    const system = { role: 'system', content: 'You are brief.' }, user = (content) => ({ role: 'user', content });
    assert.deepEqual(asked.map((b) => b.messages), [[system, user('Tell me about the sea.')], [system, user('Tell me about the sea.'), { role: 'assistant', content: said }, user('And then?')]]);
    const { temperature, max_tokens, seed, top_k, stop } = asked[1];
    assert.deepEqual({ temperature, max_tokens, seed, top_k, stop }, { temperature: 0, max_tokens: 12, seed: 7, top_k: 40, stop: ['zzz', 'qqq'] });
    const straight = await fetch(`${service.url}/v1/chat/completions`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ ...asked[0], stream: false, stream_options: undefined }) });
    assert.equal((await straight.json()).choices[0].message.content, said, 'what is shown is what the model said');
    await page.getByRole('link', { name: 'Models' }).click();
    await page.getByRole('link', { name: 'Try story', exact: true }).click(); // the level that a model's name means
    assert.match(await page.getByRole('combobox', { name: 'Model', exact: true }).locator('option:checked').textContent(), /^story:q8_0/);
    await page.getByText('And then?').waitFor(); // going away forgets nothing
    await page.getByRole('button', { name: 'New conversation' }).click();
    assert.equal(await page.getByRole('listitem').filter({ hasText: 'And then?' }).count(), 0);
    await done(page);
});

await test('an answer streams and is stopped, by button and by key', async () => {
    const page = await open('try?model=talker');
    await page.getByText('System prompt and sampling').click();
    await page.getByLabel('Most tokens').fill('4000');
    await page.evaluate(() => { // no faster than a browser on a loaded machine shows it: the answer must not end before it is stopped
        const real = globalThis.fetch, pause = (ms) => new Promise((go) => setTimeout(go, ms)), PIECE = 500;
        globalThis.fetch = async (url, init) => {
            const r = await real(url, init);
            if (!String(url).startsWith('/v1/chat/')) return r;
            return new Response(r.body.pipeThrough(new TransformStream({
                async transform(chunk, to) {
                    for (let at = 0; at < chunk.length && !init.signal.aborted; at += PIECE, await pause(50)) to.enqueue(chunk.slice(at, at + PIECE));
                },
            })), r);
        };
    });
    for (const [n, stop] of [[1, () => page.getByRole('button', { name: 'Stop' }).click()], [2, () => page.keyboard.press('Escape')]]) {
        await say(page, 'Tell me all.');
        const a = answer(page, 'talker', n);
        const length = () => a.locator('.says').evaluate((e) => e.textContent.length);
        await page.waitForFunction((i) => { // it grows, and then grows again
            const now = document.querySelectorAll('.says')[i]?.textContent.length ?? 0;
            const seen = globalThis.seen ??= {};
            if (now > 20) seen[i] ??= now;
            return now > seen[i];
        }, n - 1);
        await stop();
        await a.getByText(/^stopped · /).waitFor();
        const at = await length();
        await page.waitForTimeout(100);
        assert.equal(await length(), at, 'nothing comes after it');
        assert.equal(await page.evaluate(() => document.activeElement.tagName), 'TEXTAREA', 'the focus is where the next message is written');
    }
    await done(page);
});

await test('two side by side: each with its speed, where they part, and the same', async () => {
    const page = await open(`models/${ladder.model_id}`), asked = watched(page);
    await page.getByRole('link', { name: 'Try largest beside smallest' }).click();
    assert.match(await page.getByRole('combobox', { name: 'Beside it' }).locator('option:checked').textContent(), /^story:q2_K/);
    await page.getByText('System prompt and sampling').click();
    await page.getByLabel('Most tokens').fill('24');
    await say(page, 'Tell me about the sea.');
    const [a, b] = [answer(page, 'story:q8_0', 1), answer(page, 'story:q2_K', 1)];
    await ended(b);
    const parting = page.locator('.parting');
    await parting.waitFor();
    assert.deepEqual(asked.map((r) => [r.temperature, r.seed === asked[0].seed]), [[0, true], [0, true]], 'chance hides nothing');
    for (const side of [a, b]) assert.match(await side.locator('.figures').textContent(), /[\d.]+ tokens\/s · \d+ tokens/);
    const words = [], texts = [await text(a), await text(b)];
    for (const side of [a, b]) words.push((await side.locator('mark').textContent()).replace(/^ \(here they part: |\) $/g, ''));
    assert.notEqual(words[0], words[1]);
    const at = texts[0].indexOf(words[0], [...texts[0]].findIndex((c, i) => c !== texts[1][i]) - words[0].length);
    assert.equal(texts[0].slice(0, at), texts[1].slice(0, at), 'until there they are the same');
    assert.match(await parting.textContent(), /^They part (at the first word|after \d+ words?): story:q8_0 goes on with “.+” \(gave it \d.* %, and “.+” .+\), story:q2_K goes on with “.+”/);
    assert.ok((await page.getByRole('status').allTextContents()).some((s) => s.startsWith('Both have answered. They part')), 'and it is said aloud');
    await accessible(page, 'two answers');
    await page.getByRole('combobox', { name: 'Beside it' }).selectOption(variant('Q8_0'));
    await page.getByRole('button', { name: 'New conversation' }).click();
    await say(page, 'And then?');
    await page.getByText('Both answers are the same, to the letter.', { exact: true }).waitFor();
    await page.getByRole('button', { name: 'One alone' }).click();
    assert.equal(await page.getByRole('combobox', { name: 'Beside it' }).count(), 0);
    await page.getByRole('button', { name: 'Two side by side' }).click();
    await page.getByLabel('Both at once').check();
    await say(page, 'Both of you.');
    await page.locator('.turn').nth(1).locator('.figures').nth(1).getByText('tokens/s').waitFor();
    await done(page);
});

await test('what goes wrong is told in words, with the way on', async () => {
    const page = await open('try?model=story');
    await say(page, 'word '.repeat(3000));
    await page.getByRole('alert').getByText('The conversation is longer than the model’s context').waitFor();
    await page.getByRole('alert').getByRole('button', { name: 'New conversation' }).click();
    await page.goto(`${service.url}/#/try?model=base`);
    await say(page, 'Once upon a time');
    await page.getByRole('alert').getByText(/no chat template/i).waitFor();
    await page.getByRole('button', { name: 'Continue the text instead of a chat' }).click();
    const made = page.getByRole('article', { name: 'base, text 1' });
    await ended(made);
    assert.ok((await text(made)).length > 20);
    await page.getByRole('textbox', { name: 'Text to continue' }).fill(' The end');
    await page.getByRole('button', { name: 'Continue' }).click();
    await ended(page.getByRole('article', { name: 'base, text 2' }));
    await page.goto(`${service.url}/#/try?model=nothing`);
    await page.getByRole('alert').getByText('This model is not there any more').waitFor();
    await done(page);
    const small = await new Service([files], ['--run-memory', '100M']).start(), tight = await open('try?model=story', {}, small.url);
    await say(tight, 'Hello.');
    await tight.getByRole('alert').getByText('The model does not fit into memory').waitFor();
    await tight.getByText(/needs about 0\.2 GB, more than the 0\.1 GB/).waitFor();
    tight.expected = /Failed to load resource|ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED/;
    await small.close();
    await tight.getByRole('button', { name: 'Ask again' }).click();
    await tight.getByRole('alert').getByText('The server does not answer').waitFor();
    await done(tight);
    const empty = await new Service([join(files, 'empty')]).start(), nothing = await open('try', {}, empty.url);
    await nothing.getByText('There is no model to try yet.').waitFor();
    nothing.expected = /Failed to load resource|ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED/;
    await empty.close();
    await done(nothing);
});

await test('by keyboard alone', async () => {
    const page = await open(`models/${ladder.model_id}`);
    await heading(page, 'story');
    const reach = async (what, good) => {
        for (let i = 0; i < 80; i++) {
            const [is, ring] = await page.evaluate((f) => {
                const e = document.activeElement, s = getComputedStyle(e);
                return [new Function('e', `return ${f}`)(e), s.outlineStyle !== 'none' && parseFloat(s.outlineWidth) >= 2];
            }, good).catch(() => [false, false]);
            if (is) return assert.ok(ring, `${what} shows that it has the focus`);
            await page.keyboard.press('Tab');
        }
        throw new Error(`${what} is not reached by Tab`);
    };
    await reach('the link', `e.getAttribute('aria-label') === 'Try story-Q2_K.gguf'`);
    await page.keyboard.press('Enter');
    await heading(page, 'Try');
    await reach('two side by side', `e.textContent === 'Two side by side'`);
    await page.keyboard.press('Enter');
    await reach('the message', `e.tagName === 'TEXTAREA'`);
    await page.keyboard.type('Two lines');
    await page.keyboard.press('Shift+Enter');
    await page.keyboard.type('of it');
    assert.equal(await page.getByRole('textbox', { name: 'Message' }).inputValue(), 'Two lines\nof it');
    await page.keyboard.press('Enter');
    await page.locator('.said', { hasText: 'Two lines' }).waitFor();
    await page.locator('.figures', { hasText: 'tokens/s' }).nth(1).waitFor();
    await done(page);
});

await test('three sizes of screen, light and dark: it fits, and no serious finding of accessibility', async () => {
    for (const colorScheme of ['light', 'dark']) {
        const page = await open(`try?model=${variant('Q8_0')}&beside=${variant('Q2_K')}`, { colorScheme, reducedMotion: 'reduce' });
        await accessible(page, `try before a question, ${colorScheme}`);
        await page.getByText('System prompt and sampling').click();
        await say(page, `Tell me. ${'long'.repeat(60)}`);
        await page.locator('.parting').waitFor();
        await ended(answer(page, 'story:q2_K', 1));
        await say(page, 'word '.repeat(3000));
        await page.getByRole('alert').nth(1).waitFor();
        for (const width of [390, 1024, 1440]) {
            await page.setViewportSize({ width, height: 860 });
            await fits(page, `try at ${width} px`);
            await accessible(page, `try at ${width} px, ${colorScheme}`);
        }
        await done(page);
    }
});

await finish();
