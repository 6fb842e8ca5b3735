// The page's one picture: a halftone field, a dot for a tensor. A dot is as large as its tensor, it grows as far as the
// tensor is done, and it is printed twice: in cyan when it is quantized, in ink when it has been read back and verified.
import { useEffect, useMemo, useRef } from 'preact/hooks';
import type { Job } from './api';
import { percent } from './format';

export interface Tensor { name: string; weights: number }

interface Dot { x: number; y: number; size: number; from: number; weight: number }
export interface Screen { dots: Dot[]; width: number; height: number; pitch: number; rows: string[]; columns: number }

export const blockOf = (name: string) => {
    const m = /^(?:blk|model\.layers|layers|h|transformer\.h)\.(\d+)\.(.+)$/.exec(name);
    return m ? { layer: Number(m[1]), role: m[2]!.replace(/\.(weight|bias)$/, (s) => (s === '.bias' ? '.bias' : '')) } : null;
};

// Layers are columns and roles are rows, so a model shows its own weave; what belongs to no layer stands in front.
function arrange(tensors: Tensor[]): { cells: { column: number; row: number; tensor: Tensor }[]; rows: string[]; columns: number } {
    const roles = new Map<string, number>();
    let layers = 0;
    for (const t of tensors) {
        const b = blockOf(t.name);
        if (!b) continue;
        layers = Math.max(layers, b.layer + 1);
        roles.set(b.role, (roles.get(b.role) ?? 0) + t.weights);
    }
    const outside = tensors.filter((t) => !blockOf(t.name));
    const rows = [...roles.keys()].sort((a, b) => roles.get(b)! - roles.get(a)! || (a < b ? -1 : 1));
    if (layers < 2 || rows.length < 2 || rows.length > 64) {
        const height = Math.max(1, Math.min(12, Math.round(Math.sqrt(tensors.length / 5))));
        const cells = tensors.map((tensor, i) => ({ column: Math.floor(i / height), row: i % height, tensor }));
        return { cells, rows: [], columns: Math.ceil(tensors.length / height) };
    }
    const rowOf = new Map(rows.map((r, i) => [r, i]));
    const front = Math.ceil(outside.length / rows.length);
    let k = 0;
    const cells = tensors.map((tensor) => {
        const b = blockOf(tensor.name);
        if (b) return { column: front + b.layer, row: rowOf.get(b.role)!, tensor };
        const at = k++;
        return { column: Math.floor(at / rows.length), row: at % rows.length, tensor };
    });
    return { cells, rows, columns: front + layers };
}

// Without a list of tensors: equal dots, each the same share of the work.
export const equalShares = (n: number): Tensor[] => Array.from({ length: n }, (_, i) => ({ name: String(i), weights: 1 }));

export function layOut(tensors: Tensor[], maxWidth: number, maxHeight: number, maxPitch: number): Screen {
    const { cells, rows, columns } = arrange(tensors);
    const n = Math.max(rows.length, ...cells.map((c) => c.row + 1), 1);
    // every second column sits half a step lower: the 45° screen of a press
    const pitch = Math.max(2, Math.min(maxPitch, maxWidth / (columns + 0.5), maxHeight / (n + 0.5)));
    const most = Math.max(...tensors.map((t) => t.weights), 1);
    const total = tensors.reduce((s, t) => s + t.weights, 0) || 1;
    let done = 0;
    // few layers are spread out, so that small models are pictures too
    const step = Math.min(2.6 * pitch, maxWidth / (columns + 0.5));
    const dots = cells.map(({ column, row, tensor }) => {
        // area in proportion to the weights; the fourth root keeps the norms visible beside the embeddings
        const size = 0.3 + 0.7 * Math.sqrt(Math.sqrt(tensor.weights / most));
        const dot = { x: (column + 0.5) * step, y: (row + 0.5 + (column % 2) / 2) * pitch, size, from: done / total, weight: tensor.weights / total };
        done += tensor.weights;
        return dot;
    });
    return { dots, width: Math.ceil(columns * step), height: Math.ceil((n + 0.5) * pitch), pitch, rows, columns };
}

// How far each plate is printed, 0 to 1: fetched (rings), quantized (cyan), verified (ink).
export interface Plates { fetched: number; quantized: number; verified: number; tone: 'plain' | 'failed' | 'cancelled' }

export function platesOf(job: Pick<Job, 'status' | 'progress' | 'live' | 'step'>): Plates {
    const { status, live } = job;
    const part = live && live.total > 0 ? Math.min(1, live.done / live.total) : 0;
    const p: Plates = { fetched: 0, quantized: 0, verified: 0, tone: 'plain' };
    switch (status) {
        case 'queued': break;
        case 'downloading': p.fetched = part; break;
        case 'preparing': p.fetched = 1; break;
        case 'quantizing': p.fetched = 1; p.quantized = part || job.progress / 100; break;
        case 'verifying': p.fetched = p.quantized = 1; p.verified = part; break;
        case 'measuring':
        case 'completed': p.fetched = p.quantized = p.verified = 1; break;
        case 'failed':
        case 'cancelled': p.quantized = job.progress / 100; p.tone = status; break;
    }
    return p;
}

export const share = (dot: { from: number; weight: number }, plate: number) => Math.max(0, Math.min(1, (plate - dot.from) / (dot.weight || 1e-9)));

function paint(canvas: HTMLCanvasElement, screen: Screen, plates: Plates) {
    const scale = devicePixelRatio || 1;
    const w = Math.round(screen.width * scale), h = Math.round(screen.height * scale);
    if (canvas.width !== w || canvas.height !== h) (canvas.width = w), (canvas.height = h);
    const g = canvas.getContext('2d');
    if (!g) return;
    const css = getComputedStyle(canvas);
    const colour = (name: string) => css.getPropertyValue(name).trim();
    const ghost = colour('--dot-ghost'), ring = colour('--dot-ring'), ink = colour('--dot-ink');
    const first = colour(plates.tone === 'failed' ? '--dot-failed' : plates.tone === 'cancelled' ? '--dot-cancelled' : '--dot-first');
    g.setTransform(scale, 0, 0, scale, 0, 0);
    g.clearRect(0, 0, screen.width, screen.height);
    const full = screen.pitch * 0.47;
    const disc = (d: Dot, r: number, fill: string) => {
        g.beginPath();
        g.arc(d.x, d.y, r, 0, 2 * Math.PI);
        g.fillStyle = fill;
        g.fill();
    };
    for (const d of screen.dots) {
        const max = Math.max(0.6, full * d.size);
        const least = Math.max(0.5, max * 0.28);
        const fetched = share(d, plates.fetched), quantized = share(d, plates.quantized), verified = share(d, plates.verified);
        if (quantized < 1) disc(d, Math.max(least, max * 0.55 * Math.sqrt(fetched)), fetched > 0 ? ring : ghost);
        if (quantized > 0) disc(d, Math.max(least, max * Math.sqrt(quantized)), first);
        if (verified > 0) disc(d, max * Math.sqrt(verified), ink);
    }
}

const still = () => matchMedia('(prefers-reduced-motion: reduce)').matches;

interface FieldProps { job: Pick<Job, 'status' | 'progress' | 'live' | 'step' | 'name'>; tensors?: Tensor[] | undefined; width: number; height: number; pitch?: number }

// Calls draw with the plates on their way from what was shown to what is so; a new attempt starts afresh at once.
export function useGlide(target: Plates, draw: (plates: Plates) => void, also: unknown): void {
    const shown = useRef<Plates>(target);
    const how = useRef(draw);
    how.current = draw;
    const { fetched, quantized, verified, tone } = target;
    useEffect(() => {
        let frame = 0;
        const step = () => {
            const s = shown.current;
            let moving = false;
            const near = (a: number, b: number) => {
                if (b < a || still() || Math.abs(b - a) < 0.0005) return b;
                moving = true;
                return a + (b - a) * 0.14;
            };
            shown.current = { fetched: near(s.fetched, fetched), quantized: near(s.quantized, quantized), verified: near(s.verified, verified), tone };
            how.current(shown.current);
            if (moving) frame = requestAnimationFrame(step);
        };
        step();
        const redraw = () => how.current(shown.current);
        addEventListener('themechange', redraw);
        const dark = matchMedia('(prefers-color-scheme: dark)');
        dark.addEventListener('change', redraw);
        return () => {
            cancelAnimationFrame(frame);
            removeEventListener('themechange', redraw);
            dark.removeEventListener('change', redraw);
        };
    }, [also, fetched, quantized, verified, tone]);
}

export function Field({ job, tensors, width, height, pitch = 26 }: FieldProps) {
    const canvas = useRef<HTMLCanvasElement>(null);
    const screen = useMemo(() => layOut(tensors?.length ? tensors : equalShares(160), width, height, pitch), [tensors, width, height, pitch]);
    useGlide(platesOf(job), (plates) => canvas.current && paint(canvas.current, screen, plates), screen);
    return (
        <span class="field">
            <canvas ref={canvas} style={{ width: `${screen.width}px`, height: `${screen.height}px` }} aria-hidden="true" />
            <Bar job={job} />
        </span>
    );
}

export const Bar = ({ job }: { job: Pick<Job, 'progress' | 'name'> }) =>
    <progress class="unseen" max={100} value={Math.min(100, job.progress)} aria-label={`Progress of ${job.name}`}>{percent(job.progress)} %</progress>;

// The mark: the same dots, from full to nothing.
export function Mark() {
    const dots = [];
    for (let y = 0; y < 4; y++) for (let x = 0; x < 4; x++) dots.push(<circle key={x + 4 * y} cx={3 + 6 * x} cy={3 + 6 * y} r={2.7 - 0.36 * (x + y)} />);
    return <svg class="mark" viewBox="0 0 24 24" width="22" height="22" aria-hidden="true">{dots}</svg>;
}
