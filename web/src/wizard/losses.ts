// What each type is expected to lose: as measured on this model where the registry knows, else on the example model, as the
// server's list of types says.
import { get, query, type QuantType } from '../api';
import { verdict } from '../quality';
import { useLoad } from '../ui';
import type { Draft } from './draft';

export interface Loss { divergence: number; same: number | null; own: boolean }

interface Measured { quant_type: string; kld: number | null; top1_agreement: number | null; created_at: string }
interface Known { models: { source_model: string; source_type: string; variants: Measured[] }[] }

export function useLosses(draft: Draft, types: QuantType[]): Map<string, Loss> {
    const known = useLoad<Known>(draft.model ? `${draft.kind} ${draft.model}` : null, (signal) => get(`/models${query({ search: draft.model, limit: 50 })}`, signal));
    const losses = new Map<string, Loss>();
    for (const t of types) if (t.measured) losses.set(t.name, { divergence: t.measured.divergence, same: t.measured.same_top_token, own: false });
    const model = known.data?.models.find((m) => m.source_model === draft.model && m.source_type === draft.kind);
    for (const v of [...(model?.variants ?? [])].sort((a, b) => (a.created_at < b.created_at ? -1 : 1)))
        if (v.kld !== null && v.kld > 0) losses.set(v.quant_type, { divergence: v.kld, same: v.top1_agreement, own: true });
    return losses;
}

export const inWords = (loss: Loss) => verdict(loss.divergence);

export const divergence = (x: number) => (x >= 0.01 ? x.toFixed(3) : x >= 0.0001 ? x.toFixed(4) : x.toFixed(5));
export const share = (x: number) => `${(100 * x).toFixed(1)} %`;
