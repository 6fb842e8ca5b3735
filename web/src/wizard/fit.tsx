// Where the model is to run, and which types fit there: asked of /recommend, whose answer marks the picture and the table.
import { useEffect, useState } from 'preact/hooks';
import { get, request as send } from '../api';
import { bytes } from '../format';
import { ProblemNote, useLoad, type Loaded } from '../ui';
import type { Draft } from './draft';

interface Need { ctx: number; total_bytes: number; with_margin_bytes: number }
interface Option { type: string; size_bytes: number; run_memory: Need; fits: boolean; offload?: { gpu_layers: number; layers: number; ram_bytes: number } }
export interface Advice { program: string; place: { gpu?: string; gpu_count?: number; memory_bytes: number }; recommended: Option | null; reasons: string[]; types: Option[] }

export type Verdict = 'fits' | 'tight' | 'no';
export const verdicts: Record<Verdict, { mark: string; word: string; why: string }> = {
    fits: { mark: '●', word: 'fits', why: 'with 20 % headroom' },
    tight: { mark: '◐', word: 'tight', why: 'fits, with less than 20 % headroom' },
    no: { mark: '✕', word: 'too large', why: 'needs more memory than there is' },
};

const isSize = (place: string) => /^\s*[\d.,]+\s*[kmgt]?i?b?\s*$/i.test(place);

export function useAdvice(draft: Draft): Loaded<Advice> {
    const place = draft.place.trim(), ctx = Number(draft.ctx);
    const where = isSize(place) ? { memory: place.replace(',', '.').replace(/\s+/g, '') } : { gpu: place };
    const body = { source_model: draft.model, source_type: draft.kind, ...where, ...(ctx > 0 ? { ctx } : {}), ...(draft.program ? { for: draft.program } : {}) };
    return useLoad<Advice>(draft.model && place ? JSON.stringify(body) : null, (signal) => send('POST', '/recommend', body, signal));
}

// Types that the answer does not list need what their neighbour in size needs beside its weights.
export class Fit {
    readonly memory: number;
    readonly place: string;
    readonly best: string | undefined;
    private readonly options: Option[];
    constructor(advice: Advice) {
        this.options = [...advice.types].sort((a, b) => a.size_bytes - b.size_bytes);
        this.memory = advice.place.memory_bytes;
        const { gpu, gpu_count: n } = advice.place;
        this.place = gpu ? `${n && n > 1 ? `${n} × ` : ''}${gpu.replace(/^NVIDIA (GeForce )?|^AMD (Radeon )?/, '')}, ${bytes(this.memory)}` : bytes(this.memory);
        this.best = advice.recommended?.type;
    }
    private near(size: number): Option | undefined {
        return this.options.reduce<Option | undefined>((a, b) => (!a || Math.abs(b.size_bytes - size) < Math.abs(a.size_bytes - size) ? b : a), undefined);
    }
    // Bytes of memory that a file of this size needs to run, without headroom.
    need(type: string, size: number): number | undefined {
        const own = this.options.find((o) => o.type === type), near = own ?? this.near(size);
        return near && (own ? own.run_memory.total_bytes : size + near.run_memory.total_bytes - near.size_bytes);
    }
    verdict(type: string, size: number): Verdict | undefined {
        const own = this.options.find((o) => o.type === type), need = this.need(type, size);
        if (need === undefined) return undefined;
        if (own ? own.fits : need * 1.2 <= this.memory) return 'fits';
        return need <= this.memory ? 'tight' : 'no';
    }
    // Of a type that the answer lists; others are not of its program.
    known(type: string): Verdict | undefined {
        const own = this.options.find((o) => o.type === type);
        return own && (own.fits ? 'fits' : own.run_memory.total_bytes <= this.memory ? 'tight' : 'no');
    }
    layers(type: string): string | undefined {
        const o = this.options.find((x) => x.type === type)?.offload;
        return o && o.gpu_layers > 0 ? `${o.gpu_layers} of ${o.layers} layers on the card` : undefined;
    }
    ctx(): number | undefined {
        return this.options[0]?.run_memory.ctx;
    }
    // Sizes of file up to which a type fits, and up to which it is tight.
    limits(): { fits: number; tight: number } | undefined {
        const at = (memory: number) => {
            const near = this.near(memory);
            const guess = near && memory - (near.run_memory.total_bytes - near.size_bytes), again = guess !== undefined ? this.near(guess) : undefined;
            return again ? memory - (again.run_memory.total_bytes - again.size_bytes) : undefined;
        };
        const fits = at(this.memory / 1.2), tight = at(this.memory);
        return fits === undefined || tight === undefined ? undefined : { fits, tight };
    }
}

interface Gpus { gpus: { name: string; memory_bytes: number | null }[]; programs: { name: string; description: string }[] }
interface Props { draft: Draft; change: (part: Partial<Draft>) => void; advice: Loaded<Advice>; pick: (type: string) => void }

export function WhatFits({ draft, change, advice, pick }: Props) {
    const [place, setPlace] = useState(draft.place);
    const [ctx, setCtx] = useState(draft.ctx);
    const known = useLoad<Gpus>('gpus', (signal) => get('/gpus', signal));
    useEffect(() => setPlace(draft.place), [draft.place]);
    const check = (e: Event) => {
        e.preventDefault();
        if (place.trim() === draft.place && ctx === draft.ctx) advice.reload();
        else change({ place: place.trim(), ctx });
    };
    const data = draft.place ? advice.data : undefined, fit = data && new Fit(data);
    return (
        <section class="what-fits" aria-label="What fits">
            <h2>What fits?</h2>
            <form onSubmit={check}>
                <label>Memory or graphics card <input type="text" list="known-gpus" maxLength={64} placeholder="8 GB, or RTX 3060" value={place} onInput={(e) => setPlace(e.currentTarget.value)} /></label>
                <label>Context, tokens <input type="number" min="1" max="16777216" placeholder="4096" value={ctx} onInput={(e) => setCtx(e.currentTarget.value)} /></label>
                <label>Program <select value={draft.program} onChange={(e) => change({ program: e.currentTarget.value })}>{known.data?.programs.map((p, i) => <option key={p.name} value={i ? p.name : ''} title={p.description}>{p.name}</option>)}</select></label>
                <button type="submit" disabled={!place.trim()}>Check fit</button>
            </form>
            <datalist id="known-gpus">{known.data?.gpus.map((g) => <option key={g.name} value={g.name.replace(/^NVIDIA (GeForce )?|^AMD (Radeon )?/, '')}>{g.memory_bytes ? bytes(g.memory_bytes) : 'shared memory'}</option>)}</datalist>
            <div aria-live="polite" aria-busy={advice.loading}>
                {draft.place && advice.loading && <p class="quiet">Checking…</p>}
                {fit && data && !advice.problem && <div class={fit.best ? 'note good' : 'note bad'}>
                    <p><strong>{fit.best ? `${fit.best} is the best type for ${fit.place}.` : `No type fits ${fit.place}.`}</strong></p>
                    <ul>{data.reasons.map((r, i) => <li key={i}>{r}</li>)}</ul>
                    {fit.best && <p><button type="button" onClick={() => pick(fit.best!)}>Use {fit.best}</button></p>}
                </div>}
            </div>
            {draft.place && <ProblemNote problem={advice.problem} />}
        </section>
    );
}
