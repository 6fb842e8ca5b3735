// The made-up interface, shaped as the documented one.
import { tensorsOf, types } from './model.mjs';

const now = Date.now();
const ago = (s) => new Date(now - s * 1000).toISOString();
const model = tensorsOf(32, 4096, 14336, 128256);
const small = tensorsOf(8, 256, 768, 4096);
const id = (n) => n.toString(16).padStart(32, 'a1b2c3d4');
const total = model.reduce((s, t) => s + t.weights, 0);

function output(name, type, size, more) {
    return { id: id(900 + type.length), name: `${name}-${type}.gguf`, format: 'gguf', quant_type: type, file_size: size, bits_per_weight: types.find((t) => t.name === type)?.bits_per_weight ?? null,
        perplexity: null, kld: null, top1_agreement: null, relative_rmse: null, sha256: null, status: 'pending', error: null, url: null, files: null, ...more };
}

const gguf = (...types) => types.map((type) => ({ format: 'gguf', type, options: {}, quant_type: type }));

function job(n, name, status, more) {
    return { id: id(n), name, description: null, status, priority: 0, progress: status === 'completed' ? 100 : 0, current_step: null, step: null, live: null,
        source_model: 'mistralai/Mistral-7B-v0.3', source_type: 'huggingface', source_revision: null, requested: gguf('Q4_K_M', 'Q5_K_M', 'Q8_0'),
        config: {}, options: {}, total_outputs: 3, completed_outputs: 0, estimated_disk_gb: 17.9, estimated_time_minutes: 4.1, created_at: ago(3600 + n), started_at: null, completed_at: null,
        attempt: 1, error: null, error_advice: null, command: `halftone quantize mistralai/Mistral-7B-v0.3 -t Q4_K_M,Q5_K_M,Q8_0 -o models/mistral-7b`, outputs: [], ...more };
}

function start() {
    const good = (t, size, k) => output('Mistral-7B-v0.3', t, size, { status: 'completed', sha256: 'c4'.repeat(32), url: `/api/v1/quantize/jobs/${id(3)}/outputs/x`, perplexity: 5.3 + k, kld: k, top1_agreement: 1 - 2 * k, relative_rmse: k * 1.4 });
    return [
        job(1, 'Llama 3.1 8B ladder', 'quantizing', { source_model: 'meta-llama/Llama-3.1-8B', progress: 41, started_at: ago(60), current_step: 'quantizing', step: 'quantize',
            live: { tensor: 'blk.13.ffn_down.weight', unit: 'weights', done: total * 0.46, total, rate: 118e6, seconds: 33, seconds_left: 38 },
            outputs: ['Q4_K_M', 'Q5_K_M', 'Q8_0'].map((t) => output('Llama-3.1-8B', t, 5e9, { status: 'writing' })) }),
        job(2, 'Qwen for the laptop', 'queued', { source_model: 'Qwen/Qwen3-4B', requested: gguf('IQ4_XS'), total_outputs: 1 }),
        job(3, 'Mistral ladder', 'completed', { started_at: ago(3400), completed_at: ago(3148), completed_outputs: 3, outputs: [good('Q4_K_M', 4372811936, 0.031), good('Q5_K_M', 5136176288, 0.011), good('Q8_0', 7702564768, 0.0008)] }),
        job(4, 'Gemma, 4 bits', 'failed', { source_model: 'google/gemma-3-4b-it', requested: gguf('Q4_K_M'), progress: 63, started_at: ago(3000), completed_at: ago(2980),
            error: 'blk.21.ffn_up.weight: row 812 holds a value that is not finite', error_advice: 'The source itself is damaged. Fetch it again (the hash of model-00002-of-00002.safetensors differs from the hub’s), then retry.' }),
        job(5, 'Tiny test', 'cancelled', { source_model: '/srv/models/tiny', source_type: 'local', requested: gguf('Q2_K', 'IQ2_XS'), progress: 22, started_at: ago(9000), completed_at: ago(8990) }),
    ];
}

export function routes({ still = false } = {}) {
    let jobs = start();
    const clients = new Set();
    let eventId = 1;
    const send = (kind, data) => { for (const c of clients) c.write(`id: ${eventId++}\nevent: ${kind}\ndata: ${JSON.stringify(data)}\n\n`); };
    const brief = ({ id, status, progress, current_step, live, completed_outputs, error }) => ({ id, status, progress, current_step, live, completed_outputs, error });
    if (!still) setInterval(() => {
        const j = jobs.find((x) => x.status === 'quantizing' || x.status === 'verifying');
        if (!j || !clients.size) return;
        const l = j.live;
        l.done = Math.min(l.total, l.done + l.rate / 2);
        l.seconds_left = (l.total - l.done) / l.rate;
        let sum = 0;
        l.tensor = model.find((t) => (sum += t.weights) > l.done)?.name ?? '';
        j.progress = (j.status === 'quantizing' ? 0 : 80) + (j.status === 'quantizing' ? 80 : 20) * l.done / l.total;
        if (l.done >= l.total) {
            l.done = 0;
            j.status = j.status === 'quantizing' ? 'verifying' : 'quantizing';
        }
        send('job', brief(j));
    }, 500).unref();

    const json = (res, status, body) => res.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body));
    const problem = (res, status, title, detail, errors) =>
        res.writeHead(status, { 'Content-Type': 'application/problem+json' }).end(JSON.stringify({ type: 'about:blank', title, status, detail, errors }));
    const body = async (req) => { let s = ''; for await (const c of req) s += c; return s ? JSON.parse(s) : {}; };

    return async (req, res, url) => {
        const path = url.pathname.slice('/api/v1'.length);
        const q = url.searchParams;
        let m;
        if (path === '/events') {
            res.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
            res.write('retry: 3000\n\n');
            clients.add(res);
            return req.on('close', () => clients.delete(res));
        }
        if (path === '/quantize/jobs' && req.method === 'GET') {
            let list = jobs.filter((j) => (!q.get('status') || j.status === q.get('status')) && (!q.get('search') || (j.name + j.source_model).toLowerCase().includes(q.get('search').toLowerCase())));
            const sort = q.get('sort') ?? '-created', key = { created: 'created_at', name: 'name', status: 'status', progress: 'progress' }[sort.replace('-', '')];
            list = list.toSorted((a, b) => (a[key] < b[key] ? -1 : a[key] > b[key] ? 1 : 0) * (sort[0] === '-' ? -1 : 1));
            const offset = Number(q.get('offset') ?? 0), limit = Number(q.get('limit') ?? 20);
            return json(res, 200, { jobs: list.slice(offset, offset + limit), total: list.length, next_cursor: null });
        }
        if ((m = /^\/quantize\/jobs\/([0-9a-f]+)(?:\/([a-z]+))?$/.exec(path))) {
            const j = jobs.find((x) => x.id === m[1]);
            if (!j) return problem(res, 404, 'No such job', 'It may have been deleted.');
            if (req.method === 'DELETE') {
                jobs = jobs.filter((x) => x !== j);
                send('removed', { id: j.id });
                return res.writeHead(204).end();
            }
            if (m[2] === 'tensors') {
                const list = j.source_type === 'local' ? small : model;
                return json(res, 200, { tensors: list.map((t) => ({ ...t, outputs: Object.fromEntries(j.requested.map((r) => r.quant_type).map((n) => [n, { type: t.name.includes('norm') ? 'f32' : n.toLowerCase().replace(/_[ms]$/, ''), bytes: Math.round(t.weights * 0.6), relative_rmse: j.status === 'completed' ? 0.01 + (t.name.length % 7) / 300 : null }])) })) });
            }
            if (m[2] === 'log') return json(res, 200, { lines: [{ n: 1, at: j.created_at, text: 'queued' }, { n: 2, at: j.created_at, text: 'source read: 291 tensors, 8.0 B weights' }] });
            if (m[2] === 'cancel') j.status = 'cancelled', j.live = null, j.completed_at = new Date().toISOString(), send('job', brief(j));
            if (m[2] === 'retry') j.status = 'queued', j.error = null, j.progress = 0, send('job', brief(j));
            return json(res, 200, j);
        }
        await body(req).catch(() => ({}));
        return problem(res, 404, 'Not found', `Nothing at ${path}`);
    };
}
