// What several views share.
import type { ComponentChildren } from 'preact';
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { Problem, type OutputFile, type Status } from './api';
import { bytes } from './format';

// What is being fetched: the last good answer stays while the next is on its way.
export interface Loaded<T> { data: T | undefined; problem: Problem | undefined; loading: boolean; reload: () => void; set: (f: (old: T | undefined) => T | undefined) => void }

export const problemOf = (e: unknown): Problem => (e instanceof Problem ? e : new Problem(-1, 'Something went wrong in this page', e instanceof Error ? e.message : String(e)));

export function useLoad<T>(key: string | null, load: (signal: AbortSignal) => Promise<T>): Loaded<T> {
    const [state, setState] = useState<{ data: T | undefined; problem: Problem | undefined; loading: boolean }>({ data: undefined, problem: undefined, loading: key !== null });
    const [turn, setTurn] = useState(0);
    const how = useRef(load);
    how.current = load;
    useEffect(() => {
        if (key === null) return;
        const stop = new AbortController();
        let timer = 0;
        setState((s) => ({ ...s, loading: true }));
        how.current(stop.signal).then(
            (data) => !stop.signal.aborted && setState({ data, problem: undefined, loading: false }),
            (e) => {
                if (stop.signal.aborted) return;
                const problem = problemOf(e);
                setState((s) => ({ data: s.data, problem, loading: false }));
                if (problem.status === 0) timer = setTimeout(() => setTurn((t) => t + 1), 3000) as unknown as number;
            },
        );
        return () => {
            clearTimeout(timer);
            stop.abort();
        };
    }, [key, turn]);
    const reload = useCallback(() => setTurn((t) => t + 1), []);
    const set = useCallback((f: (old: T | undefined) => T | undefined) => setState((s) => ({ ...s, data: f(s.data) })), []);
    return { ...state, reload, set };
}

// A request that a person starts: busy while it runs, and its problem where it was started.
export function useAction<A extends unknown[]>(f: (...a: A) => Promise<void>): { run: (...a: A) => void; busy: boolean; problem: Problem | undefined; clear: () => void } {
    const [busy, setBusy] = useState(false);
    const [problem, setProblem] = useState<Problem>();
    const run = (...a: A) => {
        if (busy) return;
        setBusy(true);
        setProblem(undefined);
        f(...a).catch((e) => setProblem(problemOf(e))).finally(() => setBusy(false));
    };
    return { run, busy, problem, clear: () => setProblem(undefined) };
}

export function ProblemNote({ problem, children }: { problem: Problem | undefined; children?: ComponentChildren }) {
    if (!problem) return null;
    return (
        <div class="note bad" role="alert">
            <strong>{problem.title}</strong>
            {problem.detail && problem.detail !== problem.title && <p>{problem.detail}</p>}
            {problem.fields.length > 0 && <ul>{problem.fields.map((f, i) => <li key={i}><code>{f.pointer}</code> {f.detail}</li>)}</ul>}
            {children}
        </div>
    );
}

const states: Record<Status, { mark: string; word: string; tone: string }> = {
    queued: { mark: '○', word: 'queued', tone: 'quiet' },
    downloading: { mark: '◔', word: 'downloading', tone: 'live' },
    preparing: { mark: '◔', word: 'preparing', tone: 'live' },
    quantizing: { mark: '◑', word: 'quantizing', tone: 'live' },
    measuring: { mark: '◕', word: 'measuring', tone: 'live' },
    verifying: { mark: '◕', word: 'verifying', tone: 'live' },
    completed: { mark: '●', word: 'completed', tone: 'done' },
    failed: { mark: '✕', word: 'failed', tone: 'bad' },
    cancelled: { mark: '–', word: 'cancelled', tone: 'warn' },
};
export const running = (s: Status) => states[s]?.tone === 'live';
export const active = (s: Status) => s === 'queued' || running(s);

export function StatusWord({ status }: { status: Status }) {
    const s = states[status] ?? { mark: '?', word: String(status), tone: 'quiet' };
    return <span class={`status ${s.tone}`}><span aria-hidden="true">{s.mark}</span> {s.word}</span>;
}

export function Types({ names }: { names: string[] }) {
    return <span class="types">{names.map((t) => <span key={t} class="type">{t}</span>)}</span>;
}

// What a folder holds: each file to download alone. The folder itself is one archive.
export function FolderFiles({ files }: { files: OutputFile[] }) {
    return (
        <details class="folder-files">
            <summary>{files.length} files</summary>
            <ul>{files.map((f) => <li key={f.name}><a href={f.url} download>{f.name}</a> <span class="quiet">{bytes(f.size)}</span> <Copyable text={f.sha256} label={`SHA-256 of ${f.name}`} /></li>)}</ul>
        </details>
    );
}

// Text to copy, which can also be selected by hand.
export function Copyable({ text, label, block }: { text: string; label: string; block?: boolean }) {
    const [done, setDone] = useState(false);
    const copy = () => {
        const ok = () => (setDone(true), setTimeout(() => setDone(false), 2000));
        navigator.clipboard?.writeText(text).then(ok, () => {});
    };
    return (
        <div class={block ? 'copy block' : 'copy'}>
            <code tabIndex={block ? 0 : undefined} role={block ? 'region' : undefined} aria-label={block ? label : undefined}>{text}</code>
            {navigator.clipboard && <button type="button" class="quiet" onClick={copy} aria-label={`Copy ${label}`}>{done ? 'copied' : 'copy'}</button>}
            <span class="unseen" role="status">{done ? `${label} copied` : ''}</span>
        </div>
    );
}

interface ConfirmProps { open: boolean; title: string; children: ComponentChildren; action: string; busy?: boolean; problem?: Problem | undefined; onClose: () => void; onConfirm: () => void }

export function Confirm({ open, title, children, action, busy, problem, onClose, onConfirm }: ConfirmProps) {
    const dialog = useRef<HTMLDialogElement>(null);
    useEffect(() => {
        const d = dialog.current;
        if (!d) return;
        if (open && !d.open) d.showModal();
        if (!open && d.open) d.close();
    }, [open]);
    return (
        <dialog ref={dialog} aria-labelledby="confirm-title" onClose={onClose}>
            {open && <>
                <h2 id="confirm-title">{title}</h2>
                {children}
                <ProblemNote problem={problem} />
                <div class="buttons end">
                    <button type="button" onClick={onClose}>Cancel</button>
                    <button type="button" class="danger" disabled={busy} onClick={onConfirm}>{action}</button>
                </div>
            </>}
        </dialog>
    );
}

// A heading that takes the focus when its view appears, so that a screen reader says where we are.
export function Title({ children, ...more }: { children: ComponentChildren; class?: string; id?: string }) {
    const ref = useRef<HTMLHeadingElement>(null);
    useEffect(() => ref.current?.focus({ preventScroll: false }), []);
    return <h1 tabIndex={-1} ref={ref} {...more}>{children}</h1>;
}

// Words for screen readers alone, said when they change; at most every few seconds, or nobody could listen.
export function Announce({ text }: { text: string }) {
    const [said, setSaid] = useState(text);
    const last = useRef(0);
    useEffect(() => {
        const wait = Math.max(0, last.current + 5000 - Date.now());
        const t = setTimeout(() => {
            last.current = Date.now();
            setSaid(text);
        }, wait);
        return () => clearTimeout(t);
    }, [text]);
    return <span class="unseen" aria-live="polite">{said}</span>;
}

export function Pager({ offset, limit, total, onMove }: { offset: number; limit: number; total: number; onMove: (offset: number) => void }) {
    if (total <= limit && offset === 0) return null;
    const last = Math.min(total, offset + limit);
    return (
        <nav class="pager" aria-label="Pages">
            <button type="button" disabled={offset === 0} onClick={() => onMove(Math.max(0, offset - limit))}>Previous page</button>
            <span>{total === 0 ? 'none' : `${offset + 1}–${last} of ${total}`}</span>
            <button type="button" disabled={last >= total} onClick={() => onMove(offset + limit)}>Next page</button>
        </nav>
    );
}
