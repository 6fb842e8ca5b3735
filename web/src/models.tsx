// The registry: what was made, of which model, how good it is, and where to get it.
import { useEffect, useRef, useState } from 'preact/hooks';
import { get, patch, query, remove } from './api';
import { bytes, count, fixed, when } from './format';
import { listen } from './live';
import { QualityPlot } from './quality';
import { go, href, replaceQuery, type Route } from './route';
import { Confirm, Copyable, Pager, ProblemNote, Title, Types, useAction, useLoad } from './ui';

export interface Variant {
    id: string; job_id: string | null; name: string; format: string; quant_type: string; file_size: number | null; bits_per_weight: number | null;
    perplexity: number | null; kld: number | null; top1_agreement: number | null; relative_rmse: number | null; sha256: string | null; url: string | null;
    run_memory: { ctx: number; with_margin_bytes: number } | null; quality: Record<string, unknown> | null; created_at: string;
}
export interface Model {
    id: string; name: string; source_model: string; source_type: string; source_revision: string | null; architecture: string | null; parameters: number | null;
    tags: string[]; created_at: string; updated_at: string; variants: Variant[];
}
interface ModelList { models: Model[]; total: number; next_cursor: string | null }

const limit = 20;

function Tags({ model, onChanged }: { model: Model; onChanged: () => void }) {
    const [text, setText] = useState('');
    const save = useAction(async (tags: string[]) => {
        await patch(`/models/${model.id}`, { tags });
        setText('');
        onChanged();
    });
    const add = (e: Event) => {
        e.preventDefault();
        const tag = text.trim();
        if (tag && !model.tags.includes(tag)) save.run([...model.tags, tag]);
    };
    return (
        <div class="tags">
            <ul aria-label="Tags">{model.tags.map((t) => (
                <li key={t} class="tag">{t}<button type="button" class="quiet" disabled={save.busy} aria-label={`Remove tag ${t}`} onClick={() => save.run(model.tags.filter((x) => x !== t))}>×</button></li>
            ))}</ul>
            <form onSubmit={add}><label><span class="unseen">New tag</span><input type="text" maxLength={64} placeholder="add a tag" value={text} onInput={(e) => setText(e.currentTarget.value)} /></label></form>
            <ProblemNote problem={save.problem} />
        </div>
    );
}

// Tokens a second as `measure` found them, where it did.
function speedOf(v: Variant): number | null {
    const n = v.quality?.tokens_per_second;
    return typeof n === 'number' ? n : null;
}

export function VariantTable({ rows, onDelete }: { rows: { variant: Variant; model?: Model }[]; onDelete?: (v: Variant) => void }) {
    const measured = rows.some(({ variant: v }) => v.perplexity !== null || v.kld !== null), speed = rows.some(({ variant: v }) => speedOf(v) !== null);
    return (
        <div class="scroll" tabIndex={0} role="region" aria-label="Files">
            <table>
                <thead><tr>{rows.some((r) => r.model) && <th>model</th>}<th>file</th><th>type</th><th class="n">size</th><th class="n">bits per weight</th><th class="n">memory to run</th><th class="n">error</th>
                    {measured && <><th class="n">perplexity</th><th class="n">KL divergence</th><th class="n">same token</th></>}{speed && <th class="n">tokens/s</th>}<th>SHA-256</th>{onDelete && <th><span class="unseen">Delete</span></th>}</tr></thead>
                <tbody>{rows.map(({ variant: v, model }) => (
                    <tr key={v.id}>
                        {model && <td><a href={href('models', model.id)}>{model.name}</a></td>}
                        <th scope="row">{v.url ? <a href={v.url} download>{v.name}</a> : v.name}</th>
                        <td><code>{v.quant_type}</code></td><td class="n">{bytes(v.file_size)}</td><td class="n">{fixed(v.bits_per_weight, 2)}</td>
                        <td class="n">{v.run_memory ? bytes(v.run_memory.with_margin_bytes) : '–'}</td><td class="n">{fixed(v.relative_rmse, 4)}</td>
                        {measured && <><td class="n">{fixed(v.perplexity, 3)}</td><td class="n">{fixed(v.kld, 5)}</td><td class="n">{v.top1_agreement === null ? '–' : `${(100 * v.top1_agreement).toFixed(2)} %`}</td></>}
                        {speed && <td class="n">{fixed(speedOf(v), 0)}</td>}
                        <td>{v.sha256 && <Copyable text={v.sha256} label={`SHA-256 of ${v.name}`} />}</td>
                        {onDelete && <td><button type="button" class="quiet" onClick={() => onDelete(v)} aria-label={`Delete ${v.name}`}>delete</button></td>}
                    </tr>
                ))}</tbody>
            </table>
        </div>
    );
}

const plotted = (rows: { variant: Variant; model?: Model }[], several: boolean) =>
    rows.map(({ variant: v, model }) => ({ ...v, speed: speedOf(v), name: several && model ? `${model.name} ${v.quant_type}` : v.quant_type }));

export function ModelView({ id }: { id: string }) {
    const { data: model, problem, reload } = useLoad<Model>(id, (signal) => get(`/models/${encodeURIComponent(id)}`, signal));
    const [going, setGoing] = useState<Variant | 'model'>();
    const forget = useAction(async () => {
        await remove(going === 'model' ? `/models/${id}` : `/models/${id}/variants/${(going as Variant).id}`);
        setGoing(undefined);
        if (going === 'model' || model?.variants.length === 1) go('models');
        else reload();
    });
    if (!model) return <section aria-busy={!problem}><Title>Model</Title><ProblemNote problem={problem}><p><a href="#/models">To the models</a></p></ProblemNote></section>;
    const rows = model.variants.map((variant) => ({ variant }));
    const files = going === 'model' ? model.variants : going ? [going] : [];
    return (
        <section>
            <p class="trail"><a href="#/models">Models</a> /</p>
            <header class="head"><Title>{model.name}</Title><p class="quiet">{model.architecture}{model.parameters ? `, ${count(model.parameters)} weights` : ''}</p>
                <div class="buttons"><button type="button" onClick={() => setGoing('model')}>Delete…</button></div></header>
            <p class="from quiet">{model.source_model}{model.source_revision ? ` @${model.source_revision.slice(0, 12)}` : ''}, {when(model.updated_at)}</p>
            <Tags model={model} onChanged={reload} />
            <h2>Files</h2>
            <VariantTable rows={rows} onDelete={setGoing} />
            <QualityPlot files={plotted(rows, false)} />
            <Confirm open={going !== undefined} title={going === 'model' ? 'Delete this model?' : 'Delete this file?'} action="Delete" busy={forget.busy} problem={forget.problem} onClose={() => setGoing(undefined)} onConfirm={() => forget.run()}>
                <p>{files.length} {files.length === 1 ? 'file goes' : 'files go'} from the server's disk, {bytes(files.reduce((n, v) => n + (v.file_size ?? 0), 0))}.</p>
                <ul>{files.map((v) => <li key={v.id}><code>{v.name}</code></li>)}</ul>
            </Confirm>
        </section>
    );
}

export function Compare({ route }: { route: Route }) {
    const ids = (route.query.get('models') ?? '').split(',').filter(Boolean);
    const { data, problem } = useLoad<Model[]>(ids.join(), (signal) => Promise.all(ids.map((id) => get<Model>(`/models/${encodeURIComponent(id)}`, signal))));
    const rows = (data ?? []).flatMap((model) => model.variants.map((variant) => ({ variant, model }))).sort((a, b) => (a.variant.file_size ?? 0) - (b.variant.file_size ?? 0));
    return (
        <section aria-busy={!data && !problem}>
            <p class="trail"><a href="#/models">Models</a> /</p>
            <Title>Compare</Title>
            <ProblemNote problem={problem} />
            {rows.length > 0 && <><QualityPlot files={plotted(rows, ids.length > 1)} /><VariantTable rows={rows} /></>}
        </section>
    );
}

export function Models({ route }: { route: Route }) {
    const q = route.query, offset = Number(q.get('offset') ?? 0) || 0;
    const search = query({ limit, offset, search: q.get('search'), tag: q.get('tag') });
    const { data, problem, loading, reload } = useLoad<ModelList>(search, (signal) => get(`/models${search}`, signal));
    const [chosen, choose] = useState<string[]>([]);
    const [text, setText] = useState(q.get('search') ?? '');
    const timer = useRef(0);
    useEffect(() => listen((e) => (e.kind === 'resync' || (e.kind === 'job' && e.job.status === 'completed')) && reload()), [reload]);
    const change = (name: string, value: string) => {
        const next = new URLSearchParams(q);
        if (value) next.set(name, value);
        else next.delete(name);
        if (name !== 'offset') next.delete('offset');
        replaceQuery(next);
    };
    const typed = (value: string) => {
        setText(value);
        clearTimeout(timer.current);
        timer.current = setTimeout(() => change('search', value.trim()), 250) as unknown as number;
    };
    const tag = q.get('tag');
    return (
        <section aria-busy={loading}>
            <header class="head"><Title>Models</Title><p class="quiet">{data ? `${data.total} in all` : ' '}</p>
                <div class="buttons"><a class={chosen.length ? 'button' : 'button off'} aria-disabled={chosen.length === 0} href={chosen.length ? `${href('compare')}?models=${chosen.join(',')}` : undefined}>Compare {chosen.length || ''}</a></div></header>
            <form class="filters" role="search" onSubmit={(e) => e.preventDefault()}>
                <label class="grow"><span class="unseen">Search models</span><input type="search" placeholder="Search names" value={text} onInput={(e) => typed(e.currentTarget.value)} /></label>
                {tag && <button type="button" onClick={() => change('tag', '')}>tag: {tag} ×</button>}
            </form>
            <ProblemNote problem={problem} />
            {data && data.models.length === 0 && <p class="empty">{search.includes('search') || tag ? 'No model matches.' : 'Nothing has been published yet: finished jobs put their files here.'}</p>}
            <ul class="models">{data?.models.map((m) => (
                <li key={m.id}>
                    <input type="checkbox" aria-label={`Compare ${m.name}`} checked={chosen.includes(m.id)} onChange={(e) => choose(e.currentTarget.checked ? [...chosen, m.id] : chosen.filter((x) => x !== m.id))} />
                    <div><h2><a href={href('models', m.id)}>{m.name}</a></h2>
                        <p class="quiet">{m.architecture}{m.parameters ? `, ${count(m.parameters)} weights` : ''} · {m.source_model}</p>
                        {m.tags.length > 0 && <p>{m.tags.map((t) => <button key={t} type="button" class="tag link" onClick={() => change('tag', t)}>{t}</button>)}</p>}</div>
                    <Types names={m.variants.map((v) => v.quant_type)} />
                    <span class="numbers">{bytes(m.variants.reduce((n, v) => n + (v.file_size ?? 0), 0))}<span class="quiet">{when(m.updated_at)}</span></span>
                </li>
            ))}</ul>
            {data && <Pager offset={offset} limit={limit} total={data.total} onMove={(o) => change('offset', o ? String(o) : '')} />}
        </section>
    );
}
