// Step 3: which types, with what each would be for this model.
import { useEffect, useState } from 'preact/hooks';
import { get, post, type Estimate, type EstimateOutput, type QuantType } from '../api';
import { bytes, fixed } from '../format';
import { ProblemNote, useAction, useLoad } from '../ui';
import type { Draft } from './draft';

interface Props { draft: Draft; change: (part: Partial<Draft>) => void }

const presets: [string, string, string[]][] = [
    ['Small', 'for little memory', ['Q3_K_M', 'IQ4_XS']],
    ['Balanced', 'the usual choice', ['Q4_K_M', 'Q5_K_M']],
    ['Best', 'loss hardly measurable', ['Q6_K', 'Q8_0']],
    ['Ladder', 'one of each, to compare', ['Q2_K', 'Q3_K_M', 'Q4_K_M', 'Q5_K_M', 'Q6_K', 'Q8_0']],
];

interface Advice { recommended: { type: string } | string | null; reasons: string[] }

// Memory or a card, and the server says which type is the best that fits.
function Recommend({ draft, pick }: { draft: Draft; pick: (type: string) => void }) {
    const [place, setPlace] = useState('');
    const [ctx, setCtx] = useState('');
    const [advice, setAdvice] = useState<Advice>();
    const ask = useAction(async () => {
        const where = /^\s*[\d.,]+\s*[kmgt]?i?b?\s*$/i.test(place) ? { memory: place.trim().replace(',', '.') } : { gpu: place.trim() };
        const answer = await post<Advice>('/recommend', { source_model: draft.model, source_type: draft.kind, ...where, ...(Number(ctx) > 0 ? { ctx: Number(ctx) } : {}) });
        setAdvice(answer);
        const type = typeof answer.recommended === 'string' ? answer.recommended : answer.recommended?.type;
        if (type) pick(type);
    });
    return (
        <details class="recommend">
            <summary>What fits?</summary>
            <form class="filters" onSubmit={(e) => (e.preventDefault(), place.trim() && ask.run())}>
                <label>Memory or graphics card <input type="text" placeholder="8G, or RTX 3060" value={place} onInput={(e) => setPlace(e.currentTarget.value)} /></label>
                <label>Context <input type="number" min="1" placeholder="4096" value={ctx} onInput={(e) => setCtx(e.currentTarget.value)} /></label>
                <button type="submit" disabled={ask.busy || !place.trim()}>Ask</button>
            </form>
            <ProblemNote problem={ask.problem} />
            {advice && <div class="note good" role="status"><ul>{advice.reasons.map((r, i) => <li key={i}>{r}</li>)}</ul></div>}
        </details>
    );
}

interface RowProps { type: QuantType; estimate: EstimateOutput | undefined; on: boolean; toggle: () => void }

function TypeRow({ type, estimate, on, toggle }: RowProps) {
    return (
        <tr class={on ? 'on' : ''}>
            <th scope="row"><label class="check"><input type="checkbox" checked={on} onChange={toggle} /> <code>{type.name}</code></label></th>
            <td class="n">{estimate ? bytes(estimate.size_bytes) : '…'}</td>
            <td class="n">{fixed(estimate?.bits_per_weight ?? type.bits_per_weight, 2)}</td>
            <td class="n">{estimate?.run_memory ? bytes(estimate.run_memory.with_margin_bytes) : '…'}</td>
            <td>{type.hint}</td>
        </tr>
    );
}

export function TypesStep({ draft, change }: Props) {
    const types = useLoad<{ types: QuantType[] }>('types', (signal) => get('/quantize/formats/gguf/types', signal));
    const all = types.data?.types ?? [];
    const [estimate, setEstimate] = useState<Estimate>();
    const ask = useAction(async () => {
        const config = { use_imatrix: true };
        setEstimate(await post('/quantize/estimate', { source_model: draft.model, source_type: draft.kind, output_formats: draft.formats, gguf_quant_types: all.map((t) => t.name), config }));
    });
    useEffect(() => {
        if (all.length) ask.run();
    }, [all.length, draft.model]);
    const set = (names: string[]) => {
        const needy = all.some((t) => t.needs_importance && names.includes(t.name));
        change({ types: all.map((t) => t.name).filter((n) => names.includes(n)), ...(needy ? { importance: true } : {}) });
    };
    const needs = all.some((t) => t.needs_importance && draft.types.includes(t.name));
    const of = new Map(estimate?.outputs.map((o) => [o.type, o]));
    const ctx = estimate?.outputs[0]?.run_memory?.ctx;
    return (
        <>
            <div class="presets" role="group" aria-label="Presets">{presets.map(([name, why, list]) => (
                <button key={name} type="button" onClick={() => set(list)}><strong>{name}</strong> <span class="quiet">{why}</span></button>
            ))}</div>
            <Recommend draft={draft} pick={(t) => set([...draft.types, t])} />
            <ProblemNote problem={types.problem ?? ask.problem} />
            <div class="scroll" tabIndex={0} role="region" aria-label="Types">
                <table aria-busy={ask.busy}>
                    <thead><tr><th>type</th><th class="n">size</th><th class="n">bits per weight</th><th class="n">memory to run{ctx ? ` at ${ctx} tokens` : ''}</th><th>what to expect</th></tr></thead>
                    <tbody>{all.map((t) => <TypeRow key={t.name} type={t} estimate={of.get(t.name)} on={draft.types.includes(t.name)}
                        toggle={() => set(draft.types.includes(t.name) ? draft.types.filter((n) => n !== t.name) : [...draft.types, t.name])} />)}</tbody>
                </table>
            </div>
            <fieldset class="options"><legend>Options</legend>
                <label class="check"><input type="checkbox" checked={draft.importance || needs} disabled={needs} onChange={(e) => change({ importance: e.currentTarget.checked })} />
                    Weigh errors by importance <span class="quiet">{needs ? 'a chosen type needs it' : 'runs a text through the model first; better below 5 bits'}</span></label>
                <label class="check"><input type="checkbox" checked={draft.measure} onChange={(e) => change({ measure: e.currentTarget.checked })} />
                    Measure the loss <span class="quiet">perplexity and KL divergence of each file against the source</span></label>
            </fieldset>
        </>
    );
}
