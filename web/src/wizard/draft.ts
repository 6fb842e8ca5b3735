// What the wizard knows so far. It outlives the wizard's pages, so that going back changes nothing.
import type { JobRequest } from '../api';

export type Kind = 'local' | 'huggingface' | 'upload';

export interface Draft {
    kind: Kind; model: string; name: string; description: string; formats: string[]; types: string[];
    importance: boolean; measure: boolean; priority: number; folder: string | null;
}

const fresh = (): Draft => ({ kind: 'local', model: '', name: '', description: '', formats: ['gguf'], types: ['Q4_K_M'], importance: false, measure: false, priority: 0, folder: null });

let draft = fresh();
let key = '';

export const current = () => draft;
export function change(part: Partial<Draft>): Draft {
    key = '';
    return (draft = { ...draft, ...part });
}
export const clear = () => void (change({ ...fresh(), kind: draft.kind, folder: draft.folder }));

// The same for a request that is sent again after a failure: the server then makes one job, not two.
export const idempotencyKey = () => (key ||= Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join(''));

export const lastPart = (path: string) => path.replace(/\/+$/, '').split('/').pop() ?? path;

export function request(d: Draft): JobRequest {
    const config: Record<string, unknown> = {};
    if (d.importance) config.use_imatrix = true;
    if (d.measure) config.measure = true;
    return {
        name: d.name.trim() || lastPart(d.model), source_model: d.model, source_type: d.kind, output_formats: d.formats, gguf_quant_types: d.types,
        ...(d.description.trim() ? { description: d.description.trim() } : {}), ...(d.priority ? { priority: d.priority } : {}), ...(Object.keys(config).length ? { config } : {}),
    };
}
