// What was measured of a set of files: a choice of measure, and the plot of it against size.
import { useState } from 'preact/hooks';
import { SizePlot, type Point } from './plot';

export interface Measured { name: string; file_size: number | null; perplexity: number | null; kld: number | null; top1_agreement: number | null; relative_rmse: number | null; speed?: number | null }

type Measure = 'kld' | 'perplexity' | 'relative_rmse' | 'speed';
const measures: [Measure, string, string][] = [['kld', 'KL divergence', 'lower'], ['perplexity', 'perplexity', 'lower'],
    ['relative_rmse', 'relative error of weights', 'lower'], ['speed', 'tokens per second, when measured', 'higher']];

export function QualityPlot({ files }: { files: Measured[] }) {
    const known = measures.filter(([m]) => files.filter((f) => f[m] !== null && f[m] !== undefined).length >= 2);
    const [wanted, want] = useState<Measure>();
    const measure = known.find(([m]) => m === wanted) ?? known[0];
    if (!measure) return null;
    const points: Point[] = files.filter((f) => f[measure[0]] !== null && f[measure[0]] !== undefined && f.file_size !== null).map((f) => ({ name: f.name, x: f.file_size!, y: f[measure[0]]! }));
    return (
        <div class="quality">
            <label class="inline">Size against <select value={measure[0]} onChange={(e) => want(e.currentTarget.value as Measure)}>
                {known.map(([m, name]) => <option key={m} value={m}>{name}</option>)}
            </select></label>
            <SizePlot points={points} yLabel={`${measure[1]} (${measure[2]} is better)`} label={`${measure[1]} of ${points.length} files against their size; the table has the numbers`} />
        </div>
    );
}
