// One job: its progress, its result, its files, its log, and what can be done with it.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { base, get, patch, post, remove, typesOf, type Job, type Output } from './api';
import { BudgetCurve } from './budget';
import { Field } from './dots';
import { between, bytes, duration, fixed, percent, rate, when } from './format';
import { listen } from './live';
import { TensorMap } from './map';
import type { Model } from './models';
import { useWidth } from './plot';
import { figure, isMeasured, MeasuredOn, QualityCells, QualityHead, QualityLayers, QualityPlot, withError, type Quality, type Reference } from './quality';
import { madeOf, pick, Result, saving, sourceBytes } from './result';
import { go } from './route';
import { TryLink } from './try/link';
import { budgetOf, useTensors, type TensorRow } from './tensors';
import { active, Announce, Confirm, Copyable, FolderFiles, ProblemNote, running, StatusWord, Title, Types, useAction, useLoad } from './ui';

const steps = ['queued', 'downloading', 'preparing', 'quantizing', 'verifying', 'measuring', 'completed'] as const;

// The states that this job goes through, in order.
function stepsOf(job: Job) {
    return steps.filter((s) => (s !== 'downloading' || job.source_type === 'huggingface') && (s !== 'measuring' || job.config?.measure === true));
}

function Timeline({ job }: { job: Job }) {
    const list = stepsOf(job), ended = job.status === 'failed' || job.status === 'cancelled';
    // where a job ended is one of its steps: those before it were done, those behind it never began
    const at = list.indexOf((ended ? job.ended_in ?? 'queued' : job.status) as (typeof list)[number]);
    return (
        <ol class="timeline" aria-label="Steps">
            {list.map((s, i) => {
                const state = i < at || job.status === 'completed' ? 'past' : i > at ? 'later' : ended ? job.status : 'now';
                return (
                    <li key={s} class={state} aria-current={i === at && job.status !== 'completed' ? 'step' : undefined}>
                        <span aria-hidden="true">{state === 'past' ? '✓ ' : state === 'failed' ? '✕ ' : state === 'cancelled' ? '– ' : ''}</span>{s}
                        {state === job.status && ended && <small>{job.status} here</small>}
                        {state === 'later' && <span class="unseen"> (not reached)</span>}
                    </li>
                );
            })}
        </ol>
    );
}

function Picture({ job, tensors, type, onType }: { job: Job; tensors: TensorRow[] | undefined; type: string; onType: (type: string) => void }) {
    const [box, width] = useWidth();
    if (tensors?.length && tensors[0]!.outputs) return <div class="canvas"><TensorMap job={job} tensors={tensors} type={type} onType={onType} /></div>;
    // a job that ended before it was planned has no tensors to show
    if (!active(job.status)) return null;
    return <div class="canvas" ref={box}>{width > 0 && <Field job={job} tensors={tensors} width={width} height={200} pitch={22} />}</div>;
}

function Now({ job }: { job: Job }) {
    const live = job.live;
    if (!running(job.status)) return null;
    return (
        <p class="nowline">
            <span class="big">{percent(job.progress)}<small> %</small></span>
            <code>{live?.tensor || job.current_step}</code>
            {live && <span class="quiet">{rate(live.rate, live.unit)}</span>}
            {live && live.seconds_left !== null && live.seconds_left >= 0 && <span>{duration(live.seconds_left)} left in this step</span>}
        </p>
    );
}

function Facts({ job }: { job: Job }) {
    const facts: [string, preact.ComponentChildren][] = [
        ['model', <>{job.source_model}{job.source_revision && <small class="quiet"> @{job.source_revision.slice(0, 12)}</small>}</>],
        ['types', <Types names={typesOf(job)} />],
        ['created', when(job.created_at)],
        [active(job.status) ? 'running for' : 'duration', job.started_at ? duration(between(job.started_at, job.completed_at)) : '–'],
    ];
    if (job.attempt > 1) facts.push(['attempts', String(job.attempt)]);
    if (job.estimated_disk_gb !== null) facts.push(['disk space', bytes(job.estimated_disk_gb * 1e9)]);
    return <dl class="facts">{facts.map(([k, v]) => <div key={k}><dt>{k}</dt><dd>{v}</dd></div>)}</dl>;
}

function OutputRow({ o, measured, source, variant }: { o: Output & { quality?: Quality | null }; measured: boolean; source: number | null; variant: string | undefined }) {
    return (
        <tr>
            <th scope="row">{o.url ? <a href={o.url} download>{o.name}</a> : o.name} <TryLink variant={variant} name={o.name} format={o.format} />{o.files && <FolderFiles files={o.files} />}{o.error && <p class="wrong">{o.error}</p>}</th>
            <td><code>{o.quant_type}</code></td>
            <td class="n">{bytes(o.file_size)}{o.file_size && source ? <small class="under">{saving(o.file_size, source)}</small> : null}</td>
            <td class="n">{fixed(o.bits_per_weight, 2)}</td>
            {measured && <QualityCells of={o} />}
            <td class="n">{figure(o.relative_rmse)}</td>
            <td>{o.sha256 ? <Copyable text={o.sha256} label={`SHA-256 of ${o.name}`} /> : <span class="quiet">{o.files ? 'of each file' : o.status}</span>}</td>
        </tr>
    );
}

function ReferenceRow({ reference: r }: { reference: Reference }) {
    return (
        <tr class="reference">
            <th scope="row">{r.label} <small class="quiet">reference</small></th><td><code>{r.type.toUpperCase()}</code></td><td class="n">{bytes(r.size_bytes)}</td><td class="n">{fixed(r.bpw, 2)}</td>
            <td class="n">0</td><td class="n">100 %</td><td class="n">{withError(r.perplexity, r.perplexity_error)}</td><td class="n">0</td><td />
        </tr>
    );
}

function Outputs({ job, quality, source, variants }: { job: Job; quality: Map<string, Quality>; source: number | null; variants: Map<string, string> }) {
    const files = useMemo(() => job.outputs.map((o) => ({ ...o, quality: quality.get(o.name) ?? null, run_memory: null })), [job.outputs, quality]);
    const plotted = useMemo(() => files.map((f) => ({ ...f, name: f.quant_type })), [files]);
    const measured = files.some(isMeasured), reference = files.find((f) => f.quality?.reference)?.quality?.reference;
    return (
        <>
            <h2>Files</h2>
            <div class="scroll" tabIndex={0} role="region" aria-label="Files">
                <table class="outputs">
                    <thead><tr><th>file</th><th>type</th><th class="n">size</th><th class="n">bits per weight</th>{measured && <QualityHead />}<th class="n">weight error</th><th>SHA-256</th></tr></thead>
                    <tbody>{measured && reference && <ReferenceRow reference={reference} />}{files.map((o) => <OutputRow key={o.id} o={o} measured={measured} source={source} variant={variants.get(o.name)} />)}</tbody>
                </table>
            </div>
            <MeasuredOn files={files} />
            <QualityPlot files={plotted} />
            <QualityLayers files={plotted} />
        </>
    );
}

function TensorTable({ tensors, types }: { tensors: TensorRow[]; types: string[] }) {
    const [open, setOpen] = useState(false);
    if (!tensors.length || !tensors[0]!.outputs) return null;
    return (
        <details class="tensors" onToggle={(e) => setOpen(e.currentTarget.open)}>
            <summary>Tensor by tensor ({tensors.length})</summary>
            {open && <div class="scroll" tabIndex={0} role="region" aria-label="Tensors">
                <table>
                    <thead><tr><th>tensor</th><th>shape</th><th>source</th>{types.map((t) => <th key={t} colSpan={2}>{t}</th>)}</tr></thead>
                    <tbody>{tensors.map((t) => (
                        <tr key={t.name}>
                            <th scope="row"><code>{t.name}</code></th><td class="n">{t.shape.join(' × ')}</td><td><code>{t.source_type?.toUpperCase()}</code></td>
                            {types.map((type) => {
                                const o = t.outputs[type];
                                return <><td><code>{o?.type?.toUpperCase() ?? '–'}</code></td><td class="n">{o ? (o.relative_rmse !== null && o.relative_rmse !== undefined ? figure(o.relative_rmse) : bytes(o.bytes)) : '–'}</td></>;
                            })}
                        </tr>
                    ))}</tbody>
                </table>
            </div>}
        </details>
    );
}

interface LogLine { id: number; time: string; level: string; line: string }

function Log({ job }: { job: Job }) {
    const [lines, setLines] = useState<LogLine[]>([]);
    const after = useRef(0);
    const live = active(job.status);
    useEffect(() => {
        let stop = false, timer = 0;
        const more = async () => {
            try {
                const log = await get<{ lines: LogLine[]; next_after: number }>(`/quantize/jobs/${job.id}/log?limit=200&after=${after.current}`);
                if (stop) return;
                if (log.lines.length) setLines((l) => [...l, ...log.lines].slice(-1000));
                after.current = log.next_after;
            } catch { /* the job's own request says what is wrong */ }
            if (!stop && live) timer = setTimeout(more, 2000) as unknown as number;
        };
        void more();
        return () => {
            stop = true;
            clearTimeout(timer);
        };
    }, [job.id, job.status, live]);
    return (
        <>
            <h2>Log</h2>
            {lines.length === 0 ? <p class="quiet">No lines yet.</p>
                : <ol class="log" tabIndex={0} aria-label="Log">{lines.map((l) => (
                    <li key={l.id} class={l.level}><time dateTime={l.time}>{l.time.slice(11, 19)}</time> {l.level !== 'info' && <strong>{l.level}</strong>} {l.line}</li>
                ))}</ol>}
        </>
    );
}

const priorities: [number, string][] = [[10, 'sooner'], [0, 'normal'], [-10, 'later']];

function Acts({ job, onChanged }: { job: Job; onChanged: () => void }) {
    const [asking, ask] = useState(false);
    const act = useAction(async (what: string) => {
        await post(`/quantize/jobs/${job.id}/${what}`);
        onChanged();
    });
    const order = useAction(async (priority: number) => {
        await patch(`/quantize/jobs/${job.id}`, { priority });
        onChanged();
    });
    const forget = useAction(async () => {
        await remove(`/quantize/jobs/${job.id}`);
        go('jobs');
    });
    const level = priorities.some(([p]) => p === job.priority) ? priorities : [...priorities, [job.priority, String(job.priority)] as [number, string]];
    return (
        <>
            <div class="buttons">
                {job.status === 'queued' && <label class="inline">Priority <select value={job.priority} disabled={order.busy} onChange={(e) => order.run(Number(e.currentTarget.value))}>
                    {level.map(([p, name]) => <option key={p} value={p}>{name}</option>)}
                </select></label>}
                {active(job.status) && <button type="button" disabled={act.busy} onClick={() => act.run('cancel')}>Cancel</button>}
                {(job.status === 'failed' || job.status === 'cancelled') && <button type="button" class="primary" disabled={act.busy} onClick={() => act.run('retry')}>Retry</button>}
                {!active(job.status) && <button type="button" onClick={() => ask(true)}>Delete…</button>}
            </div>
            <ProblemNote problem={act.problem ?? order.problem} />
            <Confirm open={asking} title="Delete this job?" action="Delete" busy={forget.busy} problem={forget.problem} onClose={() => ask(false)} onConfirm={() => forget.run()}>
                <p>This removes the job and its log. Its files stay under Models.</p>
            </Confirm>
        </>
    );
}

export function JobView({ id }: { id: string }) {
    const { data: job, problem, set, reload } = useLoad<Job>(id, (signal) => get(`/quantize/jobs/${encodeURIComponent(id)}`, signal));
    useEffect(() => listen((e) => {
        if (e.kind === 'resync') return reload();
        if (e.kind !== 'job' || e.job.id !== id) return;
        set((old) => {
            if (old && old.status !== e.job.status) reload(); // outputs and times come with the whole answer
            return old && ({ ...old, ...e.job } as Job);
        });
    }), [id, set, reload]);
    const tensors = useTensors(job ? [job] : []).get(id) as TensorRow[] | undefined;
    const { data: model } = useLoad<Model>(job?.model_id ?? null, (signal) => get(`/models/${encodeURIComponent(job?.model_id ?? '')}`, signal));
    const quality = useMemo(() => new Map((model?.variants ?? []).filter((v) => v.job_id === id && v.quality).map((v) => [v.name, v.quality!])), [model, id]);
    const variants = useMemo(() => new Map((model?.variants ?? []).filter((v) => v.job_id === id).map((v) => [v.name, v.id])), [model, id]);
    const [type, setType] = useState<string>();
    if (!job) return <section aria-busy={!problem}><Title>Job</Title><ProblemNote problem={problem}><p><a href="#/jobs">To the jobs</a></p></ProblemNote></section>;
    const source = sourceBytes(tensors), chosen = type ?? pick(madeOf(job))?.type ?? typesOf(job)[0] ?? '';
    return (
        <section>
            <p class="trail"><a href="#/jobs">Jobs</a> /</p>
            <header class="head">
                <Title>{job.name}</Title>
                <StatusWord status={job.status} />
                <Acts job={job} onChanged={reload} />
            </header>
            {job.description && <p class="description">{job.description}</p>}
            <ProblemNote problem={problem} />
            <Announce text={`${job.status}, ${percent(job.progress)} %`} />
            <Now job={job} />
            {job.error && <div class="note bad" role="alert"><strong>{job.error}</strong>{job.error_advice && <p>{job.error_advice}</p>}</div>}
            <Result job={job} tensors={tensors} quality={quality} variants={variants} type={type} onType={setType} />
            <Picture job={job} tensors={tensors} type={chosen} onType={setType} />
            <Timeline job={job} />
            <Facts job={job} />
            <Outputs job={job} quality={quality} source={source} variants={variants} />
            {job.status === 'completed' && budgetOf(id) && <BudgetCurve job={job} budget={budgetOf(id)!} />}
            {tensors && <TensorTable tensors={tensors} types={typesOf(job)} />}
            {job.command && <><h2>The same on the command line</h2><Copyable text={job.command} label="command" block /></>}
            <Log job={job} />
            <p class="quiet end">API: <a href={`${base}/quantize/jobs/${job.id}`}>{`${base}/quantize/jobs/${job.id}`}</a></p>
        </section>
    );
}
