// One connection of server-sent events for the whole page. A hidden page lets go of it: browsers give a host six connections.
import { base, get } from './api';

export type LiveEvent = { kind: 'job'; job: { id: string } & Record<string, unknown> } | { kind: 'removed'; id: string } | { kind: 'resync' };
export type Connection = 'open' | 'connecting' | 'lost';

const listeners = new Set<(e: LiveEvent) => void>();
const watchers = new Set<(c: Connection) => void>();
let source: EventSource | null = null;
let state: Connection = 'connecting';
let timer = 0;
let delay = 1000;
let wasOpen = false;

function tell(c: Connection) {
    if (c === state) return;
    state = c;
    for (const w of watchers) w(c);
}

function emit(e: LiveEvent) {
    for (const l of [...listeners]) l(e);
}

function data(e: Event): Record<string, unknown> {
    try {
        return JSON.parse((e as MessageEvent).data);
    } catch {
        return {};
    }
}

// The browser gives up when the server answers with an error; then we ask again ourselves, less and less often.
function failed() {
    tell('lost');
    if (source?.readyState !== EventSource.CLOSED) return;
    close();
    timer = setTimeout(() => get('/system').then(open, open), delay) as unknown as number;
    delay = Math.min(delay * 2, 15000);
}

function close() {
    clearTimeout(timer);
    source?.close();
    source = null;
}

export function open() {
    close();
    source = new EventSource(base + '/events');
    source.onopen = () => {
        delay = 1000;
        tell('open');
        if (wasOpen) emit({ kind: 'resync' });
        wasOpen = true;
    };
    source.onerror = failed;
    source.addEventListener('job', (e) => {
        const job = data(e);
        if (typeof job.id === 'string') emit({ kind: 'job', job: job as { id: string } });
    });
    source.addEventListener('removed', (e) => emit({ kind: 'removed', id: String(data(e).id) }));
    source.addEventListener('resync', () => emit({ kind: 'resync' }));
    source.addEventListener('shutdown', () => tell('lost'));
}

export function start() {
    open();
    document.addEventListener('visibilitychange', () => (document.hidden ? close() : open()));
}

export function listen(f: (e: LiveEvent) => void): () => void {
    listeners.add(f);
    return () => void listeners.delete(f);
}

export function watch(f: (c: Connection) => void): () => void {
    watchers.add(f);
    f(state);
    return () => void watchers.delete(f);
}
