// The model hub: a full name is taken while it is typed, anything else is searched for.
import { useEffect, useState } from 'preact/hooks';
import { get, query, type HubModel, type Problem } from '../api';
import { bytes, count } from '../format';
import { ProblemNote, useLoad } from '../ui';
import type { Draft } from './draft';
import { useSettled } from './estimate';

interface Props { draft: Draft; change: (part: Partial<Draft>) => void }
interface Detail { id: string; revision: string; commit: string; files: { name: string; size?: number }[]; bytes: number; gated: boolean; license: string | null }

const fullName = /^[\w][\w.-]*\/[\w][\w.-]*(@[\w][\w./-]*)?(:[\w][\w./-]*\.gguf)?$/;
const repo = (id: string) => id.split(/[@:]/)[0]!;
const revision = (id: string) => /@([^:]+)/.exec(id)?.[1];
export const shortName = (id: string) => repo(id).split('/')[1] ?? id;

// No answer, or one that says that the hub was not reached: what the model is, nobody has said.
const unreachable = (p: Problem) => p.status === 0 || p.status >= 500 || /offline/i.test(p.detail);

function HubProblem({ problem, retry }: { problem: Problem | undefined; retry: () => void }) {
    if (!problem) return null;
    const again = <p><button type="button" onClick={retry}>Retry</button></p>;
    if (!unreachable(problem)) return <ProblemNote problem={problem}>{again}</ProblemNote>;
    return (
        <div class="note bad" role="alert">
            <strong>This server cannot reach the model hub.</strong>
            <p>It may be offline, or a proxy or firewall is in the way. A model that was downloaded before can still be used: type its full name, ORG/NAME.</p>
            {problem.detail && <p class="quiet">{problem.detail}</p>}
            {again}
        </div>
    );
}

// What would be fetched: the safetensors where there are some, else everything.
function weights(d: Detail): { bytes: number; what: string } {
    for (const end of ['.safetensors', '.gguf', '.bin']) {
        const files = d.files.filter((f) => f.name.endsWith(end) && f.size);
        if (files.length) return { bytes: files.reduce((n, f) => n + (f.size ?? 0), 0), what: `${files.length} ${end.slice(1)} ${files.length === 1 ? 'file' : 'files'}` };
    }
    return { bytes: d.bytes, what: 'no weights found' };
}

function Card({ id }: { id: string }) {
    const [org, name] = repo(id).split('/') as [string, string];
    const detail = useLoad<Detail>(id, (signal) => get(`/hub/models/${encodeURIComponent(org)}/${encodeURIComponent(name)}${query({ revision: revision(id) })}`, signal));
    const d = detail.data, size = d && weights(d);
    return (
        <section class="hub-card" aria-label={`Model ${id}`} aria-busy={detail.loading}>
            <h2>{id}</h2>
            <div aria-live="polite">
                {detail.loading && <p class="quiet">Asking the hub about this model (at most 30 s)</p>}
                {d && !detail.problem && <dl class="facts">
                    <div><dt>size of the weights</dt><dd>{bytes(size!.bytes)} <span class="quiet">{size!.what}</span></dd></div>
                    <div><dt>licence</dt><dd>{d.license ?? 'not stated'}</dd></div>
                    <div><dt>access</dt><dd>{d.gated ? 'gated' : 'open'}</dd></div>
                    <div><dt>commit</dt><dd><code>{d.commit.slice(0, 12)}</code></dd></div>
                </dl>}
                {d?.gated && <p class="note bad">Its terms must be accepted on the hub first. This server then needs the token of that account (<code>HF_TOKEN</code>).</p>}
            </div>
            {!detail.loading && <HubProblem problem={detail.problem} retry={detail.reload} />}
        </section>
    );
}

function Found({ words, draft, use }: { words: string; draft: Draft; use: (id: string) => void }) {
    const found = useLoad<{ models: HubModel[] }>(words, (signal) => get(`/hub/search${query({ q: words, limit: 20 })}`, signal));
    return (
        <div aria-live="polite">
            {found.loading && <p class="quiet">Searching the hub (at most 30 s)</p>}
            {!found.loading && <HubProblem problem={found.problem} retry={found.reload} />}
            {found.data && !found.loading && !found.problem && found.data.models.length === 0 && <p class="quiet">No model matches “{words}”.</p>}
            <ul class="entries" aria-busy={found.loading}>{found.data?.models.map((m) => (
                <li key={m.id}><label class="entry"><input type="radio" name="model" checked={draft.kind === 'huggingface' && draft.model === m.id} onChange={() => use(m.id)} /> <span>{m.id}</span>
                    <span class="quiet">{[m.downloads ? `${count(m.downloads)} downloads` : '', m.license ?? '', m.gated ? 'gated' : ''].filter(Boolean).join(', ')}</span></label></li>
            ))}</ul>
        </div>
    );
}

export function Hub({ draft, change }: Props) {
    const chosen = draft.kind === 'huggingface' ? draft.model : '';
    const [text, setText] = useState(chosen);
    const typed = text.trim(), settled = useSettled(typed, 500);
    const [now, ask] = useState<string>(); // the text for which Enter was pressed
    const asked = now === typed ? typed : settled;
    const use = (id: string) => change({ model: id, kind: 'huggingface', name: shortName(id) });
    useEffect(() => {
        if (fullName.test(typed) && typed !== chosen) use(typed);
        else if (typed && !fullName.test(typed) && chosen && chosen !== typed && typed.length < chosen.length && chosen.startsWith(typed)) change({ model: '' }); // being corrected
    }, [typed]);
    const words = fullName.test(asked) ? '' : asked;
    return (
        <div>
            <form class="filters" role="search" onSubmit={(e) => (e.preventDefault(), ask(typed))}>
                <label class="grow"><span class="unseen">Model on the hub</span>
                    <input type="search" placeholder="ORG/NAME, or words to search for" autocapitalize="off" autocomplete="off" spellcheck={false} value={text} onInput={(e) => setText(e.currentTarget.value)} /></label>
                <button type="submit" disabled={!typed}>Search</button>
            </form>
            {!typed && <p class="quiet">For example <code>Qwen/Qwen3-0.6B</code>, or <code>ORG/NAME@revision</code> for a branch, tag or commit.</p>}
            {chosen && (chosen === asked || !fullName.test(asked)) && <Card key={chosen} id={chosen} />}
            {words.length >= 2 && <Found words={words} draft={draft} use={use} />}
        </div>
    );
}
