// What was measured of files: in words, in numbers with their errors, and as pictures.
import { useMemo, useState } from 'preact/hooks';
import { bytes, count, fixed } from './format';
import { LayerPlot, PointPlot, type Axis, type Point } from './plot';

// The report's figures, as far as the page shows them.
export interface Reference { label: string; type: string; size_bytes: number; bpw: number; perplexity: number | null; perplexity_error: number | null }
export interface Quality {
    text?: string; context?: number; chunks?: number; tokens?: number; reference?: Reference;
    perplexity_error?: number | null; kld?: { mean: number; mean_error?: number } | null; top1_agreement_error?: number | null;
    tokens_per_second?: number; memory_bytes?: number; layer_error?: (number | null)[]; layer_kld?: (number | null)[]; layer_kld_positions?: number;
}
export interface Measured {
    id: string; name: string; quant_type: string; file_size: number | null; perplexity: number | null; kld: number | null; top1_agreement: number | null; relative_rmse: number | null;
    run_memory?: { with_margin_bytes: number } | null; quality?: Quality | null;
}

// Divergence in words, nats per token. The usual types lie one in each step: Q8_0 and Q6_K, Q5_K_M, Q4_K_M, Q3_K_M, Q2_K.
const words: [number, string][] = [[0.0008, 'virtually lossless'], [0.002, 'very small loss'], [0.008, 'small loss'], [0.02, 'noticeable loss'], [0.05, 'large loss']];
export const verdict = (divergence: number) => words.find(([below]) => divergence < below)?.[1] ?? 'severe loss';

export const share = (x: number | null | undefined, digits = 1) => (x === null || x === undefined ? '–' : `${(100 * x).toFixed(digits)} %`);
// Three figures that mean something, however small the number is.
export const figure = (x: number | null | undefined) => (x === null || x === undefined ? '–' : x === 0 ? '0' : x < 0.0001 ? x.toExponential(1) : x < 1 ? String(Number(x.toPrecision(3))) : x.toFixed(3));

// Two figures, zeros at the end kept: what stands in columns.
export const two = (x: number) => (x === 0 ? '0' : x < 0.0001 ? x.toExponential(0) : x.toFixed(Math.max(0, 1 - Math.floor(Math.log10(x)))));

// The error has two figures, and the value as many digits as the error.
export function withError(value: number | null | undefined, error: number | null | undefined): string {
    if (value === null || value === undefined) return '–';
    if (!error) return figure(value);
    const digits = Math.max(0, Math.min(8, 1 - Math.floor(Math.log10(error))));
    return `${value.toFixed(digits)} ± ${error.toFixed(digits)}`;
}

export const isMeasured = (f: Pick<Measured, 'kld' | 'perplexity'>) => f.kld !== null || f.perplexity !== null;

export function QualityHead() {
    return <><th class="n">KL divergence</th><th class="n">same top token</th><th class="n">perplexity</th></>;
}

export function QualityCells({ of }: { of: Pick<Measured, 'kld' | 'perplexity' | 'top1_agreement' | 'quality'> }) {
    const q = of.quality, topError = q?.top1_agreement_error;
    return (
        <>
            <td class="n">{withError(of.kld, q?.kld?.mean_error)}{of.kld !== null && <small class="under">{verdict(of.kld)}</small>}</td>
            <td class="n">{of.top1_agreement === null ? '–' : topError ? `${(100 * of.top1_agreement).toFixed(1)} ± ${(100 * topError).toFixed(1)} %` : share(of.top1_agreement)}</td>
            <td class="n">{of.perplexity === null ? '–' : q?.perplexity_error ? withError(of.perplexity, q.perplexity_error) : fixed(of.perplexity, 3)}</td>
        </>
    );
}

// Which text, how much of it, and against what: one line under the table.
export function MeasuredOn({ files }: { files: Measured[] }) {
    const q = files.find((f) => f.quality?.tokens)?.quality;
    if (!q) return null;
    const text = q.text === 'default' ? 'the text that Halftone brings' : q.text;
    return <p class="quiet measured">Measured on {count(q.tokens)} tokens of {text} ({q.chunks} {q.chunks === 1 ? 'chunk' : 'chunks'} of {q.context}, second halves){q.reference && <> against {q.reference.label} ({q.reference.type.toUpperCase()})</>}. ± is one standard error.</p>;
}

const speedOf = (f: Measured) => f.quality?.tokens_per_second || null;
interface Choice extends Axis { key: string; name: string; of: (f: Measured) => number | null | undefined }
const number = (v: number) => (v >= 1000 ? count(v) : String(Number(v.toPrecision(3))));
const losses: Choice[] = [
    { key: 'kld', name: 'KL divergence', label: 'KL divergence, nats per token (lower is better)', log: true, better: 'lower', format: number, of: (f) => f.kld },
    { key: 'top1', name: 'different top token', label: 'share of different top tokens (lower is better)', log: true, better: 'lower', format: (v) => `${Number((100 * v).toPrecision(3))} %`, of: (f) => (f.top1_agreement === null ? null : 1 - f.top1_agreement) },
    { key: 'perplexity', name: 'perplexity', label: 'perplexity (lower is better)', better: 'lower', format: number, of: (f) => f.perplexity },
    { key: 'rmse', name: 'error of the weights', label: 'relative error of the weights (lower is better)', log: true, better: 'lower', format: number, of: (f) => f.relative_rmse },
];
const costs: Choice[] = [
    { key: 'size', name: 'size', label: 'size of the file', better: 'lower', format: (v) => bytes(v), of: (f) => f.file_size },
    { key: 'memory', name: 'memory to run', label: 'memory to run it', better: 'lower', format: (v) => bytes(v), of: (f) => f.run_memory?.with_margin_bytes },
    { key: 'speed', name: 'speed', label: 'tokens per second while measuring (higher is better)', better: 'higher', format: number, of: speedOf },
];
const known = (choices: Choice[], files: Measured[]) => choices.filter((c) => files.filter((f) => typeof c.of(f) === 'number').length >= 2);

function Choose({ label, of, value, onChange }: { label: string; of: Choice[]; value: Choice; onChange: (key: string) => void }) {
    return <label class="inline">{label} <select value={value.key} onChange={(e) => onChange(e.currentTarget.value)}>{of.map((c) => <option key={c.key} value={c.key}>{c.name}</option>)}</select></label>;
}

export function QualityPlot({ files, groups }: { files: Measured[]; groups?: Map<string, number> }) {
    const [loss, setLoss] = useState('kld'), [cost, setCost] = useState('size');
    const ys = known(losses, files), xs = known(costs, files);
    const y = ys.find((c) => c.key === loss) ?? ys[0], x = xs.find((c) => c.key === cost) ?? xs[0];
    const points = useMemo(() => (x && y ? files.flatMap((f): Point[] => {
        const a = x.of(f), b = y.of(f);
        return typeof a === 'number' && typeof b === 'number'
            ? [{ id: f.id, name: f.name, x: a, y: b, group: groups?.get(f.id) ?? 0, says: `${f.name}: ${x.name} ${x.format(a)}, ${y.name} ${y.format(b)}` }] : [];
    }) : []), [files, groups, x, y]);
    if (!x || !y) return null;
    return (
        <div class="quality">
            <h2>Loss and cost</h2>
            <p class="axes-choice"><Choose label="Plot" of={ys} value={y} onChange={setLoss} /> <Choose label="against" of={xs} value={x} onChange={setCost} /></p>
            <PointPlot points={points} x={x} y={y} label={`${y.name} of ${points.length} files against ${x.name}; the table has the numbers`} />
        </div>
    );
}

// Where in the model the loss arises.
export function QualityLayers({ files }: { files: Measured[] }) {
    const [what, setWhat] = useState<'layer_kld' | 'layer_error'>('layer_kld');
    const has = (key: 'layer_kld' | 'layer_error') => files.filter((f) => (f.quality?.[key]?.length ?? 0) > 1);
    const of = has(what).length ? what : 'layer_error', those = has(of);
    if (!those.length) return null;
    const label = of === 'layer_kld' ? 'KL divergence after each layer, nats' : 'relative error of the activations';
    return (
        <div class="quality">
            <h2>Layer by layer</h2>
            <label class="inline">Plot <select value={of} onChange={(e) => setWhat(e.currentTarget.value as typeof what)}>
                {has('layer_kld').length > 0 && <option value="layer_kld">KL divergence after each layer</option>}
                {has('layer_error').length > 0 && <option value="layer_error">error of the activations</option>}
            </select></label>
            <LayerPlot lines={those.map((f) => ({ name: f.name, y: f.quality![of]! }))} y={{ label, format: number, log: true }} label={`${label}, ${those.length} files`} />
        </div>
    );
}
