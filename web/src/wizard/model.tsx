// Step 1: which model. From the server's folders, from the hub, or a GGUF file sent from here.
import { useState } from 'preact/hooks';
import { get, query, type LocalList } from '../api';
import { bytes } from '../format';
import { ProblemNote, useLoad } from '../ui';
import { lastPart, type Draft, type Kind } from './draft';
import { exampleDraft } from './example';
import { Hub } from './hub';
import { Uploads } from './upload';

interface Props { draft: Draft; change: (part: Partial<Draft>) => void }

function Local({ draft, change }: Props) {
    const list = useLoad<LocalList>(`local ${draft.folder}`, (signal) => get(`/local${query({ path: draft.folder })}`, signal));
    const { data } = list;
    const open = (folder: string | null) => change({ folder });
    return (
        <div class="browser">
            <p class="where">
                {data?.path ? <><button type="button" onClick={() => open(data.parent)}><span aria-hidden="true">↑</span> Parent folder</button> <code>{data.path}</code></> : <span class="quiet">Folders of models on this server</span>}
            </p>
            <ProblemNote problem={list.problem}><p><button type="button" onClick={() => open(null)}>Back to the folders of models</button></p></ProblemNote>
            {data && data.entries.length === 0 && (data.path ? <p class="quiet">This folder has no models and no folders.</p>
                : <p class="note">This server has no folder of models. Start it with one: <code>halftone serve --models DIR</code></p>)}
            <ul class="entries" aria-busy={list.loading}>
                {data?.example && <li><label class="entry"><input type="radio" name="model" checked={draft.model === data.example.path} onChange={() => change({ ...exampleDraft(data.example!), types: draft.types })} /> <span>The example model</span>
                    <span class="quiet">{data.example.format}{data.example.size_bytes !== null ? `, ${bytes(data.example.size_bytes)}` : ''}</span></label></li>}
                {data?.entries.map((e) => (
                    <li key={e.path}>{e.kind === 'folder'
                        ? <button type="button" class="entry" onClick={() => open(e.path)}><span aria-hidden="true">▸</span> <span>{e.name}</span></button>
                        : <label class="entry"><input type="radio" name="model" checked={draft.model === e.path} onChange={() => change({ model: e.path, kind: 'local', name: lastPart(e.path) })} /> <span>{e.name}</span>
                            <span class="quiet">{e.format}{e.size_bytes !== null ? `, ${bytes(e.size_bytes)}` : ''}</span></label>}</li>
                ))}</ul>
        </div>
    );
}

const kinds: [Kind, string][] = [['local', 'On this server'], ['huggingface', 'From the hub'], ['upload', 'Upload a file']];

export function ModelStep({ draft, change }: Props) {
    const [kind, setKind] = useState<Kind>(draft.kind);
    const View = kind === 'local' ? Local : kind === 'huggingface' ? Hub : Uploads;
    return (
        <>
            <fieldset class="choice"><legend class="unseen">Where the model is</legend>
                {kinds.map(([k, title]) => <label key={k} class={kind === k ? 'on' : ''}><input type="radio" name="kind" checked={kind === k} onChange={() => setKind(k)} /> {title}</label>)}
            </fieldset>
            <View draft={draft} change={change} />
        </>
    );
}
