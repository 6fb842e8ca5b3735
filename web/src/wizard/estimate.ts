// What a job takes, asked of the server: for all types at once (sizes), and for the types that are chosen (time, memory, disk).
import { useEffect, useState } from 'preact/hooks';
import { request as send, type Estimate } from '../api';
import { useLoad, type Loaded } from '../ui';
import { asksFor, outputsOf, request, type Draft } from './draft';

// The value as it was when it last stood still for `ms`.
export function useSettled<T>(value: T, ms: number): T {
    const [settled, set] = useState(value);
    useEffect(() => {
        const timer = setTimeout(() => set(value), ms);
        return () => clearTimeout(timer);
    }, [value, ms]);
    return settled;
}

const ask = (body: unknown) => (signal: AbortSignal) => send<Estimate>('POST', '/quantize/estimate', body, signal);

export function useAllTypes(draft: Draft, of: { types?: string[]; folders?: string[] }): Loaded<Estimate> {
    const outputs = outputsOf({ types: of.types ?? [], folders: of.folders ?? [], container: draft.container });
    const body = { source_model: draft.model, source_type: draft.kind, outputs, config: { use_imatrix: true } };
    return useLoad<Estimate>(outputs.length ? JSON.stringify(body) : null, ask(body));
}

// `stale`: the figures are of another choice than the draft's, and new ones are on their way.
export function useChosen(draft: Draft): Loaded<Estimate> & { stale: boolean } {
    const { name: _, description: __, priority: ___, ...what } = request(draft);
    const body = { ...what, name: 'estimate' };
    const now = draft.model && asksFor(draft) ? JSON.stringify(body) : '';
    const key = useSettled(now, 250);
    const loaded = useLoad<Estimate>(key || null, ask(key ? JSON.parse(key) : null));
    return { ...loaded, stale: now !== key || loaded.loading };
}
