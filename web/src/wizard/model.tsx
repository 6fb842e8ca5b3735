// Step 1: which model. From the server's folders, from the hub, or a GGUF file sent from here.
import { useRef, useState } from 'preact/hooks';
import { get, query, remove, upload, type HubModel, type LocalList, type Upload } from '../api';
import { bytes, count } from '../format';
import { ProblemNote, problemOf, useAction, useLoad } from '../ui';
import type { Problem } from '../api';
import { lastPart, type Draft, type Kind } from './draft';

interface Props { draft: Draft; change: (part: Partial<Draft>) => void }

function Chosen({ draft }: { draft: Draft }) {
    return <p class="chosen" role="status">{draft.model ? <>Chosen: <strong>{draft.model}</strong></> : <span class="quiet">No model chosen yet.</span>}</p>;
}

function Local({ draft, change }: Props) {
    const list = useLoad<LocalList>(`local ${draft.folder}`, (signal) => get(`/local${query({ path: draft.folder })}`, signal));
    const { data } = list;
    const open = (folder: string | null) => change({ folder });
    return (
        <div class="browser">
            <p class="where">
                <code>{data?.path ?? 'folders of this server'}</code>
                {data?.path && <button type="button" class="link" onClick={() => open(data.parent)}>up</button>}
            </p>
            <ProblemNote problem={list.problem}><p><button type="button" class="link" onClick={() => open(null)}>To the allowed folders</button></p></ProblemNote>
            {data && data.entries.length === 0 && (data.path ? <p class="quiet">No folders and no models here.</p>
                : <p class="quiet">This server was started without folders of models: <code>halftone serve --models DIR</code></p>)}
            <ul class="entries" aria-busy={list.loading}>{data?.entries.map((e) => (
                <li key={e.path}>{e.kind === 'folder'
                    ? <button type="button" class="entry" onClick={() => open(e.path)}><span aria-hidden="true">▸</span> {e.name}</button>
                    : <label class="entry"><input type="radio" name="model" checked={draft.model === e.path} onChange={() => change({ model: e.path, kind: 'local', name: lastPart(e.path) })} /> {e.name}
                        <span class="quiet">{e.format}{e.size_bytes !== null ? `, ${bytes(e.size_bytes)}` : ''}</span></label>}</li>
            ))}</ul>
        </div>
    );
}

const hubName = /^[\w.-]+\/[\w.-]+(@[\w./-]+)?$/;

function Hub({ draft, change }: Props) {
    const [text, setText] = useState(draft.kind === 'huggingface' ? draft.model : '');
    const [asked, ask] = useState<string | null>(null);
    const found = useLoad<{ models: HubModel[] }>(asked && `hub ${asked}`, (signal) => get(`/hub/search${query({ q: asked, limit: 20 })}`, signal));
    const use = (id: string) => change({ model: id, kind: 'huggingface', name: id.split('@')[0]!.split('/').pop()! });
    const search = (e: Event) => {
        e.preventDefault();
        const t = text.trim();
        if (hubName.test(t)) use(t);
        if (t) ask(t.split('@')[0]!);
    };
    return (
        <div>
            <form class="filters" role="search" onSubmit={search}>
                <label class="grow"><span class="unseen">Model on the hub</span>
                    <input type="search" placeholder="ORG/NAME, ORG/NAME@revision, or words to search for" value={text} onInput={(e) => setText(e.currentTarget.value)} /></label>
                <button type="submit">Search</button>
            </form>
            <ProblemNote problem={found.problem} />
            {found.data && found.data.models.length === 0 && <p class="quiet">Nothing was found.</p>}
            <ul class="entries" aria-busy={found.loading}>{found.data?.models.map((m) => (
                <li key={m.id}><label class="entry"><input type="radio" name="model" checked={draft.model === m.id} onChange={() => use(m.id)} /> {m.id}
                    <span class="quiet">{m.downloads ? `${count(m.downloads)} downloads` : ''}{m.gated ? ' needs consent on the hub' : ''}</span></label></li>
            ))}</ul>
        </div>
    );
}

function Sending({ onDone }: { onDone: (name: string) => void }) {
    const [sent, setSent] = useState<{ name: string; done: number; total: number }>();
    const [problem, setProblem] = useState<Problem>();
    const stop = useRef<AbortController | null>(null);
    const send = (file: File | undefined) => {
        if (!file) return;
        const name = file.name.replace(/[^\w.-]+/g, '-').replace(/^[.-]+/, '') || 'model.gguf';
        stop.current = new AbortController();
        setProblem(undefined);
        setSent({ name, done: 0, total: file.size });
        upload(name, file, (done) => setSent({ name, done, total: file.size }), stop.current.signal)
            .then(() => onDone(name), (e) => !(e instanceof DOMException) && setProblem(problemOf(e)))
            .finally(() => setSent(undefined));
    };
    return (
        <>
            <label class="file">Send a GGUF file <input type="file" accept=".gguf" disabled={sent !== undefined} onChange={(e) => send(e.currentTarget.files?.[0])} /></label>
            {sent && <p class="sending"><label>{sent.name}: {bytes(sent.done)} of {bytes(sent.total)}{sent.done >= sent.total ? ', being checked' : ''}
                <progress max={sent.total || 1} value={sent.done} /></label>
                <button type="button" onClick={() => stop.current?.abort()}>Stop</button></p>}
            <ProblemNote problem={problem} />
        </>
    );
}

function Uploads({ draft, change }: Props) {
    const list = useLoad<{ uploads: Upload[] }>('uploads', (signal) => get('/uploads', signal));
    const use = (name: string) => change({ model: name, kind: 'upload', name: name.replace(/\.gguf$/i, '') });
    const forget = useAction(async (name: string) => {
        await remove(`/uploads/${encodeURIComponent(name)}`);
        if (draft.model === name) change({ model: '' });
        list.reload();
    });
    return (
        <div>
            <Sending onDone={(name) => (use(name), list.reload())} />
            <ProblemNote problem={list.problem ?? forget.problem} />
            <ul class="entries" aria-busy={list.loading}>{list.data?.uploads.map((u) => (
                <li key={u.name}><label class="entry"><input type="radio" name="model" checked={draft.kind === 'upload' && draft.model === u.name} onChange={() => use(u.name)} /> {u.name} <span class="quiet">{bytes(u.size_bytes)}</span></label>
                    <button type="button" class="quiet" disabled={forget.busy} onClick={() => forget.run(u.name)} aria-label={`Delete ${u.name}`}>delete</button></li>
            ))}</ul>
        </div>
    );
}

const kinds: [Kind, string][] = [['local', 'On this server'], ['huggingface', 'From the hub'], ['upload', 'A file from here']];

export function ModelStep({ draft, change }: Props) {
    const [kind, setKind] = useState<Kind>(draft.kind);
    const View = kind === 'local' ? Local : kind === 'huggingface' ? Hub : Uploads;
    return (
        <>
            <fieldset class="choice"><legend class="unseen">Where the model is</legend>
                {kinds.map(([k, title]) => <label key={k} class={kind === k ? 'on' : ''}><input type="radio" name="kind" checked={kind === k} onChange={() => setKind(k)} /> {title}</label>)}
            </fieldset>
            <View draft={draft} change={change} />
            <Chosen draft={draft} />
        </>
    );
}
