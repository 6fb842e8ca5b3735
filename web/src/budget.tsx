// What a budget buys: size against loss, for every size. A point can be picked, and its file be made.
import { useState } from 'preact/hooks';
import { post, type Job } from './api';
import { bytes, fixed } from './format';
import { PointPlot, type Point } from './plot';
import { figure } from './quality';
import { go } from './route';
import type { Budget, BudgetPoint } from './tensors';
import { ProblemNote, useAction } from './ui';

// The same job with the point's own size as its budget. Bits are told to four digits: the next one is never too few.
function request(job: Job, budget: Budget, point: BudgetPoint) {
    const { fit: _, bpw: __, gpu: ___, ctx: ____, ...config } = job.config ?? {}, { fit: _a, bpw: _b, gpu: _c, ctx: _d, ...options } = job.options ?? {};
    const limit = budget.counts === 'file' ? { fit: String(point.size_bytes) } : { bpw: Number((point.bits_per_weight + 0.0001).toFixed(4)) };
    return { name: `${job.name}, ${bytes(point.size_bytes)}`.slice(0, 200), source_model: job.source_model, source_type: job.source_type, config: { ...config, ...limit }, options };
}

export function BudgetCurve({ job, budget }: { job: Job; budget: Budget }) {
    const [picked, pick] = useState(0);
    const make = useAction(async (point: BudgetPoint) => {
        const made = await post<Job>('/quantize/jobs', request(job, budget, point));
        go('jobs', made.id);
    });
    const curve = budget.curve ?? [], point = curve[Math.min(picked, curve.length - 1)];
    if (!point || budget.size_bytes === undefined || budget.divergence === undefined) return null;
    const points: Point[] = curve.map((p, i) => ({ id: String(i), name: '', x: p.size_bytes, y: p.estimated_divergence, group: i === picked ? 1 : 0, says: `${bytes(p.size_bytes)}, ${fixed(p.bits_per_weight, 2)} bits a weight: about ${figure(p.estimated_divergence)}` }));
    points.push({ id: 'this', name: 'this file', x: budget.size_bytes, y: budget.divergence, group: 2, says: `this file: ${bytes(budget.size_bytes)}, ${figure(budget.divergence)} as measured` });
    if (budget.named) points.push({ id: 'named', name: budget.named.type, x: budget.named.size_bytes, y: budget.named.divergence, group: 3, says: `${budget.named.type}: ${bytes(budget.named.size_bytes)}, ${figure(budget.named.divergence)} as measured` });
    return (
        <div class="quality budget-curve">
            <h2>What a budget buys</h2>
            <PointPlot points={points} x={{ label: budget.counts === 'file' ? 'size of the file' : 'size of all tensors', format: (v) => bytes(v), better: 'lower' }}
                y={{ label: 'KL divergence on held-out text, nats per token (lower is better)', format: (v) => String(Number(v.toPrecision(3))), log: true, better: 'lower' }}
                label={`loss of ${curve.length} sizes, as estimated; this file and ${budget.named?.type ?? 'nothing'} beside it as measured`} onPick={(id) => Number(id) >= 0 && pick(Number(id))} />
            <p class="axes-choice">
                <label class="inline">Size <select value={picked} onChange={(e) => pick(Number(e.currentTarget.value))}>{curve.map((p, i) => <option key={i} value={i}>{`${bytes(p.size_bytes)}, ${fixed(p.bits_per_weight, 2)} bits a weight, loss about ${figure(p.estimated_divergence)}`}</option>)}</select></label>
                <button type="button" disabled={make.busy} onClick={() => make.run(point)}>Make this file</button>
            </p>
            <ProblemNote problem={make.problem} />
        </div>
    );
}
