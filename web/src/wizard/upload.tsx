// A GGUF file sent from the browser's machine, and those that were sent before.
import { useRef, useState } from 'preact/hooks';
import { get, remove, upload, type Problem, type Upload } from '../api';
import { bytes } from '../format';
import { ProblemNote, problemOf, useAction, useLoad } from '../ui';
import type { Draft } from './draft';

interface Props { draft: Draft; change: (part: Partial<Draft>) => void }

// The name under which the server keeps it: letters, digits, dots and dashes.
const fileName = (name: string) => name.replace(/[^\w.-]+/g, '-').replace(/^[.-]+/, '') || 'model.gguf';

function Sending({ onDone }: { onDone: (name: string) => void }) {
    const [sent, setSent] = useState<{ name: string; done: number; total: number }>();
    const [problem, setProblem] = useState<Problem>();
    const [over, setOver] = useState(false);
    const stop = useRef<AbortController | null>(null);
    const send = (file: File | undefined) => {
        if (!file || sent) return;
        const name = fileName(file.name);
        stop.current = new AbortController();
        setProblem(undefined);
        setSent({ name, done: 0, total: file.size });
        upload(name, file, (done) => setSent({ name, done, total: file.size }), stop.current.signal)
            .then(() => onDone(name), (e) => !(e instanceof DOMException) && setProblem(problemOf(e)))
            .finally(() => setSent(undefined));
    };
    const drop = (e: DragEvent) => {
        e.preventDefault();
        setOver(false);
        send(e.dataTransfer?.files[0]);
    };
    return (
        <>
            <label class={over ? 'drop over' : 'drop'} onDragOver={(e) => (e.preventDefault(), setOver(true))} onDragLeave={() => setOver(false)} onDrop={drop}>
                <strong>Choose a GGUF file</strong> <span class="quiet">or drop it here</span>
                <input type="file" accept=".gguf" disabled={sent !== undefined} onChange={(e) => (send(e.currentTarget.files?.[0]), (e.currentTarget.value = ''))} />
            </label>
            {sent && <p class="sending"><label><span>{sent.name}: {bytes(sent.done)} of {bytes(sent.total)}{sent.done >= sent.total ? ', the server is checking it' : ''}</span>
                <progress max={sent.total || 1} value={sent.done} /></label>
                <button type="button" onClick={() => stop.current?.abort()}>Cancel upload</button></p>}
            <ProblemNote problem={problem} />
        </>
    );
}

export function Uploads({ draft, change }: Props) {
    const list = useLoad<{ uploads: Upload[] }>('uploads', (signal) => get('/uploads', signal));
    const use = (name: string) => change({ model: name, kind: 'upload', name: name.replace(/\.gguf$/i, '') });
    const forget = useAction(async (name: string) => {
        await remove(`/uploads/${encodeURIComponent(name)}`);
        if (draft.kind === 'upload' && draft.model === name) change({ model: '' });
        list.reload();
    });
    const uploads = list.data?.uploads ?? [];
    return (
        <div>
            <Sending onDone={(name) => (use(name), list.reload())} />
            <ProblemNote problem={list.problem ?? forget.problem} />
            {uploads.length > 0 && <h2 class="small">On the server</h2>}
            <ul class="entries" aria-busy={list.loading}>{uploads.map((u) => (
                <li key={u.name}><label class="entry"><input type="radio" name="model" checked={draft.kind === 'upload' && draft.model === u.name} onChange={() => use(u.name)} /> <span>{u.name}</span> <span class="quiet">{bytes(u.size_bytes)}</span></label>
                    <button type="button" class="quiet" disabled={forget.busy} onClick={() => forget.run(u.name)} aria-label={`Delete ${u.name}`}>Delete</button></li>
            ))}</ul>
        </div>
    );
}
