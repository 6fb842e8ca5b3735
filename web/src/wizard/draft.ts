// What the wizard knows so far. It outlives the wizard's pages and a reload of the tab: sessionStorage has it until the job starts.
import type { JobRequest } from '../api';
import { budgetOf, type Limit } from './budget';
import { calibrationOf } from './calibration';

export type Kind = 'local' | 'huggingface' | 'upload';

export interface Draft {
    kind: Kind; model: string; name: string; description: string;
    types: string[]; // of GGUF files
    folders: string[]; // types of Hugging Face folders with their options: "gptq:bits=3,group=64"
    container: string; // in which kind of files the folders hold their weights: one of /formats
    rules: string; // of the folders, one a line: "attention=w8a16"
    byBudget: boolean; limit: Limit; limitValue: string; limitCtx: string; budgetTime: string; // instead of types: "4.5" bits, "4 GB", "RTX 3060"
    best: boolean; text: string; samples: string; length: string; seed: string; // how codes are chosen, and the text for it; '': the usual
    importance: boolean; measure: boolean; priority: number; folder: string | null;
    place: string; ctx: string; program: string; // where the model is to run: "RTX 3060" or "8 GB", with how many tokens, and by which program; '': the usual one
}

const fresh = (): Draft => ({ kind: 'local', model: '', name: '', description: '', types: ['Q4_K_M'], folders: [], container: 'safetensors', rules: '', byBudget: false, limit: 'bits', limitValue: '4.5', limitCtx: '', budgetTime: '', best: false, text: '', samples: '', length: '', seed: '', importance: false, measure: false, priority: 0, folder: null, place: '', ctx: '', program: '' });

const slot = 'halftone-draft';

// Storage is written by this page alone, but by any version of it: what has another shape is left out.
function restore(): { draft: Draft; key: string } {
    const draft = fresh();
    try {
        const kept = JSON.parse(sessionStorage.getItem(slot) ?? '{}') as { draft?: Record<string, unknown>; key?: unknown };
        for (const [name, value] of Object.entries(draft) as [keyof Draft, unknown][]) {
            const k = kept.draft?.[name];
            const same = name === 'folder' ? k === null || typeof k === 'string' : Array.isArray(value) ? Array.isArray(k) && k.every((x) => typeof x === 'string') : typeof k === typeof value;
            if (same) Object.assign(draft, { [name]: k });
        }
        if (!['local', 'huggingface', 'upload'].includes(draft.kind)) draft.kind = 'local';
        if (!['bits', 'size', 'memory'].includes(draft.limit)) draft.limit = 'bits';
        return { draft, key: typeof kept.key === 'string' ? kept.key : '' };
    } catch {
        return { draft: fresh(), key: '' };
    }
}

let { draft, key } = restore();

function keep() {
    try {
        sessionStorage.setItem(slot, JSON.stringify({ draft, key }));
    } catch { /* no storage: the draft lives as long as the page */ }
}

export const current = () => draft;
export function change(part: Partial<Draft>): Draft {
    key = '';
    draft = { ...draft, ...part };
    keep();
    return draft;
}
export const clear = () => void change({ ...fresh(), kind: draft.kind, folder: draft.folder, place: draft.place, ctx: draft.ctx, program: draft.program });

// The same for a request that is sent again after a failure: the server then makes one job, not two.
export function idempotencyKey(): string {
    key ||= Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join('');
    keep();
    return key;
}

export const lastPart = (path: string) => path.replace(/\/+$/, '').split('/').pop() ?? path;

export const outputsOf = (d: Pick<Draft, 'types' | 'folders' | 'container'>) => [...d.types.map((type) => ({ format: 'gguf', type })), ...d.folders.map((type) => ({ format: d.container, type }))];

// Is it said what to make?
export const asksFor = (d: Draft) => (d.byBudget ? budgetOf(d) !== undefined : d.types.length + d.folders.length > 0);

// "2 files, 1 folder"
export function made(d: Draft): string {
    if (d.byBudget) return '1 file by a budget';
    const words = ([[d.types.length, 'file'], [d.folders.length, 'folder']] as const).filter(([n]) => n > 0).map(([n, what]) => `${n} ${what}${n === 1 ? '' : 's'}`);
    return words.join(', ') || 'No type chosen';
}

export function request(d: Draft): JobRequest {
    const config: Record<string, unknown> = { ...calibrationOf(d), ...(d.byBudget ? budgetOf(d) : {}) };
    if (d.measure) config.measure = true;
    const rule = d.folders.length && !d.byBudget ? d.rules.split('\n').map((r) => r.trim()).filter(Boolean) : [];
    return {
        name: d.name.trim() || lastPart(d.model), source_model: d.model, source_type: d.kind, ...(d.byBudget ? {} : { outputs: outputsOf(d) }),
        ...(d.description.trim() ? { description: d.description.trim() } : {}), ...(d.priority ? { priority: d.priority } : {}), ...(Object.keys(config).length ? { config } : {}), ...(rule.length ? { options: { rule } } : {}),
    };
}
