// The list of jobs.
import { useEffect, useRef, useState } from 'preact/hooks';
import { get, post, query, typesOf, type Job, type JobList } from './api';
import { Field, type Tensor } from './dots';
import { amount, bytes, duration, percent, rate, when, between } from './format';
import { listen } from './live';
import { href, replaceQuery, type Route } from './route';
import { useTensors } from './tensors';
import { lastPart } from './wizard/draft';
import { TryExample } from './wizard/example';
import { active, Announce, Pager, ProblemNote, running, StatusWord, Title, Types, useAction, useLoad } from './ui';

const limit = 20;
const statuses = ['queued', 'downloading', 'preparing', 'quantizing', 'measuring', 'verifying', 'completed', 'failed', 'cancelled'];
const sorts: [string, string][] = [['-created', 'newest first'], ['created', 'oldest first'], ['name', 'by name'], ['status', 'by status'], ['-progress', 'by progress']];

// What a running job says of itself, in one line.
export function LiveLine({ job }: { job: Job }) {
    const live = job.live;
    if (job.status === 'queued') return <span class="quiet">waiting for a worker</span>;
    if (!running(job.status)) return null;
    const what = live?.tensor || job.current_step || '';
    return <span class="now"><code>{what}</code></span>;
}

export function Numbers({ job }: { job: Job }) {
    const live = job.live;
    if (running(job.status)) return (
        <span class="numbers">
            <span class="big">{percent(job.progress)}<small> %</small></span>
            <span>{live && live.seconds_left >= 0 ? `${duration(live.seconds_left)} left` : ' '}</span>
            <span class="quiet">{live ? rate(live.rate, live.unit) : ''}</span>
        </span>
    );
    const size = job.outputs?.reduce((s, o) => s + (o.file_size ?? 0), 0);
    return (
        <span class="numbers">
            <span>{job.status === 'completed' ? `${job.completed_outputs} ${job.completed_outputs === 1 ? 'file' : 'files'}${size ? `, ${bytes(size)}` : ''}` : ''}</span>
            <span class="quiet">{job.completed_at && job.started_at ? `in ${duration(between(job.started_at, job.completed_at))}` : ''}</span>
        </span>
    );
}

function Row({ job, tensors, onChanged }: { job: Job; tensors: Tensor[] | undefined; onChanged: () => void }) {
    const act = useAction(async (what: string) => {
        await post(`/quantize/jobs/${job.id}/${what}`);
        onChanged();
    });
    return (
        <li class="job">
            <a class="picture" href={href('jobs', job.id)} tabIndex={-1} aria-hidden="true"><Field job={job} tensors={tensors} width={200} height={52} pitch={7} /></a>
            <div class="what">
                <h2><a href={href('jobs', job.id)}>{job.name}</a></h2>
                <p class="from"><span class="source" title={job.source_model}>{job.source_type === 'huggingface' ? job.source_model : lastPart(job.source_model)}</span> <span class="arrow" aria-label="to">→</span> <Types names={typesOf(job)} /></p>
                <p class="say">
                    <StatusWord status={job.status} /> <LiveLine job={job} />
                    {!active(job.status) && <time class="quiet" dateTime={job.completed_at ?? job.created_at}>{when(job.completed_at ?? job.created_at)}</time>}
                </p>
                {job.error && <p class="wrong">{job.error}</p>}
                <ProblemNote problem={act.problem} />
            </div>
            <Numbers job={job} />
            <div class="acts">
                {active(job.status) && <button type="button" disabled={act.busy} onClick={() => act.run('cancel')} aria-label={`Cancel ${job.name}`}>Cancel</button>}
                {(job.status === 'failed' || job.status === 'cancelled') && <button type="button" disabled={act.busy} onClick={() => act.run('retry')} aria-label={`Retry ${job.name}`}>Retry</button>}
            </div>
        </li>
    );
}

function Filters({ q, set }: { q: URLSearchParams; set: (name: string, value: string) => void }) {
    const [text, setText] = useState(q.get('search') ?? '');
    const timer = useRef(0);
    const typed = (value: string) => {
        setText(value);
        clearTimeout(timer.current);
        timer.current = setTimeout(() => set('search', value.trim()), 250) as unknown as number;
    };
    return (
        <form class="filters" role="search" onSubmit={(e) => e.preventDefault()}>
            <label class="grow"><span class="unseen">Search jobs</span>
                <input type="search" placeholder="Search names and models" value={text} onInput={(e) => typed(e.currentTarget.value)} /></label>
            <label><span class="unseen">Status</span>
                <select value={q.get('status') ?? ''} onChange={(e) => set('status', e.currentTarget.value)}>
                    <option value="">any status</option>
                    {statuses.map((s) => <option key={s} value={s}>{s}</option>)}
                </select></label>
            <label><span class="unseen">Order</span>
                <select value={q.get('sort') ?? '-created'} onChange={(e) => set('sort', e.currentTarget.value)}>
                    {sorts.map(([v, t]) => <option key={v} value={v}>{t}</option>)}
                </select></label>
        </form>
    );
}

function Empty({ filtered }: { filtered: boolean }) {
    if (filtered) return <p class="empty">No job matches. <a href="#/jobs">Show all jobs</a></p>;
    return (
        <div class="empty">
            <p>Nothing has been made here yet.</p>
            <p><a class="button primary" href={href('new')}>Quantize a model</a> <TryExample /></p>
        </div>
    );
}

export function Jobs({ route }: { route: Route }) {
    const q = route.query;
    const offset = Number(q.get('offset') ?? 0) || 0;
    const search = query({ limit, offset, status: q.get('status'), search: q.get('search'), sort: q.get('sort') ?? '-created' });
    const list = useLoad<JobList>(search, (signal) => get(`/quantize/jobs${search}`, signal));
    const { data, set, reload } = list;
    const latest = useRef(data);
    latest.current = data;
    useEffect(() => {
        // one subscription while the view is shown: a reload that an event has put off must survive the change that it makes
        let timer = 0;
        const soon = () => {
            clearTimeout(timer);
            timer = setTimeout(reload, 150) as unknown as number;
        };
        const stop = listen((e) => {
            const old = e.kind === 'job' ? latest.current?.jobs.find((j) => j.id === e.job.id) : undefined;
            if (e.kind !== 'job' || !old) return soon();
            set((l) => l && { ...l, jobs: l.jobs.map((j) => (j.id === e.job.id ? ({ ...j, ...e.job } as Job) : j)) });
            if (old.status !== e.job.status) soon(); // outputs and times come with the whole answer
        });
        return () => {
            clearTimeout(timer);
            stop();
        };
    }, [set, reload]);
    const tensors = useTensors(data?.jobs ?? []);
    const change = (name: string, value: string) => {
        const next = new URLSearchParams(q);
        if (value) next.set(name, value);
        else next.delete(name);
        if (name !== 'offset') next.delete('offset');
        replaceQuery(next);
    };
    const jobs = data?.jobs ?? [];
    const busy = jobs.filter((j) => running(j.status));
    const filtered = q.has('search') || q.has('status');
    const said = busy.length ? busy.map((j) => `${j.name}: ${j.status}, ${percent(j.progress)} %`).join('. ') : data ? amount(data.total, 'job') : '';
    return (
        <section aria-busy={list.loading}>
            <header class="head">
                <Title>Jobs</Title>
                <p class="quiet">{data ? amount(data.total, 'job', filtered) : ' '}</p>
                <a class="button primary" href={href('new')}>New job</a>
            </header>
            <Filters q={q} set={change} />
            <ProblemNote problem={list.problem} />
            <Announce text={said} />
            {data && jobs.length === 0 && <Empty filtered={filtered} />}
            <ul class="jobs">{jobs.map((j) => <Row key={j.id} job={j} tensors={tensors.get(j.id)} onChanged={reload} />)}</ul>
            {data && <Pager offset={offset} limit={limit} total={data.total} onMove={(o) => change('offset', o ? String(o) : '')} />}
        </section>
    );
}
