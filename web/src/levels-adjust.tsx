// Steps through the levels by memory, pressure and temperature: whether it is on, what it sees, and what it did and why.
import { useEffect } from 'preact/hooks';
import { get, patch } from './api';
import { fixed } from './format';
import { ProblemNote, useAction, useLoad } from './ui';

type Gauge = { value: number; of: string } | null;
interface Decision { id: number; at: number; step: 'down' | 'up'; model: string | null; from: string | null; to: string | null; reason: string; dry_run: boolean; applied: boolean; error: string | null }
interface Adjusting {
    settings: { enabled?: boolean; dry_run?: boolean } | null;
    gauges: { memory: Gauge; pressure: Gauge; temperature: Gauge; load: Gauge; slowed: boolean } | null;
    reason: string | null; decisions: Decision[];
}

const told = (d: Decision) => (d.error ? `not done: ${d.error}` : d.applied ? 'done' : d.dry_run ? 'only told' : 'not done');

function Readings({ of }: { of: Adjusting }) {
    const g = of.gauges;
    if (!g) return null;
    const share = (v: Gauge) => (v ? `${(100 * v.value).toFixed(0)} % (${v.of})` : 'unknown');
    const rows: [string, string][] = [
        ['memory', share(g.memory)],
        ['waits for memory', g.pressure ? `${fixed(g.pressure.value, 1)} % of the time` : 'unknown'],
        ['temperature', (g.temperature ? `${fixed(g.temperature.value, 0)} °C (${g.temperature.of})` : 'unknown') + (g.slowed ? ', slowed by heat' : '')],
        ['load', share(g.load)],
    ];
    return <dl class="facts">{rows.map(([k, v]) => <div key={k}><dt>{k}</dt><dd>{v}</dd></div>)}</dl>;
}

function Decisions({ of }: { of: Decision[] }) {
    if (!of.length) return <p class="quiet">Nothing was decided yet.</p>;
    return (
        <div class="scroll" tabIndex={0} role="region" aria-label="Decisions">
            <table>
                <thead><tr><th>when</th><th>step</th><th>why</th><th>and</th></tr></thead>
                <tbody>{of.slice(0, 20).map((d) => (
                    <tr key={d.id}>
                        <th scope="row">{new Date(1000 * d.at).toLocaleTimeString()}</th>
                        <td>{d.step} {d.model && <small class="under">{d.model}: {d.from ?? '–'} to {d.to ?? '–'}</small>}</td><td>{d.reason}</td><td>{told(d)}</td>
                    </tr>
                ))}</tbody>
            </table>
        </div>
    );
}

export function AdjustLevels() {
    const { data, problem, reload, set } = useLoad<Adjusting>('adjust', (signal) => get('/runtime/adjust', signal));
    const act = useAction(async (enabled: boolean, dry: boolean) => {
        const now = await patch<Adjusting>('/runtime/adjust', { enabled, dry_run: dry });
        set(() => now);
    });
    const on = data?.settings?.enabled === true;
    useEffect(() => {
        const timer = setInterval(() => on && !document.hidden && reload(), 2000);
        return () => clearInterval(timer);
    }, [on, reload]);
    const mode = !on ? 'off' : data?.settings?.dry_run ? 'dry' : 'on';
    return (
        <section class="levels-adjust" aria-label="Adjusting">
            <h2>Adjusting</h2>
            <label class="inline">Step down when memory or heat runs short <select value={mode} disabled={!data || act.busy} onChange={(e) => act.run(e.currentTarget.value !== 'off', e.currentTarget.value === 'dry')}>
                <option value="off">no</option><option value="dry">only tell</option><option value="on">yes</option>
            </select></label>
            <ProblemNote problem={act.problem ?? problem} />
            {data && on && <><Readings of={data} />{data.reason && <p class="quiet">{data.reason}</p>}<Decisions of={data.decisions} /></>}
        </section>
    );
}
