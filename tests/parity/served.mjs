// The official JavaScript clients of OpenAI and Ollama, unmodified, against our service; run by check_served.py.
//   node served.mjs PORT     HT_CLIENTS_NODE: the node_modules that hold openai and ollama. A line for each failure.
import { createRequire } from 'node:module';
import { join } from 'node:path';

const require = createRequire(join(process.env.HT_CLIENTS_NODE, 'here.js'));
const { OpenAI } = require('openai'), { Ollama } = require('ollama');
const port = process.argv[2], hello = [{ role: 'system', content: 'Be brief.' }, { role: 'user', content: 'Tell me about the sea.' }];
const schema = { type: 'object', properties: { name: { type: 'string', maxLength: 8 }, count: { type: 'integer' } }, required: ['name', 'count'], additionalProperties: false };
const call = { type: 'object', required: ['name', 'parameters'], properties: { name: { const: 'look' }, parameters: { type: 'object', required: ['x'], properties: { x: { type: 'integer' } } } } };
const look = { type: 'function', function: { name: 'look', description: 'Looks at x.', parameters: { type: 'object', properties: { x: { type: 'integer' } } } } };

let failures = 0;
function check(what, holds, ...seen) {
    if (holds) return;
    failures++;
    console.log('FAILED', what, ...seen.map((s) => JSON.stringify(s)?.slice(0, 300)));
}
async function raises(what, good, run) {
    try {
        check(`${what}: an error`, false, await run());
    } catch (e) {
        check(what, good(e), { name: e.constructor.name, status: e.status ?? e.status_code, code: e.code, message: e.message });
    }
}
const all = async (stream) => {
    const list = [];
    for await (const part of stream) list.push(part);
    return list;
};

async function openai() {
    const c = new OpenAI({ baseURL: `http://127.0.0.1:${port}/v1`, apiKey: 'any', maxRetries: 0 });
    const names = (await all(await c.models.list())).map((m) => m.id).sort();
    check('models.list', names.join() === 'caller,lines,vectors', names);
    check('models.retrieve', (await c.models.retrieve('lines')).id === 'lines');
    const say = { model: 'lines', messages: hello, max_tokens: 20, seed: 4, temperature: 0.8 };
    const { data: whole, response } = await c.chat.completions.create({ ...say, logprobs: true, top_logprobs: 2 }).withResponse();
    const text = whole.choices[0].message.content;
    check('chat', response.status === 200 && whole.choices[0].finish_reason === 'length' && whole.usage.completion_tokens === 20, whole);
    check('chat: probabilities', whole.choices[0].logprobs.content.length === 20 && whole.choices[0].logprobs.content[0].top_logprobs.length === 2);
    const pieces = await all(await c.chat.completions.create({ ...say, stream: true, stream_options: { include_usage: true } }));
    check('chat: streamed', pieces.map((p) => p.choices[0]?.delta.content ?? '').join('') === text && pieces.at(-1).usage.completion_tokens === 20);
    check('chat: the stream helper', await c.chat.completions.stream(say).finalContent() === text);
    const kind = { type: 'json_schema', json_schema: { name: 'thing', strict: true, schema } };
    const made = await c.chat.completions.parse({ ...say, max_tokens: 200, response_format: kind });
    check('chat: parse of a schema', Object.keys(JSON.parse(made.choices[0].message.content)).join() === 'name,count', made);
    const caller = { model: 'caller', messages: hello, max_tokens: 900, seed: 7, response_format: { type: 'json_schema', json_schema: { name: 'call', schema: call } } };
    const called = (await c.chat.completions.create({ ...caller, tools: [look] })).choices[0];
    check('chat: a call of a tool', called.finish_reason === 'tool_calls' && Number.isInteger(JSON.parse(called.message.tool_calls[0].function.arguments).x), called);
    const seen = [];
    const runner = c.chat.completions.runTools({ ...caller, tools: [{ type: 'function', function: { ...look.function, parse: JSON.parse, function: ({ x }) => (seen.push(x), 'nothing') } }] }, { maxChatCompletions: 1 });
    await runner.done();
    check('chat: runTools calls the function', seen.length === 1 && Number.isInteger(seen[0]), seen);
    const echo = await c.completions.create({ model: 'lines', prompt: 'Once upon', max_tokens: 8, logprobs: 2, echo: true, stop: ['zzz'] });
    check('completions', echo.choices[0].text.startsWith('Once upon') && echo.choices[0].logprobs.tokens.length > 8, echo);
    const ask = { model: 'lines', prompt: 'Once upon', max_tokens: 8, seed: 1 };
    const parts = await all(await c.completions.create({ ...ask, stream: true }));
    check('completions: streamed', parts.map((p) => p.choices[0].text).join('') === (await c.completions.create(ask)).choices[0].text);
    const vectors = (await c.embeddings.create({ model: 'vectors', input: ['the sea', 'a king', 'the sea'] })).data.map((d) => d.embedding);
    check('embeddings', vectors.length === 3 && vectors[0].length === 256 && vectors[0].join() === vectors[2].join() && vectors[0].join() !== vectors[1].join());
    const plain = (await c.embeddings.create({ model: 'vectors', input: 'the sea', encoding_format: 'float' })).data[0].embedding;
    check('embeddings: as numbers', plain.every((x, i) => Math.abs(x - vectors[0][i]) < 1e-6));
    await raises('no such model', (e) => e instanceof OpenAI.NotFoundError && e.code === 'model-not-found', () => c.chat.completions.create({ model: 'nothing', messages: hello }));
    await raises('too long', (e) => e instanceof OpenAI.BadRequestError && e.code === 'context-full', () => c.completions.create({ model: 'lines', prompt: 'word '.repeat(3000) }));
    await raises('a wrong number', (e) => e instanceof OpenAI.BadRequestError && e.param === 'temperature', () => c.completions.create({ model: 'lines', prompt: 'x', temperature: 5 }));
    await raises('no embeddings', (e) => e instanceof OpenAI.BadRequestError && e.code === 'unsupported', () => c.embeddings.create({ model: 'lines', input: 'x' }));
    const stream = await c.chat.completions.create({ ...say, max_tokens: 900, stream: true });
    for await (const part of stream) if (part.choices[0].delta.content) stream.controller.abort(); // and leaves
}

async function ollama() {
    const c = new Ollama({ host: `http://127.0.0.1:${port}` }), options = { num_predict: 12, seed: 5 };
    const names = async () => (await c.list()).models.map((m) => m.model).sort().join();
    check('list', await names() === 'caller:latest,lines:latest,vectors:latest', await names());
    check('version', /^\d+\.\d+/.test((await c.version()).version));
    const whole = await c.generate({ model: 'lines', prompt: 'Once', options });
    check('generate', whole.done && whole.eval_count === 12 && whole.total_duration > 0, whole);
    const pieces = await all(await c.generate({ model: 'lines', prompt: 'Once', options, stream: true }));
    check('generate: streamed', pieces.map((p) => p.response).join('') === whole.response && pieces.at(-1).done);
    const said = await c.chat({ model: 'lines', messages: hello, options });
    const parts = await all(await c.chat({ model: 'lines', messages: hello, options, stream: true }));
    check('chat', parts.map((p) => p.message.content).join('') === said.message.content && parts.at(-1).done_reason === 'length');
    const made = await c.chat({ model: 'lines', messages: hello, format: schema, options: { num_predict: 200, temperature: 1 } });
    check('chat: a schema', Object.keys(JSON.parse(made.message.content)).join() === 'name,count', made);
    const called = (await c.chat({ model: 'caller', messages: hello, tools: [look], format: call, options: { num_predict: 900, temperature: 1.2 } })).message.tool_calls;
    check('chat: a call of a tool', called.length === 1 && called[0].function.name === 'look' && Number.isInteger(called[0].function.arguments.x), called);
    check('embed', (await c.embed({ model: 'vectors', input: ['a', 'b'] })).embeddings.length === 2);
    check('embeddings', (await c.embeddings({ model: 'vectors', prompt: 'a' })).embedding.length === 256);
    check('show', (await c.show({ model: 'lines' })).model_info['general.architecture'] === 'llama');
    check('ps', (await c.ps()).models.some((m) => m.model === 'lines:latest'));
    await c.copy({ source: 'lines', destination: 'mine:1' });
    const states = (await all(await c.create({ model: 'small', from: 'lines', quantize: 'q4_K_M', system: 'Be brief.', stream: true }))).map((s) => s.status);
    check('create', states.at(-1) === 'success' && states.some((s) => s.includes('quantizing')), states);
    check('create: it answers', (await c.chat({ model: 'small', messages: hello.slice(1), options })).eval_count === 12);
    check('copy', (await names()).includes('mine:1'));
    for (const model of ['mine:1', 'small']) await c.delete({ model });
    check('delete', await names() === 'caller:latest,lines:latest,vectors:latest', await names());
    check('pull: it is here', (await c.pull({ model: 'lines' })).status === 'success');
    const progress = await all(await c.pull({ model: 'lines', stream: true }));
    check('pull: streamed', progress.at(-1).status === 'success', progress);
    await raises('no such model', (e) => e.status_code === 404 && /not found/.test(e.error), () => c.chat({ model: 'nothing', messages: hello }));
    await raises('an image', (e) => e.status_code === 400 && /image/.test(e.error), () => c.generate({ model: 'lines', prompt: 'x', images: [new Uint8Array([1, 2, 3])] }));
    await raises('abort', (e) => e.name === 'AbortError', async () => {
        for await (const part of await c.chat({ model: 'lines', messages: hello, options: { num_predict: 900 }, stream: true })) if (part.message.content) c.abort();
    });
}

await openai();
await ollama();
process.exit(failures ? 1 : 0);
