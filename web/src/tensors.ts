// Which tensors a job's model has: asked once a job, two at a time, and kept.
import { useEffect, useState } from 'preact/hooks';
import { get, type Job } from './api';
import type { Tensor } from './dots';

export interface TensorOutput { type: string; source_type?: string; bytes: number; relative_rmse: number | null }
export interface TensorRow extends Tensor { shape: number[]; source_type: string; outputs: Record<string, { type: string; bytes: number; relative_rmse: number | null }> }
export interface TensorList { tensors: TensorRow[] }

const kept = new Map<string, Tensor[]>();
const asked = new Map<string, Promise<Tensor[]>>();

function ask(id: string): Promise<Tensor[]> {
    const p = asked.get(id) ?? get<TensorList>(`/quantize/jobs/${id}/tensors`).then((l) => {
        if (l.tensors.length) kept.set(id, l.tensors);
        else asked.delete(id); // not planned yet
        return l.tensors;
    });
    asked.set(id, p);
    return p;
}

export function useTensors(jobs: Pick<Job, 'id' | 'status'>[]): Map<string, Tensor[]> {
    const [, turn] = useState(0);
    const wanted = jobs.filter((j) => j.status !== 'queued' && !kept.has(j.id)).map((j) => j.id + ' ' + j.status).join();
    useEffect(() => {
        let stop = false;
        const ids = wanted ? wanted.split(',').map((s) => s.split(' ')[0]!) : [];
        const one = async () => {
            for (let id = ids.shift(); id && !stop; id = ids.shift()) await ask(id).catch(() => asked.delete(id!));
            if (!stop) turn((t) => t + 1);
        };
        void one();
        void one();
        return () => void (stop = true);
    }, [wanted]);
    return kept;
}
