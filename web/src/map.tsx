// The tensors of a job's model as a map: layers from left to right, roles from top to bottom, a dot for a tensor. While the
// job runs the dots fill; when it is done their colour is what quantizing cost each of them.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { typesOf, type Job } from './api';
import { Bar, blockOf, platesOf, share, useGlide, type Plates } from './dots';
import { bytes, count } from './format';
import { useWidth } from './plot';
import { figure, two } from './quality';
import type { TensorOutput, TensorRow } from './tensors';

interface Cell { tensor: TensorRow; column: number; row: number; from: number; weight: number; size: number }
interface Grid { cells: Cell[]; rows: string[]; columns: number; layers: boolean; most: number }

const upper = (type: string | null) => (type ?? '').toUpperCase(); // as types are named everywhere else
const short = (role: string) => role.replace(/\.weight$/, '');

// Where the keyboard begins: the upper left.
const first = (grid: Grid) => [...grid.cells].sort((a, b) => a.row - b.row || a.column - b.column)[0];

// What belongs to no layer has rows of its own: above the layers what is read first, below them the others.
export function gridOf(tensors: TensorRow[]): Grid {
    const places = tensors.map((t) => blockOf(t.name)), roles = new Map<string, number>();
    let columns = 0;
    places.forEach((p, i) => {
        if (!p) return;
        columns = Math.max(columns, p.layer + 1);
        roles.set(p.role, Math.max(roles.get(p.role) ?? 0, tensors[i]!.weights));
    });
    const outside = tensors.filter((_, i) => !places[i]), layers = columns > 0 && roles.size <= 64;
    const names = [...roles.keys()].sort((a, b) => roles.get(b)! - roles.get(a)! || (a < b ? -1 : 1));
    const own = layers && outside.length <= 6;
    const head = own ? outside.filter((t) => /embd|embed/.test(t.name)).map((t) => t.name) : [];
    const tail = own ? outside.map((t) => t.name).filter((n) => !head.includes(n)) : [];
    if (!layers) columns = Math.min(tensors.length, 24);
    const rows = layers ? [...head, ...names, ...tail] : [];
    const rowOf = new Map(rows.map((r, i) => [r, i]));
    const biggest = Math.max(...tensors.map((t) => t.weights), 1), total = tensors.reduce((s, t) => s + t.weights, 0) || 1;
    let done = 0, spare = 0;
    const cells = tensors.map((tensor, i): Cell => {
        const p = layers ? places[i] : null;
        // the area grows with the weights; the fourth root keeps norms visible beside embeddings
        const cell = { tensor, column: 0, row: 0, from: done / total, weight: tensor.weights / total, size: 0.34 + 0.66 * (tensor.weights / biggest) ** 0.25 };
        done += tensor.weights;
        if (p) return { ...cell, column: p.layer, row: rowOf.get(p.role)! };
        if (own) return { ...cell, row: rowOf.get(tensor.name)! };
        const at = spare++;
        return { ...cell, column: at % columns, row: rows.length + Math.floor(at / columns) };
    });
    const more = own ? 0 : Math.ceil(spare / columns);
    for (let i = 0; i < more; i++) rows.push(layers && i === 0 ? 'other' : '');
    return { cells, rows, columns, layers, most: biggest };
}

// What may colour a dot: the error of the weights; where `best` chose the codes, that of the products on held-out tokens, what
// rounding would have made of it, and how much of that is left.
export interface Measure { key: string; name: string; of: (o: TensorOutput) => number | null }
const held = (o: TensorOutput, after: boolean) => (after ? o.method?.held_out_error : o.method?.held_out_error_rounded) ?? null;
export const measures: Measure[] = [
    { key: 'weights', name: 'relative error', of: (o) => o.relative_rmse },
    { key: 'after', name: 'held-out error', of: (o) => held(o, true) },
    { key: 'before', name: 'held-out error, if rounded', of: (o) => held(o, false) },
    { key: 'left', name: 'share of the error that is left', of: (o) => { const [a, b] = [held(o, true), held(o, false)]; return a !== null && b ? a / b : null; } },
];

// Five steps of error between the smallest and the largest of all outputs, each the same factor wide.
export interface Steps { low: number; high: number; of: (error: number) => number; ends: number[] }
export function stepsOf(tensors: TensorRow[], measure: Measure = measures[0]!): Steps | null {
    const errors = tensors.flatMap((t) => Object.values(t.outputs ?? {}).map((o) => measure.of(o))).filter((e): e is number => typeof e === 'number' && e > 0);
    if (!errors.length) return null;
    const low = Math.min(...errors), high = Math.max(...errors), factor = Math.max(high / low, 1.0001) ** (1 / 5);
    return { low, high, of: (e) => Math.max(0, Math.min(4, Math.floor(Math.log(e / low) / Math.log(factor)))), ends: [1, 2, 3, 4, 5].map((i) => low * factor ** i) };
}

interface Measures { label: number; cell: number; line: number; width: number; height: number; dot: number; top: number }

function measuresOf(grid: Grid, width: number): Measures {
    const longest = Math.max(0, ...grid.rows.map((r) => short(r).length));
    const label = grid.rows.some(Boolean) ? Math.min(width < 500 ? 104 : 168, Math.ceil(longest * 7) + 12) : 0;
    const cell = Math.max(9, (width - label) / grid.columns), line = grid.rows.length > 20 ? 16 : 22, top = grid.layers ? 20 : 4;
    return { label, cell, line, top, width: label + cell * grid.columns, height: top + line * Math.max(1, grid.rows.length) + 4, dot: Math.min(cell, line) * 0.46 };
}

function paint(canvas: HTMLCanvasElement, grid: Grid, m: Measures, plates: Plates, type: string | undefined, steps: Steps | null, measure: Measure) {
    const scale = Math.min(3, devicePixelRatio || 1), w = Math.round(m.width * scale), h = Math.round(m.height * scale);
    if (canvas.width !== w || canvas.height !== h) (canvas.width = w), (canvas.height = h);
    const g = canvas.getContext('2d');
    if (!g) return;
    const css = getComputedStyle(canvas), colour = (name: string) => css.getPropertyValue(name).trim();
    const ghost = colour('--dot-ghost'), ring = colour('--dot-ring'), ink = colour('--dot-ink'), text = colour('--plot-text');
    const first = colour(plates.tone === 'failed' ? '--dot-failed' : plates.tone === 'cancelled' ? '--dot-cancelled' : '--dot-first');
    const errors = [0, 1, 2, 3, 4].map((i) => colour(`--error-${i}`));
    const roomy = m.cell >= 84 && m.line >= 20;
    g.setTransform(scale, 0, 0, scale, 0, 0);
    g.clearRect(0, 0, m.width, m.height);
    g.font = `11px ${css.getPropertyValue('--mono')}`;
    g.textBaseline = 'middle';
    for (const c of grid.cells) {
        const x = m.label + m.cell * c.column + (roomy ? 14 : m.cell / 2), y = m.top + m.line * (c.row + 0.5), r = Math.max(1, m.dot * c.size);
        const disc = (radius: number, fill: string) => {
            g.beginPath();
            g.arc(x, y, radius, 0, 2 * Math.PI);
            g.fillStyle = fill;
            g.fill();
        };
        const o = type ? c.tensor.outputs?.[type] : undefined;
        const error = o ? measure.of(o) : null;
        if (steps && o) {
            if (error) disc(r, errors[steps.of(error)]!);
            else {
                g.beginPath();
                g.arc(x, y, Math.max(1, r - 0.75), 0, 2 * Math.PI);
                g.strokeStyle = ring;
                g.lineWidth = 1.5;
                g.stroke();
            }
        } else {
            const fetched = share(c, plates.fetched), quantized = share(c, plates.quantized), verified = share(c, plates.verified);
            const least = Math.max(0.8, r * 0.35);
            if (quantized < 1) disc(Math.max(least, r * 0.6 * Math.sqrt(fetched)), fetched > 0 ? ring : ghost);
            if (quantized > 0) disc(Math.max(least, r * Math.sqrt(quantized)), first);
            if (verified > 0) disc(r * Math.sqrt(verified), ink);
        }
        if (roomy && o?.type) {
            g.fillStyle = text;
            g.fillText(error && m.cell >= 118 ? `${upper(o.type)} ${two(error)}` : upper(o.type), x + 14, y + 0.5, m.cell - 30);
        }
    }
}

function Legend({ steps, job, exact, name }: { steps: Steps | null; job: Job; exact: boolean; name: string }) {
    const dot = (c: string) => <span class={`swatch ${c}`} aria-hidden="true" />;
    return (
        <ul class="legend" aria-label="Legend">
            {steps ? <>
                <li>{name}</li>
                {steps.ends.map((end, i) => <li key={i}>{dot(`error-${i}`)} {i === 0 ? `≤ ${two(end)}` : i === 4 ? `≤ ${two(steps.high)}` : two(end)}</li>)}
                {exact && <li>{dot('exact')} exact</li>}
            </> : <>
                <li>{dot('ghost')} waiting</li>
                {job.source_type === 'huggingface' && <li>{dot('fetched')} downloaded</li>}
                <li>{dot(job.status === 'failed' || job.status === 'cancelled' ? job.status : 'first')} {job.status === 'failed' || job.status === 'cancelled' ? `quantized when it ${job.status === 'failed' ? 'failed' : 'was cancelled'}` : 'quantized'}</li>
                {job.status !== 'failed' && job.status !== 'cancelled' && <li>{dot('ink')} verified</li>}
            </>}
            <li class="quiet">larger dot: more weights</li>
        </ul>
    );
}

function Told({ cell, types }: { cell: Cell; types: string[] }) {
    const t = cell.tensor, made = types.filter((type) => t.outputs?.[type]);
    return (
        <>
            <strong><code>{t.name}</code></strong>
            <span>{t.shape?.join(' × ')}, {count(t.weights)} weights, {upper(t.source_type)}</span>
            {made.map((type) => {
                const o = t.outputs[type]!;
                const [after, before] = [held(o, true), held(o, false)];
                return <span key={type}>{made.length > 1 && `${type}: `}<code>{upper(o.type)}</code>, {o.relative_rmse ? `error ${figure(o.relative_rmse)}` : o.relative_rmse === 0 ? 'exact' : 'planned'}, {bytes(o.bytes)}{o.method && <>, {o.method.taken}{after !== null && before ? `: held-out error ${figure(after)}, rounded ${figure(before)} (${Math.round((100 * after) / before)} % left)` : ''}</>}</span>;
            })}
        </>
    );
}

// The next cell in a direction: the nearest one of the row or column beside.
function neighbour(grid: Grid, at: Cell, dx: number, dy: number): Cell {
    const ahead = grid.cells.filter((c) => (dx ? c.row === at.row && (c.column - at.column) * dx > 0 : (c.row - at.row) * dy > 0));
    const far = (c: Cell) => Math.abs(c.row - at.row) * 1000 + Math.abs(c.column - at.column);
    return ahead.sort((a, b) => far(a) - far(b))[0] ?? at;
}

const keys: Record<string, [number, number]> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export function TensorMap({ job, tensors, type, onType }: { job: Job; tensors: TensorRow[]; type: string; onType: (type: string) => void }) {
    const [box, width] = useWidth();
    const canvas = useRef<HTMLCanvasElement>(null);
    const [at, setAt] = useState<Cell>();
    const [colour, setColour] = useState('weights');
    const known = measures.filter((m) => m.key === 'weights' || stepsOf(tensors, m));
    const measure = known.find((m) => m.key === colour) ?? measures[0]!;
    const steps = useMemo(() => (job.status === 'completed' ? stepsOf(tensors, measure) : null), [tensors, job.status, measure]);
    const types = typesOf(job).filter((t) => tensors.some((x) => x.outputs?.[t]));
    const shown = types.includes(type) ? type : types[0];
    // files and folders name the same weights differently: the map has those of the output that is shown
    const grid = useMemo(() => gridOf(shown ? tensors.filter((t) => t.outputs?.[shown]) : tensors), [tensors, shown]);
    const m = useMemo(() => measuresOf(grid, width), [grid, width]);
    useGlide(platesOf(job), (plates) => canvas.current && width > 0 && paint(canvas.current, grid, m, plates, shown, steps, measure), useMemo(() => ({}), [grid, m, shown, steps, measure]));
    useEffect(() => setAt(undefined), [grid]);
    const find = (e: MouseEvent) => {
        const r = canvas.current!.getBoundingClientRect(), column = Math.floor((e.clientX - r.left - m.label) / m.cell), row = Math.floor((e.clientY - r.top - m.top) / m.line);
        setAt(grid.cells.find((c) => c.column === column && c.row === row));
    };
    const key = (e: KeyboardEvent) => {
        const go = keys[e.key];
        if (e.key === 'Escape') setAt(undefined);
        if (!go) return;
        e.preventDefault();
        setAt(at ? neighbour(grid, at, go[0], go[1]) : first(grid));
    };
    const every = Math.max(1, Math.ceil(26 / m.cell)) > 1 ? (m.cell * 5 >= 26 ? 5 : 10) : 1;
    const roomy = m.cell >= 84 && m.line >= 20;
    return (
        <div class="map">
            <div class="map-head">
                {types.length > 1 && steps ? <label class="inline">Error of each tensor in <select value={shown} onChange={(e) => onType(e.currentTarget.value)}>{types.map((t) => <option key={t} value={t}>{t}</option>)}</select></label>
                    : <span class="quiet">{steps ? `Error of each tensor in ${shown}` : `${count(tensors.length)} tensors`}</span>}
                {steps && known.length > 1 && <label class="inline">Colour <select value={measure.key} onChange={(e) => setColour(e.currentTarget.value)}>{known.map((k) => <option key={k.key} value={k.key}>{k.name}</option>)}</select></label>}
                <Legend steps={steps} job={job} name={measure.name} exact={measure.key === 'weights' && tensors.some((t) => shown && t.outputs?.[shown]?.relative_rmse === 0)} />
            </div>
            <div class="scroll" ref={box}>{width > 0 && (
                <div class="map-field" style={{ width: `${m.width}px`, height: `${m.height}px` }} tabIndex={0} role="application" aria-roledescription="tensor map"
                    aria-label={`${tensors.length} tensors, layers from left to right, roles from top to bottom. Arrow keys go from tensor to tensor`}
                    onMouseMove={find} onClick={find} onMouseLeave={() => setAt(undefined)} onKeyDown={key} onFocus={() => !at && setAt(first(grid))} onBlur={() => setAt(undefined)}>
                    <canvas ref={canvas} style={{ width: `${m.width}px`, height: `${m.height}px` }} aria-hidden="true" />
                    <div aria-hidden="true">
                        {grid.layers && <span class="map-corner" style={{ width: `${m.label}px` }}>layer</span>}
                        {grid.layers && Array.from({ length: grid.columns }, (_, i) => i % every === 0 && <span key={i} class="map-layer" style={{ left: `${m.label + m.cell * i}px`, width: `${m.cell * every}px`, textAlign: roomy || every > 1 ? 'left' : 'center', paddingLeft: roomy ? '10px' : every > 1 ? `${m.cell / 2 - 3}px` : '0' }}>{i}</span>)}
                        {grid.rows.map((r, i) => r && <span key={r} class="map-role" title={r} style={{ top: `${m.top + m.line * i}px`, width: `${m.label - 8}px`, lineHeight: `${m.line}px` }}>{short(r)}</span>)}
                        {at && <span class="map-at" style={{ left: `${m.label + m.cell * at.column}px`, top: `${m.top + m.line * at.row}px`, width: `${m.cell}px`, height: `${m.line}px` }} />}
                    </div>
                </div>
            )}</div>
            <p class="map-told" role="status">{at ? <Told cell={at} types={steps && shown ? [shown, ...types.filter((t) => t !== shown)] : types} /> : <span class="quiet">Point at a dot, or use the arrow keys, to see the tensor.</span>}</p>
            <Bar job={job} />
        </div>
    );
}
