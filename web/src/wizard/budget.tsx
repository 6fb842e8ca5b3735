// Instead of types: what the file may take. The types that lose least are found for it.
import type { Draft } from './draft';

interface Props { draft: Draft; change: (part: Partial<Draft>) => void }

export type Limit = 'bits' | 'size' | 'memory';
const limits: Record<Limit, { name: string; label: string; example: string; why: string }> = {
    bits: { name: 'Bits a weight', label: 'Bits a weight', example: '4.5', why: 'of all tensors over all weights' },
    size: { name: 'Size of the file', label: 'Size', example: '4 GB', why: 'met to the byte' },
    memory: { name: 'Memory to run in', label: 'Memory or graphics card', example: '8 GB, or RTX 3060', why: 'weights, cache and buffers, with a fifth to spare' },
};
const presets: [string, string, Partial<Draft>][] = [
    ['As large as Q4_K_M', '4.8 bits a weight', { limit: 'bits', limitValue: '4.8' }],
    ['Three and a half bits', 'for little memory', { limit: 'bits', limitValue: '3.5' }],
    ['A machine of 8 GB', 'at 4096 tokens', { limit: 'memory', limitValue: '8 GB', limitCtx: '4096' }],
    ['A card of 12 GB', 'RTX 3060, at 8192 tokens', { limit: 'memory', limitValue: 'RTX 3060', limitCtx: '8192' }],
];

const isSize = (text: string) => /^[\d.]+[kmgt]?i?b?$/i.test(text);
const plain = (text: string) => text.trim().replace(',', '.').replace(/(\d)\s+([kmgt]?i?b?)$/i, '$1$2');

// Members of the request's config; undefined: the value says nothing yet.
export function budgetOf(d: Draft): Record<string, unknown> | undefined {
    const value = plain(d.limitValue), time = d.budgetTime.trim() ? { budget_time: d.budgetTime.trim() } : {};
    if (!d.byBudget || !value) return undefined;
    if (d.limit === 'bits') return Number(value) > 0 ? { bpw: Number(value), ...time } : undefined;
    if (d.limit === 'size') return isSize(value) ? { fit: value, ...time } : undefined;
    return { ...(isSize(value) ? { fit: value } : { gpu: d.limitValue.trim() }), ctx: Number(d.limitCtx) || 4096, ...time };
}
export const budgetName = (d: Draft) => (d.limit === 'bits' ? `${d.limitValue} bits a weight` : d.limit === 'size' ? `at most ${d.limitValue}` : `to run in ${d.limitValue}`);

export function HowChosen({ draft, change }: Props) {
    const way = (by: boolean, name: string, why: string) => (
        <label class={draft.byBudget === by ? 'on' : ''}><input type="radio" name="how" checked={draft.byBudget === by} onChange={() => change({ byBudget: by })} /> <span>{name} <span class="quiet">{why}</span></span></label>
    );
    return <div class="choice how" role="radiogroup" aria-label="How types are chosen">{way(false, 'Choose types', 'by name')}{way(true, 'Meet a budget', 'the types that lose least are found')}</div>;
}

export function Budget({ draft, change }: Props) {
    const l = limits[draft.limit];
    return (
        <section class="budget" aria-label="Budget">
            <div class="presets wide" role="group" aria-label="Budgets">{presets.map(([name, why, part]) => (
                <button key={name} type="button" aria-pressed={Object.entries(part).every(([k, v]) => draft[k as keyof Draft] === v)} onClick={() => change(part)}><strong>{name}</strong> <span class="quiet">{why}</span></button>
            ))}</div>
            <div class="fields">
                <label>Limit <select value={draft.limit} onChange={(e) => change({ limit: e.currentTarget.value as Limit })}>{(Object.keys(limits) as Limit[]).map((k) => <option key={k} value={k}>{limits[k].name}</option>)}</select></label>
                <label>{l.label} <input type="text" maxLength={64} placeholder={l.example} value={draft.limitValue} onInput={(e) => change({ limitValue: e.currentTarget.value })} /><span class="sub">{l.why}</span></label>
                {draft.limit === 'memory' && <label>Context, tokens <input type="number" min="1" max="16777216" placeholder="4096" value={draft.limitCtx} onInput={(e) => change({ limitCtx: e.currentTarget.value })} /></label>}
                <label>Time to measure <input type="text" maxLength={16} placeholder="as the model needs" value={draft.budgetTime} onInput={(e) => change({ budgetTime: e.currentTarget.value })} /><span class="sub">90s, 10m, 2h: less is coarser</span></label>
            </div>
            <p class="quiet">One GGUF file: what each matrix costs the model is measured on text that is held out, and the best mix of types for the limit is found exactly, run, and compared with the named mix of its size.</p>
        </section>
    );
}
