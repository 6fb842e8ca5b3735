// Levels of the models that answer: which one is set, the switch to another, and what each has taken so far.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { get, patch, post } from './api';
import { bytes, count, fixed } from './format';
import { AdjustLevels } from './levels-adjust';
import { CompareLevels } from './levels-compare';
import { PointPlot, type Axis, type Point } from './plot';
import { href } from './route';
import { TryLink } from './try/link';
import { Announce, ProblemNote, Title, useAction, useLoad } from './ui';

type Bits = 'off' | '8' | '4';
interface Statistics {
    calls: number; succeeded: number; failed: number; left: number; rate: number | null; average_seconds: number | null; tokens_per_second: number | null; most_memory_bytes: number | null;
}
interface Level {
    name: string; level: Bits | 'other' | null; type: string | null; bits_per_weight: number | null; fault: string | null; format: string; size_bytes: number; need_bytes: number;
    state: 'unloaded' | 'loading' | 'ready'; memory_bytes: number | null; most_memory_bytes: number | null; statistics: Statistics;
}
interface Change { to: Bits; state: 'finding' | 'making' | 'loading' | 'done' | 'failed'; job: string | null; detail: string | null }
interface ModelLevels { name: string; wanted: Bits | null; wanted_by: 'model' | 'all' | null; answers: string | null; levels: Level[]; switch: Change | null }
interface Settings { state: 'absent' | 'read' | 'damaged'; fault: string | null; enable_quantization: boolean | null; quantization_bits: number | null; gpu_memory_limit_mb: number | null }
interface Levels { settings: Settings; memory_limit_bytes: number; models: ModelLevels[] }

const words: Record<Bits, string> = { off: '16 bits', 8: '8 bits', 4: '4 bits' };
const bits = (l: Level) => (l.level === null ? '–' : l.level === 'other' ? 'other' : words[l.level]);
const going = (m: ModelLevels) => m.switch !== null && !['done', 'failed'].includes(m.switch.state);
const path = (name: string) => `/runtime/levels/${name.split('/').map(encodeURIComponent).join('/')}`;

// What a switch does at the moment, in words.
function step(c: Change): string {
    const to = words[c.to];
    return { finding: `looking for ${to} …`, making: `making ${to} …`, loading: `loading ${to} …`, done: `switched to ${to}`, failed: `could not switch to ${to}` }[c.state];
}

function Switch({ model, onDone }: { model: ModelLevels; onDone: () => void }) {
    const [asked, setAsked] = useState<Bits | 'unset'>();
    const act = useAction(async (level: Bits | 'unset') => {
        setAsked(level);
        try {
            await post(path(model.name), { level });
        } finally {
            setAsked(undefined);
            onDone();
        }
    });
    const busy = act.busy || going(model), own = model.wanted_by === 'model';
    const there = (b: Bits) => model.levels.some((l) => l.level === b);
    const choice = (b: Bits | 'unset', name: string, on: boolean) => (
        <button key={b} type="button" class={on ? 'on' : ''} aria-pressed={on} aria-disabled={busy} onClick={() => !busy && act.run(b)}>{asked === b ? `${name} …` : name}</button>
    );
    return (
        <>
            <div class="tabs" role="group" aria-label={`Level of ${model.name}`}>
                {(['off', '8', '4'] as const).map((b) => choice(b, there(b) ? words[b] : `${words[b]}, is made`, own && model.wanted === b))}
                {choice('unset', 'as for all', !own)}
            </div>
            {model.switch && (busy || model.switch.state === 'failed') && <p class={model.switch.state === 'failed' ? 'wrong' : 'quiet'}>
                {step(model.switch)}{model.switch.state === 'failed' && model.switch.detail ? `: ${model.switch.detail}` : ''} {model.switch.job && <a href={href('jobs', model.switch.job)}>its job</a>}</p>}
            <ProblemNote problem={model.switch?.state === 'failed' ? undefined : act.problem} />
            <Announce text={model.switch ? `${model.name}: ${step(model.switch)}` : ''} />
        </>
    );
}

function Table({ model }: { model: ModelLevels }) {
    return (
        <div class="scroll" tabIndex={0} role="region" aria-label={`Levels of ${model.name}`}>
            <table class="levels">
                <thead><tr><th>model</th><th>level</th><th class="n">size</th><th>state</th><th class="n">memory now</th><th class="n">tokens/s</th><th class="n">calls</th><th class="n">of them well</th><th class="n">seconds a call</th></tr></thead>
                <tbody>{model.levels.map((l) => (
                    <tr key={l.name} class={l.name === model.answers ? 'on' : ''}>
                        <th scope="row">{l.name} <TryLink variant={l.name} name={l.name} format={l.format} />{l.name === model.answers && <small class="under">answers</small>}</th>
                        <td>{bits(l)}<small class="under">{l.fault ?? [l.type?.toUpperCase(), l.bits_per_weight !== null && `${fixed(l.bits_per_weight, 2)} bits per weight`].filter(Boolean).join(', ')}</small></td>
                        <td class="n">{bytes(l.size_bytes)}</td>
                        <td>{l.state === 'ready' ? 'loaded' : l.state === 'loading' ? 'loading …' : 'not loaded'}</td>
                        <td class="n">{bytes(l.memory_bytes)}{l.most_memory_bytes !== null && <small class="under">at most {bytes(l.most_memory_bytes)}</small>}</td>
                        <td class="n">{fixed(l.statistics.tokens_per_second, 1)}</td>
                        <td class="n">{count(l.statistics.calls)}</td>
                        <td class="n">{l.statistics.rate === null ? '–' : `${(100 * l.statistics.rate).toFixed(0)} %`}</td>
                        <td class="n">{fixed(l.statistics.average_seconds, 2)}</td>
                    </tr>
                ))}</tbody>
            </table>
        </div>
    );
}

// The setting for all, and the memory that all may take.
function ForAll({ of, onDone }: { of: Levels; onDone: (l: Levels) => void }) {
    const s = of.settings, now = s.enable_quantization === null && s.quantization_bits === null ? '' : s.enable_quantization === false ? 'off' : String(s.quantization_bits ?? 8);
    const [memory, setMemory] = useState('');
    const set = useAction(async (body: Record<string, unknown>) => {
        onDone(await patch<Levels>('/runtime/levels', body));
        setMemory('');
    });
    const levels: Record<string, Record<string, unknown>> = {
        '': { enable_quantization: null, quantization_bits: null }, off: { enable_quantization: false }, 8: { enable_quantization: true, quantization_bits: 8 }, 4: { enable_quantization: true, quantization_bits: 4 },
    };
    return (
        <form class="filters levels-all" onSubmit={(e) => { e.preventDefault(); set.run({ gpu_memory_limit_mb: memory ? Number(memory) : null }); }}>
            <label class="inline">All models <select value={now} disabled={set.busy} onChange={(e) => set.run(levels[e.currentTarget.value]!)}>
                <option value="">as they are named</option><option value="off">16 bits</option><option value="8">8 bits</option><option value="4">4 bits</option>
            </select></label>
            <label class="inline">Memory for all, MiB <input type="number" min={1} step={1} value={memory} placeholder={s.gpu_memory_limit_mb === null ? 'no limit of its own' : String(s.gpu_memory_limit_mb)} onInput={(e) => setMemory(e.currentTarget.value)} /></label>
            <button disabled={set.busy || (!memory && s.gpu_memory_limit_mb === null)}>{memory || s.gpu_memory_limit_mb === null ? 'Set' : 'No limit'}</button>
            {s.state === 'damaged' && <div class="note bad" role="alert"><strong>config.json is damaged: what was read before goes on, and nothing is changed</strong><p>{s.fault}</p></div>}
            <ProblemNote problem={set.problem} />
        </form>
    );
}

const memoryAxis: Axis = { label: 'memory at most (lower is better)', better: 'lower', format: (v) => bytes(v) };
const speedAxis: Axis = { label: 'tokens per second of one text (higher is better)', better: 'higher', format: (v) => String(Number(v.toPrecision(3))) };

// Levels that have answered: what they take against how fast they are.
function Measured({ models }: { models: ModelLevels[] }) {
    const points = useMemo(() => models.flatMap((m, group) => m.levels.flatMap((l): Point[] => {
        const memory = l.statistics.most_memory_bytes ?? l.most_memory_bytes, speed = l.statistics.tokens_per_second;
        return memory === null || speed === null ? [] : [{ id: l.name, name: l.name, x: memory, y: speed, group, says: `${l.name}: ${bytes(memory)}, ${fixed(speed, 1)} tokens/s in ${count(l.statistics.calls)} calls` }];
    })), [models]);
    if (points.length < 2) return null;
    return (
        <div class="quality">
            <h2>Memory and speed</h2>
            <PointPlot points={points} x={memoryAxis} y={speedAxis} label={`tokens a second of ${points.length} levels against their memory; the tables have the numbers`} />
        </div>
    );
}

export function LevelsView() {
    const { data, problem, reload, set } = useLoad<Levels>('levels', (signal) => get('/runtime/levels', signal));
    const busy = useRef(false);
    busy.current = data?.models.some(going) ?? false;
    useEffect(() => {
        let n = 0;
        const timer = setInterval(() => (busy.current || n++ % 2 === 0) && !document.hidden && reload(), 1000);
        return () => clearInterval(timer);
    }, [reload]);
    const loaded = data?.models.flatMap((m) => m.levels).filter((l) => l.memory_bytes !== null) ?? [];
    const used = loaded.reduce((sum, l) => sum + (l.memory_bytes ?? 0), 0);
    return (
        <section aria-busy={!data && !problem}>
            <header class="head"><Title>Levels</Title>{data && <p class="quiet">{loaded.length ? `${loaded.length} loaded, ${bytes(used)} of ${bytes(data.memory_limit_bytes)}` : `nothing loaded, ${bytes(data.memory_limit_bytes)} for models`}</p>}</header>
            <ProblemNote problem={problem} />
            {data && <>
                <meter class="levels-memory" min={0} max={data.memory_limit_bytes || 1} value={used} high={0.9 * data.memory_limit_bytes} aria-label="Memory of loaded models">{bytes(used)} of {bytes(data.memory_limit_bytes)}</meter>
                <ForAll of={data} onDone={(l) => set(() => l)} />
                {data.models.length === 0 && <p class="empty">There is no model that can answer yet. <a href={href('new')}>Quantize a model</a></p>}
                {data.models.map((m) => (
                    <section key={m.name} class="model-levels" aria-label={m.name}>
                        <h2>{m.name}</h2>
                        <Switch model={m} onDone={reload} />
                        <Table model={m} />
                    </section>
                ))}
                <Measured models={data.models} />
                {data.models.length > 0 && <CompareLevels models={data.models.map((m) => m.name)} />}
                {data.models.length > 0 && <AdjustLevels />}
            </>}
        </section>
    );
}
