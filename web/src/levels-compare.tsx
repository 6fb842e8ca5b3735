// The same prompts over the levels of a model: speed and memory beside what the lower ones lose.
import { useState } from 'preact/hooks';
import { post } from './api';
import { bytes, count, fixed } from './format';
import { PointPlot, type Axis } from './plot';
import { Announce, ProblemNote, useAction } from './ui';

interface Compared {
    level: 'off' | '8' | '4'; name: string | null; size_bytes: number | null; average_seconds: number | null; tokens_per_second: number | null; memory_bytes: number | null;
    agreement: number | null; loss: number | null; loss_difference: number | null; same_texts: number | null; fault: string | null;
}
interface Comparison { model: string; reference: string; prompts: number; max_tokens: number; levels: Compared[] }

const words = { off: '16 bits', 8: '8 bits', 4: '4 bits' } as const;
const percent = (v: number | null) => (v === null ? '–' : `${(100 * v).toFixed(0)} %`);
const speedAxis: Axis = { label: 'tokens per second (higher is better)', better: 'higher', format: (v) => String(Number(v.toPrecision(3))) };
const agreementAxis: Axis = { label: 'tokens that stay the likeliest (higher is better)', better: 'higher', format: (v) => `${Number(v.toPrecision(3))} %` };

function Result({ of }: { of: Comparison }) {
    const points = of.levels.flatMap((l) => (l.tokens_per_second === null || l.agreement === null ? [] : [{
        id: l.level, name: words[l.level], x: l.tokens_per_second, y: 100 * l.agreement, group: 0,
        says: `${words[l.level]}: ${fixed(l.tokens_per_second, 1)} tokens/s, ${percent(l.agreement)} of the tokens stay the likeliest`,
    }]));
    return (
        <>
            <div class="scroll" tabIndex={0} role="region" aria-label={`Comparison of ${of.model}`}>
                <table>
                    <caption class="quiet">{of.model}: {count(of.prompts)} {of.prompts === 1 ? 'prompt' : 'prompts'}, up to {count(of.max_tokens)} tokens each, beside {of.reference}</caption>
                    <thead><tr><th>level</th><th class="n">size</th><th class="n">memory</th><th class="n">tokens/s</th><th class="n">seconds a call</th><th class="n">likeliest tokens kept</th><th class="n">same texts</th><th class="n">loss more</th></tr></thead>
                    <tbody>{of.levels.map((l) => (
                        <tr key={l.level}>
                            <th scope="row">{words[l.level]}<small class="under">{l.fault ?? l.name}</small></th>
                            <td class="n">{bytes(l.size_bytes)}</td><td class="n">{bytes(l.memory_bytes)}</td><td class="n">{fixed(l.tokens_per_second, 1)}</td><td class="n">{fixed(l.average_seconds, 2)}</td>
                            <td class="n">{percent(l.agreement)}</td><td class="n">{percent(l.same_texts)}</td><td class="n">{fixed(l.loss_difference, 4)}</td>
                        </tr>
                    ))}</tbody>
                </table>
            </div>
            {points.length > 1 && <PointPlot points={points} x={speedAxis} y={agreementAxis} label={`likeliest tokens kept against tokens a second, of ${points.length} levels; the table has the numbers`} />}
        </>
    );
}

export function CompareLevels({ models }: { models: string[] }) {
    const [model, setModel] = useState(models[0] ?? ''), [prompts, setPrompts] = useState(''), [result, setResult] = useState<Comparison>();
    const lines = prompts.split('\n').map((l) => l.trim()).filter(Boolean);
    const act = useAction(async () => setResult(await post<Comparison>('/runtime/compare', { model: models.includes(model) ? model : models[0], prompts: lines })));
    return (
        <details class="levels-compare">
            <summary>Compare levels by prompts of yours</summary>
            <form onSubmit={(e) => { e.preventDefault(); if (lines.length && !act.busy) act.run(); }}>
                <label>Model to compare <select value={model} onChange={(e) => setModel(e.currentTarget.value)}>{models.map((m) => <option key={m}>{m}</option>)}</select></label>
                <label>Prompts, one a line <textarea rows={4} value={prompts} onInput={(e) => setPrompts(e.currentTarget.value)} /></label>
                <button disabled={!lines.length || act.busy}>{act.busy ? 'Comparing …' : 'Compare levels'}</button>
                <ProblemNote problem={act.problem} />
            </form>
            {result && <Result of={result} />}
            <Announce text={act.busy ? 'comparing levels' : result ? `levels of ${result.model} are compared` : ''} />
        </details>
    );
}
