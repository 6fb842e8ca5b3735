// One job: where it stands, what it makes, what was said, and what can be done about it.
import { useEffect, useRef, useState } from 'preact/hooks';
import { base, get, patch, post, remove, type Job, type Output } from './api';
import { Field, type Tensor } from './dots';
import { between, bytes, count, duration, fixed, percent, rate, when } from './format';
import { listen } from './live';
import { QualityPlot } from './quality';
import { go } from './route';
import { useTensors, type TensorRow } from './tensors';
import { active, Announce, Confirm, Copyable, ProblemNote, running, StatusWord, Title, Types, useAction, useLoad } from './ui';

const steps = ['queued', 'downloading', 'preparing', 'quantizing', 'verifying', 'measuring', 'completed'] as const;

// The states that this job goes through, in order.
function stepsOf(job: Job) {
    return steps.filter((s) => (s !== 'downloading' || job.source_type === 'huggingface') && (s !== 'measuring' || job.config?.measure === true));
}

function Timeline({ job }: { job: Job }) {
    const list = stepsOf(job), at = list.indexOf(job.status as (typeof list)[number]);
    const ended = at < 0;
    return (
        <ol class="timeline" aria-label="Steps">
            {list.map((s, i) => {
                const state = ended ? 'later' : i < at || job.status === 'completed' ? 'past' : i === at ? 'now' : 'later';
                return <li key={s} class={state} aria-current={state === 'now' ? 'step' : undefined}>{s}</li>;
            })}
            {ended && <li class={job.status}>{job.status}</li>}
        </ol>
    );
}

function Picture({ job, tensors }: { job: Job; tensors: Tensor[] | undefined }) {
    const box = useRef<HTMLDivElement>(null);
    const [width, setWidth] = useState(0);
    useEffect(() => {
        const watch = new ResizeObserver(() => setWidth(Math.floor(box.current?.clientWidth ?? 0)));
        if (box.current) watch.observe(box.current);
        return () => watch.disconnect();
    }, []);
    return <div class="canvas" ref={box}>{width > 0 && <Field job={job} tensors={tensors} width={width} height={240} pitch={22} />}</div>;
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
        ['types', <Types names={job.gguf_quant_types} />],
        ['created', when(job.created_at)],
        ['took', job.started_at ? duration(between(job.started_at, job.completed_at)) : '–'],
        ['attempt', job.attempt > 0 ? String(job.attempt) : '–'],
    ];
    if (job.estimated_disk_gb !== null) facts.push(['disk', bytes(job.estimated_disk_gb * 1e9)]);
    return <dl class="facts">{facts.map(([k, v]) => <div key={k}><dt>{k}</dt><dd>{v}</dd></div>)}</dl>;
}

function OutputRow({ o, measured }: { o: Output; measured: boolean }) {
    return (
        <tr>
            <th scope="row">{o.url ? <a href={o.url} download>{o.name}</a> : o.name}{o.error && <p class="wrong">{o.error}</p>}</th>
            <td><code>{o.quant_type}</code></td>
            <td class="n">{bytes(o.file_size)}</td>
            <td class="n">{fixed(o.bits_per_weight, 2)}</td>
            <td class="n">{fixed(o.relative_rmse, 4)}</td>
            {measured && <><td class="n">{fixed(o.perplexity, 3)}</td><td class="n">{fixed(o.kld, 5)}</td><td class="n">{o.top1_agreement === null ? '–' : `${(100 * o.top1_agreement).toFixed(2)} %`}</td></>}
            <td>{o.sha256 ? <Copyable text={o.sha256} label={`SHA-256 of ${o.name}`} /> : <span class="quiet">{o.status}</span>}</td>
        </tr>
    );
}

function Outputs({ job }: { job: Job }) {
    const measured = job.outputs.some((o) => o.perplexity !== null || o.kld !== null);
    return (
        <>
            <h2>Outputs</h2>
            <div class="scroll" tabIndex={0} role="region" aria-label="Outputs">
                <table class="outputs">
                    <thead><tr><th>file</th><th>type</th><th class="n">size</th><th class="n">bits per weight</th><th class="n">error</th>
                        {measured && <><th class="n">perplexity</th><th class="n">KL divergence</th><th class="n">same token</th></>}<th>SHA-256</th></tr></thead>
                    <tbody>{job.outputs.map((o) => <OutputRow key={o.id} o={o} measured={measured} />)}</tbody>
                </table>
            </div>
            <QualityPlot files={job.outputs.map((o) => ({ ...o, name: o.quant_type }))} />
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
                            <th scope="row"><code>{t.name}</code></th><td class="n">{t.shape.join(' × ')}</td><td><code>{t.source_type}</code></td>
                            {types.map((type) => {
                                const o = t.outputs[type];
                                return <><td><code>{o?.type ?? '–'}</code></td><td class="n">{o ? (o.relative_rmse !== null && o.relative_rmse !== undefined ? fixed(o.relative_rmse, 4) : bytes(o.bytes)) : '–'}</td></>;
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
            {lines.length === 0 ? <p class="quiet">Nothing yet.</p>
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
                <p>Its row and its log go. Files that it made stay under Models.</p>
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
    const tensors = useTensors(job ? [job] : []).get(id);
    if (!job) return <section aria-busy={!problem}><Title>Job</Title><ProblemNote problem={problem}><p><a href="#/jobs">To the jobs</a></p></ProblemNote></section>;
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
            <Picture job={job} tensors={tensors} />
            <Now job={job} />
            {job.error && <div class="note bad" role="alert"><strong>{job.error}</strong>{job.error_advice && <p>{job.error_advice}</p>}</div>}
            <Timeline job={job} />
            <Facts job={job} />
            <Outputs job={job} />
            {tensors && <TensorTable tensors={tensors as TensorRow[]} types={job.gguf_quant_types} />}
            {job.command && <><h2>The same on the command line</h2><Copyable text={job.command} label="command" block /></>}
            <Log job={job} />
            <p class="quiet end">API: <a href={`${base}/quantize/jobs/${job.id}`}>{`${base}/quantize/jobs/${job.id}`}</a>{tensors ? `, ${count(tensors.length)} tensors` : ''}</p>
        </section>
    );
}
