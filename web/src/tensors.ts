// Which tensors a job's model has: asked once a job, two at a time, and kept.
import { useEffect, useState } from 'preact/hooks';
import { get, type Job } from './api';
import type { Tensor } from './dots';

// How `best` chose the codes of a matrix, and its error on held-out tokens: of the products, or, for an embedding, of the predictions.
export interface Method { taken: string; held_out_error?: number; held_out_error_rounded?: number; held_out_divergence?: number; held_out_divergence_rounded?: number }
export interface TensorOutput { type: string; bytes: number; relative_rmse: number | null; method: Method | null }
export interface TensorRow extends Tensor { shape: number[]; source_type: string; outputs: Record<string, TensorOutput> }
export interface BudgetPoint { size_bytes: number; bits_per_weight: number; estimated_divergence: number }
export interface Budget {
    asked: string; counts: 'file' | 'tensors'; limit_bytes: number; size_bytes?: number; divergence?: number; tokens?: number;
    named?: { type: string; size_bytes: number; divergence: number }; curve?: BudgetPoint[];
}
export interface TensorList { tensors: TensorRow[]; budget?: Budget | null }

const kept = new Map<string, Tensor[]>();
const budgets = new Map<string, Budget>();
export const budgetOf = (id: string) => budgets.get(id);
const asked = new Set<string>(); // "ID STATUS": a job that is not planned yet is asked again when its status changes
const waiting: string[] = [];
const listeners = new Set<() => void>();
let busy = 0;

async function work(): Promise<void> {
    if (busy >= 2) return;
    busy++;
    for (let key = waiting.shift(); key; key = waiting.shift()) {
        const [id = '', status] = key.split(' ');
        if (kept.has(id) && status !== 'completed') continue;
        try {
            const { tensors, budget } = await get<TensorList>(`/quantize/jobs/${id}/tensors`);
            if (budget) budgets.set(id, budget);
            if (tensors.length) kept.set(id, tensors);
        } catch {
            asked.delete(key);
        }
        if (kept.has(id)) for (const tell of listeners) tell();
    }
    busy--;
}

export function useTensors(jobs: Pick<Job, 'id' | 'status'>[]): Map<string, Tensor[]> {
    const [, turn] = useState(0);
    useEffect(() => {
        const tell = () => turn((t) => t + 1);
        listeners.add(tell);
        return () => void listeners.delete(tell);
    }, []);
    const wanted = jobs.filter((j) => j.status !== 'queued').map((j) => `${j.id} ${j.status}`).join();
    useEffect(() => {
        const kinds = wanted ? wanted.split(',') : [];
        for (const key of kinds) {
            const [id, status] = key.split(' ');
            // errors come with the end: what was kept of the plan is asked for once more then
            if (asked.has(key) || (kept.has(id!) && status !== 'completed')) continue;
            asked.add(key);
            waiting.push(key);
        }
        void work();
        void work();
    }, [wanted]);
    return kept;
}
