// The machine: disk, memory, processor, cards, workers, versions.
import { useEffect } from 'preact/hooks';
import { get } from './api';
import { bytes, duration } from './format';
import { href } from './route';
import { ProblemNote, Title, useLoad } from './ui';

interface System {
    version: string; uptime_seconds: number; roots: string[]; versions: Record<string, string>;
    disk: { data_free_bytes: number; data_total_bytes: number; used_by_models_bytes: number; used_by_jobs_bytes: number; used_by_uploads_bytes: number };
    memory: { total_bytes: number; available_bytes: number; server_rss_bytes: number; job_limit_bytes: number | null };
    cpu: { name: string; levels: string[]; threads: number; load: number[] };
    gpus: { name: string; memory_total_bytes: number; memory_free_bytes: number; utilization: number | null }[];
    workers: { slots: number; running: number; queued: number; elsewhere: Worker[] };
}
interface Worker {
    id: string; name: string; version: string; slots: number; labels: string[]; seconds_silent: number; draining: boolean;
    machine: { cpu?: string; memory_bytes?: number; disk_free_bytes?: number; load?: number };
    tasks: { job_id: string; name: string; status: string; progress: number; attempt: number }[];
}

type Row = [string, preact.ComponentChildren];

function Group({ title, rows }: { title: string; rows: Row[] }) {
    return <div class="group"><h2>{title}</h2><dl class="facts">{rows.map(([k, v]) => <div key={k}><dt>{k}</dt><dd>{v}</dd></div>)}</dl></div>;
}

function Share({ used, total, label }: { used: number; total: number; label: string }) {
    return <meter min={0} max={total || 1} value={used} high={0.9 * total} aria-label={label}>{bytes(used)} of {bytes(total)}</meter>;
}

function Elsewhere({ workers }: { workers: Worker[] }) {
    return <div class="group"><h2>Workers on other machines</h2>
        <div class="scroll"><table><thead><tr><th scope="col">Name</th><th scope="col">Processor</th><th scope="col" class="n">Load</th><th scope="col" class="n">Memory</th><th scope="col" class="n">Disk free</th><th scope="col">Works on</th><th scope="col">Last word</th></tr></thead>
            <tbody>{workers.map((w) => <tr key={w.id}>
                <th scope="row">{w.name}{w.labels.length > 0 && <small class="under">{w.labels.join(', ')}</small>}</th><td>{w.machine.cpu}</td>
                <td class="n">{w.machine.load?.toFixed(1)}</td><td class="n">{w.machine.memory_bytes !== undefined && bytes(w.machine.memory_bytes)}</td>
                <td class="n">{w.machine.disk_free_bytes !== undefined && bytes(w.machine.disk_free_bytes)}</td>
                <td>{w.tasks.map((k) => <div key={k.job_id}><a href={href('jobs', k.job_id)}>{k.name}</a> <span class="quiet">{k.status}</span></div>)}{!w.tasks.length && <span class="quiet">{w.draining ? 'leaving' : `nothing; ${w.slots} at a time`}</span>}</td>
                <td>{duration(w.seconds_silent)} ago</td></tr>)}</tbody></table></div></div>;
}

export function SystemView() {
    const { data: s, problem, reload } = useLoad<System>('system', (signal) => get('/system', signal));
    useEffect(() => {
        const timer = setInterval(reload, 5000);
        return () => clearInterval(timer);
    }, [reload]);
    const used = s ? s.disk.data_total_bytes - s.disk.data_free_bytes : 0;
    const taken = s ? s.memory.total_bytes - s.memory.available_bytes : 0;
    return (
        <section>
            <header class="head"><Title>System</Title>{s && <p class="quiet">halftone {s.version}, up {duration(s.uptime_seconds)}</p>}</header>
            <ProblemNote problem={problem} />
            {s && <div class="groups">
                <Group title="Disk" rows={[
                    ['free', <>{bytes(s.disk.data_free_bytes)} <span class="quiet">of {bytes(s.disk.data_total_bytes)}</span><Share used={used} total={s.disk.data_total_bytes} label="Disk in use" /></>],
                    ['models', bytes(s.disk.used_by_models_bytes)], ['jobs', bytes(s.disk.used_by_jobs_bytes)], ['uploads', bytes(s.disk.used_by_uploads_bytes)]]} />
                <Group title="Memory" rows={[
                    ['available', <>{bytes(s.memory.available_bytes)} <span class="quiet">of {bytes(s.memory.total_bytes)}</span><Share used={taken} total={s.memory.total_bytes} label="Memory in use" /></>],
                    ['this service', bytes(s.memory.server_rss_bytes)], ['limit per job', s.memory.job_limit_bytes ? bytes(s.memory.job_limit_bytes) : 'none']]} />
                <Group title="Processor" rows={[['name', s.cpu.name], ['threads', String(s.cpu.threads)], ['instruction sets', <code>{s.cpu.levels.join(' ')}</code>], ['load', s.cpu.load.map((x) => x.toFixed(1)).join(', ') + ' (1, 5, 15 min)']]} />
                <Group title="Graphics cards" rows={s.gpus.length ? s.gpus.map((g): Row => [g.name, `${bytes(g.memory_free_bytes)} of ${bytes(g.memory_total_bytes)} free`]) : [['none', 'not needed: Halftone runs on the processor']]} />
                <Group title="Workers" rows={[['jobs at a time', String(s.workers.slots)], ['running', String(s.workers.running)], ['waiting', String(s.workers.queued)]]} />
                <Group title="Versions" rows={Object.entries(s.versions)} />
                <Group title="Model folders" rows={s.roots.length ? s.roots.map((r, i): Row => [String(i + 1), <code>{r}</code>]) : [['none', <code>halftone serve --models FOLDER</code>]]} />
            </div>}
            {s && s.workers.elsewhere.length > 0 && <Elsewhere workers={s.workers.elsewhere} />}
        </section>
    );
}
