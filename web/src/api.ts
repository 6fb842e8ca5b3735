// The service's documented interface, and nothing else: every request of the page goes through here.
export type Status = 'queued' | 'downloading' | 'preparing' | 'quantizing' | 'measuring' | 'verifying' | 'completed' | 'failed' | 'cancelled';

export interface Live { tensor: string | null; unit: string; done: number; total: number; rate: number; seconds: number; seconds_left: number }
export interface Output {
    id: string; name: string; format: string; quant_type: string; file_size: number | null; bits_per_weight: number | null;
    perplexity: number | null; kld: number | null; top1_agreement: number | null; relative_rmse: number | null;
    sha256: string | null; status: 'pending' | 'writing' | 'verifying' | 'completed' | 'failed' | 'cancelled' | 'deleted'; error: string | null; url: string | null;
    files: OutputFile[] | null; // of a folder
}
export interface OutputFile { name: string; size: number; sha256: string; url: string }
export interface Requested { format: string; type: string; options: Record<string, unknown>; quant_type: string }
export interface Job {
    id: string; name: string; description: string | null; status: Status; priority: number; progress: number;
    current_step: string | null; step: string | null; live: Live | null;
    source_model: string; source_type: string; source_revision: string | null;
    requested: Requested[]; config: Record<string, unknown> | null; options: Record<string, unknown> | null;
    total_outputs: number; completed_outputs: number; estimated_disk_gb: number | null; estimated_time_minutes: number | null;
    created_at: string; started_at: string | null; completed_at: string | null; attempt: number;
    error: string | null; error_advice: string | null; command: string | null; outputs: Output[];
    model_id: string | null; ended_in: Status | null;
}
export interface JobList { jobs: Job[]; total: number; next_cursor: string | null }

export const typesOf = (job: Job) => job.requested.map((r) => r.quant_type);

export interface Format { name: string; title: string; description: string; folder: boolean }
export interface TypeOption { name: string; hint: string; choices: string[] | null; default: string; least: number | null; most: number | null }
export interface QuantType { name: string; label: string; family: string; bits_per_weight: number | null; needs_importance: boolean; hint: string; loaders: string; levels: string | null; options: TypeOption[]; recommended: boolean; measured: { divergence: number; same_top_token: number; with_importance: boolean } | null }
export interface RunMemory { ctx: number; weights_bytes: number; kv_cache_bytes: number; overhead_bytes: number; total_bytes: number; with_margin_bytes: number }
export interface EstimateOutput { type: string; format: string; size_bytes: number; bits_per_weight: number; hint: string; run_memory: RunMemory | null }
export interface Estimate {
    source: { path?: string; architecture?: string; parameters?: number; tensors?: number; bytes?: number; kind?: string };
    outputs: EstimateOutput[]; download_bytes: number; temporary_bytes: number; disk_bytes: number; disk_free_bytes: number | null;
    memory_bytes: number; engine_memory_bytes?: number; seconds: number | null; fits: boolean; reasons: string[];
}
export interface HubModel { id: string; downloads: number | null; likes: number | null; updated: string | null; gated: boolean; license?: string }
export interface LocalEntry { name: string; path: string; kind: 'folder' | 'model'; format: string | null; size_bytes: number | null }
export interface LocalList { path: string; parent: string | null; entries: LocalEntry[]; example?: LocalEntry | null }
export interface Upload { name: string; path: string; size_bytes: number }

// What a job's request says.
export interface JobRequest {
    name: string; description?: string; source_model: string; source_type: string; outputs?: { format: string; type: string }[];
    priority?: number; config?: Record<string, unknown>; options?: Record<string, unknown>;
}

// An answer that is not success: what the server said in application/problem+json, or that it said nothing.
export class Problem extends Error {
    constructor(
        readonly status: number,
        readonly title: string,
        readonly detail: string,
        readonly fields: { pointer: string; detail: string }[] = [],
        readonly kind = '', // of models that were asked something
    ) {
        super(detail || title);
    }
    // What the request's member at a JSON pointer is blamed for.
    at(pointer: string): string | undefined {
        return this.fields.find((f) => f.pointer === pointer || f.pointer.startsWith(pointer + '/'))?.detail;
    }
}

export const base = '/api/v1';
let unauthorized = () => {};
export const onUnauthorized = (f: () => void) => void (unauthorized = f);

// What the server said: problem+json, or at the addresses of other programs' servers {"error": {message, code}}.
async function problemOf(r: Response): Promise<Problem> {
    try {
        const p = await r.json();
        if (p.error) return runProblem(r.status, p.error);
        return new Problem(r.status, String(p.title ?? r.statusText), String(p.detail ?? ''), Array.isArray(p.errors) ? p.errors : []);
    } catch {
        return new Problem(r.status, r.statusText || `HTTP ${r.status}`, '');
    }
}

async function send(url: string, init: RequestInit): Promise<Response> {
    let r: Response;
    try {
        r = await fetch(url, { ...init, credentials: 'same-origin' });
    } catch (e) {
        if (e instanceof DOMException && e.name === 'AbortError') throw e;
        throw new Problem(0, 'The server does not answer', 'Is halftone serve still running? The page tries again by itself.');
    }
    if (r.status === 401 && url !== `${base}/session`) unauthorized();
    if (!r.ok) throw await problemOf(r);
    return r;
}

export async function request<T>(method: string, path: string, body?: unknown, signal?: AbortSignal, headers: Record<string, string> = {}): Promise<T> {
    const init: RequestInit = { method, headers: { Accept: 'application/json', ...headers } };
    if (signal) init.signal = signal;
    if (body !== undefined) {
        init.body = JSON.stringify(body);
        init.headers = { ...init.headers, 'Content-Type': 'application/json' };
    }
    const r = await send(path.startsWith('/v1/') ? path : base + path, init);
    if (r.status === 204) return undefined as T;
    return (await r.json()) as T;
}

export const get = <T>(path: string, signal?: AbortSignal) => request<T>('GET', path, undefined, signal);
export const post = <T>(path: string, body?: unknown, headers?: Record<string, string>) => request<T>('POST', path, body ?? {}, undefined, headers);
export const patch = <T>(path: string, body: unknown) => request<T>('PATCH', path, body);
export const remove = (path: string) => request<void>('DELETE', path);

// Models that can be run, as OpenAI's clients list them.
export interface Card { id: string; created: number; meta: { size: number; level: string; format: string; variant: string | null } }

// What models are refused for, in words and with what to do.
const refusals: Record<string, [title: string, advice: string]> = {
    'model-not-found': ['This model is not there any more', 'Choose another one.'],
    'context-full': ['The conversation is longer than the model’s context', 'Begin a new conversation or say less; --run-context N of halftone serve makes the context longer.'],
    'no-room': ['The model does not fit into memory', 'Choose a smaller level; --run-memory SIZE of halftone serve says how much models may take.'],
    unsupported: ['This model cannot do that', ''],
    'model-ended': ['The process of the model was lost', 'Ask again: it is started anew. The service’s log says more.'],
    busy: ['Too many wait for this model', 'Ask again in a moment.'],
    stopping: ['The service is stopping', ''],
    invalid: ['The request is not valid', ''],
    forbidden: ['Your token may not ask models', 'It takes one with the scope submit.'],
};
function runProblem(status: number, error: { message?: unknown; param?: unknown; code?: unknown }): Problem {
    const code = String(error.code ?? ''), [title, advice] = refusals[code] ?? ['The service failed', ''];
    const said = String(error.message ?? '').trim(), sentence = said && `${said[0]!.toUpperCase()}${said.slice(1)}${/[.!?]$/.test(said) ? '' : '.'}`;
    return new Problem(status, title, [sentence, advice].filter(Boolean).join(' '), [], code);
}

// The objects of a stream of events, until the server says that it is done.
export async function* stream(path: string, body: unknown, signal: AbortSignal): AsyncGenerator<Record<string, unknown>> {
    const r = await send(path, { method: 'POST', headers: { Accept: 'text/event-stream', 'Content-Type': 'application/json' }, body: JSON.stringify(body), signal });
    const reader = r.body!.pipeThrough(new TextDecoderStream()).getReader();
    try {
        for (let rest = ''; ;) {
            const { value, done } = await reader.read().catch((e) => {
                if (signal.aborted) throw e;
                return { value: undefined, done: true as const };
            });
            if (done) throw new Problem(0, 'The answer broke off', 'The connection to the server was lost.');
            const events = (rest + value).split('\n\n');
            rest = events.pop()!;
            for (const event of events) {
                const data = event.replace(/^data: /, '');
                if (data === '[DONE]') return;
                const object = JSON.parse(data);
                if (object.error) throw runProblem(500, object.error);
                yield object;
            }
        }
    } finally {
        reader.cancel().catch(() => {});
    }
}

// A query string of the members that say something.
export function query(members: Record<string, string | number | null | undefined>): string {
    const q = new URLSearchParams();
    for (const [k, v] of Object.entries(members)) if (v !== null && v !== undefined && v !== '') q.set(k, String(v));
    const s = q.toString();
    return s ? '?' + s : '';
}

// A file sent whole, with progress: what fetch cannot tell.
export function upload(name: string, file: File, onProgress: (sent: number) => void, signal: AbortSignal): Promise<Upload> {
    return new Promise((done, fail) => {
        const x = new XMLHttpRequest();
        x.open('PUT', `${base}/uploads/${encodeURIComponent(name)}`);
        x.setRequestHeader('Content-Type', 'application/octet-stream');
        x.upload.onprogress = (e) => onProgress(e.loaded);
        x.onload = () => {
            if (x.status === 401) unauthorized();
            let answer: Record<string, unknown> = {};
            try {
                answer = JSON.parse(x.responseText);
            } catch { /* an empty answer is told by its status */ }
            if (x.status >= 200 && x.status < 300) done(answer as unknown as Upload);
            else fail(new Problem(x.status, String(answer.title ?? x.statusText), String(answer.detail ?? '')));
        };
        x.onerror = () => fail(new Problem(0, 'The upload broke off', 'The server does not answer, or refused a file of this size.'));
        x.onabort = () => fail(new DOMException('', 'AbortError'));
        signal.addEventListener('abort', () => x.abort());
        x.send(file);
    });
}
