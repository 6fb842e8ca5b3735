// The registry: what was made, of which model, how good it is, and where to get it.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { get, patch, query, remove, type OutputFile } from './api';
import { amount, bytes, count, fixed, when } from './format';
import { listen } from './live';
import { figure, isMeasured, MeasuredOn, QualityCells, QualityHead, QualityLayers, QualityPlot, withError, type Measured, type Quality } from './quality';
import { go, href, replaceQuery, type Route } from './route';
import { tryHref, TryLink, usual } from './try/link';
import { Confirm, Copyable, FolderFiles, Pager, ProblemNote, Title, Types, useAction, useLoad } from './ui';

export interface Variant {
    id: string; job_id: string | null; name: string; format: string; quant_type: string; file_size: number | null; bits_per_weight: number | null;
    perplexity: number | null; kld: number | null; top1_agreement: number | null; relative_rmse: number | null; sha256: string | null; url: string | null;
    run_memory: { ctx: number; with_margin_bytes: number } | null; quality: Quality | null; created_at: string;
    job_name: string | null; importance: string | null; files: OutputFile[] | null;
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

// A file of the registry: several jobs may have made the same bytes, which are one file with several origins.
export interface Row { variant: Variant; copies: Variant[]; model?: Model }

export function merge(variants: Variant[], model?: Model): Row[] {
    const rows = new Map<string, Row>();
    for (const v of variants) {
        const key = v.sha256 ? `${v.quant_type} ${v.sha256}` : v.id, row = rows.get(key);
        if (!row) rows.set(key, model ? { variant: v, copies: [v], model } : { variant: v, copies: [v] });
        else {
            row.copies.push(v);
            // the copy that was measured speaks for all of them
            if (!isMeasured(row.variant) && isMeasured(v)) row.variant = v;
        }
    }
    return [...rows.values()];
}

function Origins({ copies }: { copies: Variant[] }) {
    const importance = copies.find((v) => v.importance)?.importance;
    return (
        <ul class="origins">
            <li>{importance ? <>importance: {importance === 'default' ? 'the built-in text' : importance}</> : 'no importance'}</li>
            {copies.map((v) => <li key={v.id}>{v.job_id && v.job_name ? <a href={href('jobs', v.job_id)}>{v.job_name}</a> : 'job deleted'}, <time dateTime={v.created_at}>{when(v.created_at)}</time></li>)}
            {copies.length > 1 && <li>{copies.length} jobs made the same bytes</li>}
        </ul>
    );
}

export function VariantTable({ rows, onDelete }: { rows: Row[]; onDelete?: (row: Row) => void }) {
    const measured = rows.some(({ variant: v }) => isMeasured(v)), speed = rows.some(({ variant: v }) => v.quality?.tokens_per_second);
    const references = new Map(rows.flatMap(({ variant: v, model }) => (v.quality?.reference ? [[model?.id ?? '', v.quality.reference] as const] : [])));
    const several = rows.some((r) => r.model);
    return (
        <>
            <div class="scroll" tabIndex={0} role="region" aria-label="Files">
                <table class="files">
                    <thead><tr><th>file</th><th>type</th><th class="n">size</th><th class="n">memory to run</th>{measured && <QualityHead />}<th class="n">weight error</th>{speed && <th class="n">tokens/s</th>}<th>SHA-256</th>{onDelete && <th><span class="unseen">Delete</span></th>}</tr></thead>
                    <tbody>
                        {measured && [...references].map(([id, r]) => (
                            <tr key={id} class="reference"><th scope="row">{r.label} <small class="quiet">reference</small></th><td><code>{r.type.toUpperCase()}</code></td><td class="n">{bytes(r.size_bytes)}<small class="under">{fixed(r.bpw, 2)} bits per weight</small></td><td />
                                <td class="n">0</td><td class="n">100 %</td><td class="n">{withError(r.perplexity, r.perplexity_error)}</td><td class="n">0</td>{speed && <td />}<td />{onDelete && <td />}</tr>
                        ))}
                        {rows.map((row) => {
                            const { variant: v, copies, model } = row;
                            return (
                                <tr key={v.id}>
                                    <th scope="row">{v.url ? <a href={v.url} download>{v.name}</a> : v.name} <TryLink variant={v.id} name={v.name} format={v.format} />{v.files && <FolderFiles files={v.files} />}{several && model && <span class="of">of <a href={href('models', model.id)}>{model.name}</a></span>}<Origins copies={copies} /></th>
                                    <td><code>{v.quant_type}</code></td>
                                    <td class="n">{bytes(v.file_size)}<small class="under">{fixed(v.bits_per_weight, 2)} bits per weight</small></td>
                                    <td class="n">{v.run_memory ? <>{bytes(v.run_memory.with_margin_bytes)}<small class="under">{count(v.run_memory.ctx)} tokens of context</small></> : '–'}</td>
                                    {measured && <QualityCells of={v} />}<td class="n">{figure(v.relative_rmse)}</td>
                                    {speed && <td class="n">{v.quality?.tokens_per_second ? fixed(v.quality.tokens_per_second, 0) : '–'}</td>}
                                    <td>{v.sha256 && <Copyable text={v.sha256} label={`SHA-256 of ${v.name}`} />}</td>
                                    {onDelete && <td><button type="button" class="quiet" onClick={() => onDelete(row)} aria-label={`Delete ${v.name}`}>Delete</button></td>}
                                </tr>
                            );
                        })}
                    </tbody>
                </table>
            </div>
            <MeasuredOn files={rows.map((r) => r.variant)} />
        </>
    );
}

// As the plots take them: named by their type, and by their model where there are several.
function plotted(rows: Row[], several: boolean): { files: Measured[]; groups: Map<string, number> } {
    const models = [...new Set(rows.map((r) => r.model?.id))];
    return {
        files: rows.map(({ variant: v, model }) => ({ ...v, name: several && model ? `${model.name} ${v.quant_type}` : v.quant_type })),
        groups: new Map(rows.map((r) => [r.variant.id, models.indexOf(r.model?.id)])),
    };
}

const modelLine = (m: Model) => [m.architecture, m.parameters ? `${count(m.parameters)} parameters` : null].filter(Boolean).join(', ');
const sizeOf = (variants: Variant[]) => variants.reduce((n, v) => n + (v.file_size ?? 0), 0);

export function ModelView({ id }: { id: string }) {
    const { data: model, problem, reload } = useLoad<Model>(id, (signal) => get(`/models/${encodeURIComponent(id)}`, signal));
    const [going, setGoing] = useState<Variant[]>();
    const whole = going?.length === model?.variants.length;
    const forget = useAction(async () => {
        if (whole) await remove(`/models/${id}`);
        else for (const v of going ?? []) await remove(`/models/${id}/variants/${v.id}`);
        setGoing(undefined);
        if (whole) go('models');
        else reload();
    });
    const rows = useMemo(() => merge(model?.variants ?? []), [model]);
    const { files } = useMemo(() => plotted(rows, false), [rows]);
    if (!model) return <section aria-busy={!problem}><Title>Model</Title><ProblemNote problem={problem}><p><a href="#/models">To the models</a></p></ProblemNote></section>;
    const n = going?.length ?? 0, two = rows.map((r) => r.variant).filter((v) => usual([v])), one = usual(two);
    return (
        <section>
            <p class="trail"><a href="#/models">Models</a> /</p>
            <header class="head"><Title>{model.name}</Title><p class="quiet">{modelLine(model)}</p>
                <div class="buttons">{one && <a class="button" href={tryHref(one.id)}>Try</a>}
                    {two.length > 1 && <a class="button" href={tryHref(two[two.length - 1]!.id, two[0]!.id)}>Try largest beside smallest</a>}
                    <button type="button" onClick={() => setGoing(model.variants)}>Delete…</button></div></header>
            <p class="from quiet">From {model.source_model}{model.source_revision ? ` @${model.source_revision.slice(0, 12)}` : ''}. Changed {when(model.updated_at)}.</p>
            <Tags model={model} onChanged={reload} />
            <h2>Files</h2>
            <VariantTable rows={rows} onDelete={(row) => setGoing(row.copies)} />
            <QualityPlot files={files} />
            <QualityLayers files={files} />
            <Confirm open={going !== undefined} title={whole ? 'Delete this model?' : 'Delete this file?'} action="Delete" busy={forget.busy} problem={forget.problem} onClose={() => setGoing(undefined)} onConfirm={() => forget.run()}>
                <p>This frees {bytes(sizeOf(going ?? []))}{n > 1 ? ` in ${n} files` : ''}.</p>
                <ul>{(going ?? []).map((v) => <li key={v.id}><code>{v.name}</code>{n > 1 && v.job_name && <span class="quiet"> of job {v.job_name}</span>}</li>)}</ul>
            </Confirm>
        </section>
    );
}

export function Compare({ route }: { route: Route }) {
    const ids = (route.query.get('models') ?? '').split(',').filter(Boolean);
    const { data, problem } = useLoad<Model[]>(ids.join(), (signal) => Promise.all(ids.map((id) => get<Model>(`/models/${encodeURIComponent(id)}`, signal))));
    const rows = useMemo(() => (data ?? []).flatMap((model) => merge(model.variants, model)).sort((a, b) => (a.variant.file_size ?? 0) - (b.variant.file_size ?? 0)), [data]);
    const { files, groups } = useMemo(() => plotted(rows, (data?.length ?? 0) > 1), [rows, data]);
    const two = (data ?? []).flatMap((m) => usual(m.variants) ?? []);
    return (
        <section aria-busy={!data && !problem}>
            <p class="trail"><a href="#/models">Models</a> /</p>
            <header class="head"><Title>Compare</Title>{two.length > 1 && <div class="buttons"><a class="button" href={tryHref(two[0]!.id, two[1]!.id)}>Try {two.length > 2 ? 'the first two ' : ''}side by side</a></div>}</header>
            <ProblemNote problem={problem} />
            {ids.length === 0 && <p class="empty">Choose two or more models in the <a href="#/models">list of models</a>, then press Compare.</p>}
            {data && data.length > 1 && <ul class="legend keys" aria-label="Models">{data.map((m, i) => <li key={m.id}><svg width="12" height="12" aria-hidden="true"><g class={`point s${i % 6}`}><circle cx="6" cy="6" r="4.5" /></g></svg> <a href={href('models', m.id)}>{m.name}</a></li>)}</ul>}
            {rows.length > 0 && <><QualityPlot files={files} groups={groups} /><h2>Files</h2><VariantTable rows={rows} /><QualityLayers files={files} /></>}
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
            <header class="head"><Title>Models</Title><p class="quiet">{data ? amount(data.total, 'model', search.includes('search=') || Boolean(q.get('tag'))) : ' '}</p>
                <div class="buttons"><a class={chosen.length ? 'button' : 'button off'} aria-disabled={chosen.length === 0} href={chosen.length ? `${href('compare')}?models=${chosen.join(',')}` : undefined}>Compare {chosen.length || ''}</a></div></header>
            <form class="filters" role="search" onSubmit={(e) => e.preventDefault()}>
                <label class="grow"><span class="unseen">Search models</span><input type="search" placeholder="Search names" value={text} onInput={(e) => typed(e.currentTarget.value)} /></label>
                {tag && <button type="button" onClick={() => change('tag', '')}>tag: {tag} ×</button>}
            </form>
            <ProblemNote problem={problem} />
            {data && data.models.length === 0 && <p class="empty">{search.includes('search') || tag ? 'No model matches.' : <>No models yet. The files of completed jobs appear here. <a href={href('new')}>Quantize a model</a></>}</p>}
            <ul class="models">{data?.models.map((m) => (
                <li key={m.id}>
                    <input type="checkbox" aria-label={`Compare ${m.name}`} checked={chosen.includes(m.id)} onChange={(e) => choose(e.currentTarget.checked ? [...chosen, m.id] : chosen.filter((x) => x !== m.id))} />
                    <div><h2><a href={href('models', m.id)}>{m.name}</a></h2>
                        <p class="quiet">{modelLine(m)} · {m.source_model}{usual(m.variants) && <> · <a href={tryHref(usual(m.variants)!.id)} aria-label={`Try ${m.name}`}>Try</a></>}</p>
                        {m.tags.length > 0 && <p>{m.tags.map((t) => <button key={t} type="button" class="tag link" onClick={() => change('tag', t)}>{t}</button>)}</p>}</div>
                    <Types names={[...new Set(m.variants.map((v) => v.quant_type))]} />
                    <span class="numbers">{bytes(sizeOf(m.variants))}<span class="quiet">{when(m.updated_at)}</span></span>
                </li>
            ))}</ul>
            {data && <Pager offset={offset} limit={limit} total={data.total} onMove={(o) => change('offset', o ? String(o) : '')} />}
        </section>
    );
}
