// The picture of the types: file size against expected loss, and what of it fits. The table below says the same in words.
import { useEffect, useRef, useState } from 'preact/hooks';
import { bytes } from '../format';
import { verdicts, type Fit } from './fit';
import { divergence, share, type Loss } from './losses';

export interface Rung { name: string; size: number; loss: Loss; usual: boolean; on: boolean }

interface Props { rungs: Rung[]; fit: Fit | undefined; hot: string | undefined; setHot: (name?: string) => void; toggle: (name: string) => void }

const pad = { left: 52, right: 14, top: 30, bottom: 38 };

function useWidth() {
    const box = useRef<HTMLDivElement>(null);
    const [width, set] = useState(0);
    useEffect(() => {
        const element = box.current;
        if (!element) return;
        const measure = () => set(Math.floor(element.clientWidth));
        measure();
        const watch = new ResizeObserver(measure);
        watch.observe(element);
        return () => watch.disconnect();
    }, []);
    return { box, width };
}

// Round numbers between two, about n of them.
function ticks(from: number, to: number, n: number): number[] {
    const raw = (to - from) / n, power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= raw) ?? raw;
    const list: number[] = [];
    for (let x = Math.ceil(from / step) * step; x <= to; x += step) list.push(x);
    return list;
}

interface Box { x: number; y: number; w: number; h: number }
const overlap = (a: Box, b: Box) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h;

// A place for each name beside its dot where nothing else lies; names that find none are left to the table.
function placeNames(dots: { name: string; x: number; y: number; first: boolean }[], all: { x: number; y: number }[], walls: Box[], frame: Box): Map<string, { x: number; y: number }> {
    const taken: Box[] = [...walls, ...all.map((d) => ({ x: d.x - 6, y: d.y - 6, w: 12, h: 12 }))], places = new Map<string, { x: number; y: number }>();
    for (const d of [...dots].sort((a, b) => Number(b.first) - Number(a.first))) {
        const w = d.name.length * 7.4 + 2, h = 14;
        const tries = [[9, -16], [9, 3], [9, -7], [-w - 9, 3], [-w - 9, -16], [-w / 2, -24], [-w / 2, 10], [-w - 9, -7]] as const;
        const free = tries.map(([dx, dy]) => ({ x: d.x + dx, y: d.y + dy, w, h }))
            .find((b) => b.x >= frame.x && b.x + b.w <= frame.x + frame.w && b.y >= frame.y && b.y + b.h <= frame.y + frame.h && !taken.some((t) => overlap(t, b)));
        if (!free) continue;
        taken.push(free);
        places.set(d.name, { x: free.x, y: free.y + 11 });
    }
    return places;
}

// The sizes of file where "fits" and "tight" end: as the memory says, and never on the wrong side of a type that was judged.
function borders(fit: Fit, rungs: Rung[]): { fits: number; tight: number } | undefined {
    const limits = fit.limits();
    if (!limits) return undefined;
    const keep = (at: number, inside: Rung[], outside: Rung[]) => {
        const low = Math.max(0, ...inside.map((r) => r.size)), high = Math.min(Infinity, ...outside.map((r) => r.size));
        return low < high ? Math.min(Math.max(at, low), high) : at;
    };
    const of = (v: string) => rungs.filter((r) => fit.verdict(r.name, r.size) === v);
    const [fits, tight, no] = [of('fits'), of('tight'), of('no')];
    const first = keep(limits.fits, fits, [...tight, ...no]);
    return { fits: first, tight: Math.max(first, keep(limits.tight, [...fits, ...tight], no)) };
}

function Zones({ fit, at, x, width, height }: { fit: Fit; at: { fits: number; tight: number }; x: (n: number) => number; width: number; height: number }) {
    const left = pad.left, right = width - pad.right, top = pad.top, h = height - pad.top - pad.bottom;
    const clamp = (n: number) => Math.min(right, Math.max(left, x(n)));
    const a = clamp(at.fits), b = clamp(at.tight), inside = b > left && b < right;
    const label = a >= right ? `${fit.place}: every type fits` : b <= left ? `${fit.place}: no type fits` : fit.place;
    const end = b > width / 2;
    return (
        <g>
            <rect class="zone tight" x={a} y={top} width={Math.max(0, b - a)} height={h} />
            <rect class="zone no" x={b} y={top} width={Math.max(0, right - b)} height={h} />
            {([['fits', left, a], ['tight', a, b], ['too large', b, right]] as const).map(([name, from, to]) => to - from > 54 && <text key={name} class="zone-name" x={to - 5} y={top + 13} text-anchor="end">{name}</text>)}
            {inside && <line class="limit" x1={b} x2={b} y1={top - 6} y2={top + h} />}
            <text class="limit-name" x={inside ? b + (end ? -2 : 2) : right} y={top - 11} text-anchor={!inside || end ? 'end' : 'start'}>{label}</text>
        </g>
    );
}

function Axes({ x, y, from, to, low, high, width, height }: { x: (n: number) => number; y: (n: number) => number; from: number; to: number; low: number; high: number; width: number; height: number }) {
    const rows: number[] = [];
    for (let p = Math.ceil(Math.log10(low)); p <= Math.floor(Math.log10(high)); p++) rows.push(10 ** p);
    return (
        <g class="axes">
            {rows.map((v) => <g key={v}><line x1={pad.left} x2={width - pad.right} y1={y(v)} y2={y(v)} /><text x={pad.left - 6} y={y(v) + 4} text-anchor="end">{v >= 1 ? v : v.toFixed(Math.round(-Math.log10(v)))}</text></g>)}
            {ticks(from, to, width < 480 ? 4 : 6).map((v) => <g key={v}><line x1={x(v)} x2={x(v)} y1={height - pad.bottom} y2={height - pad.bottom + 4} /><text x={x(v)} y={height - pad.bottom + 16} text-anchor="middle">{bytes(v)}</text></g>)}
            <line x1={pad.left} x2={width - pad.right} y1={height - pad.bottom} y2={height - pad.bottom} />
            <text class="axis-name" x={width - pad.right} y={height - 6} text-anchor="end">file size →</text>
        </g>
    );
}

function Drawing({ rungs, fit, hot, setHot, toggle, width }: Props & { width: number }) {
    const height = width < 480 ? 280 : 330;
    const sizes = rungs.map((r) => r.size), losses = rungs.map((r) => r.loss.divergence);
    const span = Math.max(...sizes) - Math.min(...sizes) || Math.max(...sizes);
    const from = Math.max(0, Math.min(...sizes) - span * 0.06), to = Math.max(...sizes) + span * 0.08;
    const low = Math.min(...losses) / 1.7, high = Math.max(...losses) * 1.7;
    const x = (n: number) => pad.left + ((n - from) / (to - from)) * (width - pad.left - pad.right);
    const y = (n: number) => pad.top + ((Math.log(high) - Math.log(n)) / (Math.log(high) - Math.log(low))) * (height - pad.top - pad.bottom);
    const at = fit && borders(fit, rungs);
    const walls = at ? [at.tight].map((n) => ({ x: x(n) - 2, y: pad.top, w: 4, h: height })) : []; // no name across the line
    const dots = rungs.map((r) => ({ ...r, x: x(r.size), y: y(r.loss.divergence), first: r.on || r.usual || r.name === fit?.best }));
    const names = placeNames(dots.filter((d) => d.first || d.name === hot).map((d) => (d.name === hot ? { ...d, first: true } : d)), dots, walls, { x: pad.left, y: pad.top, w: width - pad.left - pad.right, h: height - pad.top - pad.bottom });
    const over = dots.find((d) => d.name === hot);
    const shape = (d: (typeof dots)[number]) => d.loss.own ? <path d={`M${d.x},${d.y - 6.5}L${d.x + 6.5},${d.y}L${d.x},${d.y + 6.5}L${d.x - 6.5},${d.y}Z`} /> : <circle cx={d.x} cy={d.y} r={d.first ? 5 : 3.5} />;
    return (
        <>
            <svg width={width} height={height} role="img" aria-label={`File size against expected loss of ${rungs.length} types; the table below has the numbers`}>
                {fit && at && <Zones fit={fit} at={at} x={x} width={width} height={height} />}
                <Axes x={x} y={y} from={from} to={to} low={low} high={high} width={width} height={height} />
                <text class="axis-name" x={4} y={14}>loss (KL divergence)</text>
                {dots.map((d) => (
                    <g key={d.name} class={`rung${d.on ? ' on' : ''}${d.name === hot ? ' hot' : ''}${fit && fit.verdict(d.name, d.size) === 'no' ? ' no' : ''}`}
                        onMouseEnter={() => setHot(d.name)} onMouseLeave={() => setHot()} onClick={() => toggle(d.name)}>
                        <circle class="target" cx={d.x} cy={d.y} r={13} />
                        {shape(d)}
                    </g>
                ))}
                {dots.map((d) => names.has(d.name) && <text key={d.name} class={`rung-name${d.on ? ' on' : ''}`} x={names.get(d.name)!.x} y={names.get(d.name)!.y}>{d.name}</text>)}
            </svg>
            <p class="said quiet" aria-hidden="true">{over
                ? <><code>{over.name}</code> {bytes(over.size)}, KL divergence {divergence(over.loss.divergence)}{over.loss.same !== null && `, same top token ${share(over.loss.same)}`}{fit?.verdict(over.name, over.size) && `, ${verdicts[fit.verdict(over.name, over.size)!].word}`}</>
                : 'Lower is better, further left is smaller. Click a dot to choose its type.'}</p>
        </>
    );
}

export function Ladder(props: Props) {
    const { box, width } = useWidth();
    const own = props.rungs.some((r) => r.loss.own), reference = props.rungs.some((r) => !r.loss.own);
    return (
        <figure class="ladder">
            <div ref={box} class="ladder-box">{width > 0 && props.rungs.length > 1 && <Drawing {...props} width={width} />}</div>
            <figcaption class="quiet">
                {own && <span><span aria-hidden="true">◆</span> measured on this model. </span>}
                {reference && <span><span aria-hidden="true">○</span> measured on Halftone's example model (8 million weights): larger models lose less, in much the same order.</span>}
            </figcaption>
        </figure>
    );
}
