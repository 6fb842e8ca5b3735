// Plots as SVG: points with names that never cover each other, or lines over layers. The tables beside them say the same in
// numbers; every point can be reached with the keyboard and says what it is.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';

export interface Axis { label: string; format: (v: number) => string; log?: boolean; better?: 'lower' | 'higher' }
export interface Point { id: string; name: string; x: number; y: number; group?: number; says?: string }
export interface Line { name: string; y: (number | null)[] }

const FONT = 12, LINE = 15;

export function useWidth(): [preact.RefObject<HTMLDivElement | null>, number] {
    const box = useRef<HTMLDivElement>(null);
    const [width, setWidth] = useState(0);
    useEffect(() => {
        const see = () => setWidth(Math.floor(box.current?.clientWidth ?? 0));
        const watch = new ResizeObserver(see);
        if (box.current) watch.observe(box.current);
        see();
        return () => watch.disconnect();
    }, []);
    return [box, width];
}

interface Scale { at: (v: number) => number; ticks: number[]; takes: (v: number) => boolean }

// 1, 2 or 5 times a power of ten, so that about n of them fill the span.
function roundStep(span: number, n: number): number {
    const raw = span / n, power = 10 ** Math.floor(Math.log10(raw)), lead = raw / power;
    return power * (lead < 1.5 ? 1 : lead < 3.5 ? 2 : lead < 7.5 ? 5 : 10);
}

function logTicks(low: number, high: number): number[] {
    const decades = high - low, leads = decades > 3 ? [1] : decades > 1.2 ? [1, 3] : [1, 2, 5];
    const all: number[] = [];
    for (let e = Math.floor(low); e <= Math.ceil(high); e++) for (const lead of leads) all.push(lead * 10 ** e);
    return all.filter((v) => Math.log10(v) >= low && Math.log10(v) <= high);
}

export function scaleOf(values: number[], from: number, to: number, log: boolean, n: number): Scale {
    // no logarithm reaches zero: it lies on the edge
    const takes = (v: number) => Number.isFinite(v) && (!log || v >= 0);
    const map = (v: number) => (log ? Math.log10(v) : v);
    const known = values.filter((v) => takes(v) && (!log || v > 0)).map(map);
    let low = Math.min(...known), high = Math.max(...known);
    if (!known.length) low = 0, high = 1;
    const margin = high > low ? (high - low) * 0.08 : log ? 0.5 : Math.abs(low) * 0.2 || 1;
    const positive = !log && low >= 0;
    low -= margin, high += margin;
    if (positive) low = Math.max(0, low);
    const ticks: number[] = [];
    if (log) ticks.push(...logTicks(low, high));
    else for (let step = roundStep(high - low, n), t = Math.ceil(low / step) * step; t <= high; t += step) ticks.push(t);
    return { at: (v) => log && v <= 0 ? from : from + ((map(v) - low) / (high - low)) * (to - from), ticks, takes };
}

// Those that no other point beats on both axes.
export function front(points: Point[], x: Axis, y: Axis): Set<string> {
    const less = (axis: Axis, a: number, b: number) => (axis.better === 'higher' ? a > b : a < b);
    const beats = (a: Point, b: Point) => !less(x, b.x, a.x) && !less(y, b.y, a.y) && (less(x, a.x, b.x) || less(y, a.y, b.y));
    return new Set(points.filter((p) => !points.some((q) => beats(q, p))).map((p) => p.id));
}

export interface Box { x: number; y: number; width: number; height: number }
const overlap = (a: Box, b: Box) => a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;

let pen: CanvasRenderingContext2D | null = null;
function widthOf(text: string): number {
    pen ??= document.createElement('canvas').getContext('2d');
    if (!pen) return 7.4 * text.length;
    pen.font = `${FONT}px ${getComputedStyle(document.documentElement).getPropertyValue('--mono')}`;
    return Math.ceil(pen.measureText(text).width) + 2;
}

interface Label { point: Point; x: number; y: number; box: Box; far: boolean }

// Beside, above or below the point, then further away: the first place that is free. A name that finds none is left to the
// keyboard, the pointer and the table.
export function placeLabels(points: { point: Point; x: number; y: number }[], frame: Box): Label[] {
    const taken: Box[] = points.map(({ x, y }) => ({ x: x - 6, y: y - 6, width: 12, height: 12 }));
    const labels: Label[] = [];
    for (const { point, x, y } of points) {
        const width = widthOf(point.name);
        const places: [number, number][] = [];
        for (const r of [0, 14, 28, 42, 58, 76, 96]) {
            places.push([9, -r], [-9 - width, -r], [9, r], [-9 - width, r]);
            places.push([-width / 2, -r - 15], [-width / 2, r + 15]);
        }
        for (const [dx, dy] of places) {
            const box = { x: x + dx, y: y + dy - LINE / 2, width, height: LINE };
            const inside = box.x >= frame.x && box.x + width <= frame.x + frame.width && box.y >= frame.y && box.y + LINE <= frame.y + frame.height;
            if (!inside || taken.some((t) => overlap(t, box))) continue;
            taken.push(box);
            labels.push({ point, x, y, box, far: Math.abs(dy) > 16 });
            break;
        }
    }
    return labels;
}

function Axes({ x, y, sx, sy, frame, height, xTicks }: { x: Axis; y: Axis; sx: Scale; sy: Scale; frame: Box; height: number; xTicks?: number[] }) {
    const bottom = frame.y + frame.height;
    let last = -Infinity;
    return (
        <g class="axes" aria-hidden="true">
            {sy.ticks.map((v) => <g key={v}><path d={`M${frame.x} ${sy.at(v)}h${frame.width}`} /><text x={frame.x - 6} y={sy.at(v) + 4} text-anchor="end">{y.format(v)}</text></g>)}
            {(xTicks ?? sx.ticks).map((v) => {
                const at = sx.at(v), text = x.format(v), half = widthOf(text) / 2;
                const shown = at - half > last + 4;
                if (shown) last = at + half;
                return <g key={v}><path d={`M${at} ${frame.y}V${bottom}`} />{shown && <text x={at} y={bottom + 16} text-anchor="middle">{text}</text>}</g>;
            })}
            <text x={frame.x + frame.width / 2} y={height - 4} text-anchor="middle">{x.label}</text>
            <text x={4} y={12}>{y.label}</text>
        </g>
    );
}

function frameOf(width: number, height: number): Box {
    const left = width < 500 ? 48 : 60;
    return { x: left, y: 24, width: Math.max(60, width - left - 12), height: height - 24 - 44 };
}

// With onPick points are buttons.
export function PointPlot({ points, x, y, label, onPick }: { points: Point[]; x: Axis; y: Axis; label: string; onPick?: (id: string) => void }) {
    const [box, width] = useWidth();
    const height = width < 500 ? 300 : 360, frame = frameOf(width, height);
    const [at, setAt] = useState<string>();
    const sx = scaleOf(points.map((p) => p.x), frame.x, frame.x + frame.width, x.log === true, width < 500 ? 3 : 7);
    const sy = scaleOf(points.map((p) => p.y), frame.y + frame.height, frame.y, y.log === true, 6);
    const best = useMemo(() => front(points, x, y), [points, x, y]);
    const placed = points.filter((p) => sx.takes(p.x) && sy.takes(p.y)).map((point) => ({ point, x: sx.at(point.x), y: sy.at(point.y) })).sort((a, b) => a.x - b.x || a.y - b.y);
    const lying = placed.filter((p) => best.has(p.point.id));
    // names of the front are placed first: they are what the plot is read for
    const labels = width ? placeLabels([...lying, ...placed.filter((p) => !best.has(p.point.id))], { x: frame.x, y: 14, width: width - frame.x, height: frame.y + frame.height - 14 }) : [];
    const told = placed.find((p) => p.point.id === at);
    return (
        <figure class="plot">
            <div ref={box} class="plot-box">{width > 0 && <svg width={width} height={height} viewBox={`0 0 ${width} ${height}`} role="group" aria-label={label}>
                <Axes x={x} y={y} sx={sx} sy={sy} frame={frame} height={height} />
                {lying.length > 1 && <path class="front" d={'M' + lying.map((p) => `${p.x.toFixed(1)} ${p.y.toFixed(1)}`).join('L')} />}
                {labels.map((l) => l.far && <path key={l.point.id} class="leader" d={`M${l.x} ${l.y}L${Math.max(l.box.x, Math.min(l.x, l.box.x + l.box.width))} ${l.box.y > l.y ? l.box.y : l.box.y + LINE - 2}`} />)}
                {placed.map(({ point, x: px, y: py }) => (
                    <g key={point.id} class={`point s${(point.group ?? 0) % 6}`} tabIndex={0} role={onPick ? 'button' : 'img'} onClick={() => onPick?.(point.id)} onKeyDown={(e) => (e.key === 'Enter' || e.key === ' ') && onPick && (e.preventDefault(), onPick(point.id))} aria-label={point.says ?? `${point.name}: ${x.format(point.x)}, ${y.format(point.y)}`}
                        onMouseEnter={() => setAt(point.id)} onMouseLeave={() => setAt(undefined)} onFocus={() => setAt(point.id)} onBlur={() => setAt(undefined)}>
                        <circle class="target" cx={px} cy={py} r={12} />
                        {best.has(point.id) && <circle class="ring" cx={px} cy={py} r={8} />}
                        <circle cx={px} cy={py} r={4.5} />
                    </g>
                ))}
                {labels.map((l) => <text key={l.point.id} class={best.has(l.point.id) ? 'name best' : 'name'} x={l.box.x + 1} y={l.box.y + 11.5}>{l.point.name}</text>)}
            </svg>}</div>
            <figcaption class="quiet">{told ? told.point.says ?? told.point.name : lying.length > 1 ? `○ and the dotted line: no other file is better in both. ${y.log ? `Logarithmic scale${points.some((p) => p.y === 0) ? '; zero lies on its lower edge' : ''}.` : ''}` : ' '}</figcaption>
        </figure>
    );
}

// One line a file, over the model's layers. The list below names the lines; the one that is pointed at stands out.
export function LayerPlot({ lines, y, label }: { lines: Line[]; y: Axis; label: string }) {
    const [box, width] = useWidth();
    const [at, setAt] = useState<number>();
    const height = width < 500 ? 260 : 320, frame = frameOf(width, height);
    const n = Math.max(...lines.map((l) => l.y.length), 1);
    const sx = scaleOf([0, n - 1], frame.x, frame.x + frame.width, false, width < 500 ? 5 : 10);
    const sy = scaleOf(lines.flatMap((l) => l.y.filter((v): v is number => v !== null)), frame.y + frame.height, frame.y, true, 6);
    const path = (l: Line) => {
        let open = false;
        return l.y.map((v, i) => {
            if (v === null || !sy.takes(v)) return (open = false), '';
            const step = `${open ? 'L' : 'M'}${sx.at(i).toFixed(1)} ${sy.at(v).toFixed(1)}`;
            return (open = true), step;
        }).join('');
    };
    const step = Math.max(1, Math.ceil(n / (width < 500 ? 6 : 16)));
    const ticks = Array.from({ length: Math.ceil(n / step) }, (_, i) => i * step);
    const x: Axis = { label: 'layer', format: String };
    return (
        <figure class="plot lines">
            <div ref={box} class="plot-box">{width > 0 && <svg width={width} height={height} viewBox={`0 0 ${width} ${height}`} role="img" aria-label={label}>
                <Axes x={x} y={y} sx={sx} sy={sy} frame={frame} height={height} xTicks={ticks} />
                {lines.map((l, i) => <path key={i} class={`line s${i % 12}${at === undefined ? '' : at === i ? ' on' : ' off'}`} d={path(l)} />)}
            </svg>}</div>
            <ul class="legend">{lines.map((l, i) => (
                <li key={i}><button type="button" class="link" aria-pressed={at === i} onMouseEnter={() => setAt(i)} onMouseLeave={() => setAt(undefined)} onFocus={() => setAt(i)} onBlur={() => setAt(undefined)}>
                    <svg width="18" height="10" aria-hidden="true"><path class={`line s${i % 12}`} d="M1 5h16" /></svg> <span class="type">{l.name}</span></button></li>
            ))}</ul>
        </figure>
    );
}
