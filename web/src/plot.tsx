// Size against quality: one dot a file. uPlot draws axes; the table beside the plot says the same in numbers.
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';
import { bytes } from './format';

export interface Point { name: string; x: number; y: number }

const colour = (name: string) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Names beside the dots; a name that would run out of the frame stands on the other side.
function nameDots(points: Point[]) {
    return (u: uPlot) => {
        const g = u.ctx, scale = devicePixelRatio || 1;
        g.save();
        g.font = `${12 * scale}px ui-monospace, monospace`;
        g.textBaseline = 'middle';
        for (const p of points) {
            const x = u.valToPos(p.x, 'x', true), y = u.valToPos(p.y, 'y', true);
            g.fillStyle = colour('--dot-first');
            g.beginPath();
            g.arc(x, y, 5 * scale, 0, 2 * Math.PI);
            g.fill();
            g.fillStyle = colour('--plot-text');
            const width = g.measureText(p.name).width + 10 * scale, right = u.bbox.left + u.bbox.width;
            g.textAlign = x + width > right ? 'right' : 'left';
            g.fillText(p.name, x + (x + width > right ? -10 : 10) * scale, y - 9 * scale);
        }
        g.restore();
    };
}

interface PlotProps { points: Point[]; yLabel: string; label: string }

export function SizePlot({ points, yLabel, label }: PlotProps) {
    const box = useRef<HTMLDivElement>(null);
    const key = JSON.stringify([points, yLabel]);
    useEffect(() => {
        const element = box.current;
        if (!element) return;
        let plot: uPlot | undefined;
        const draw = () => {
            plot?.destroy();
            const sorted = [...points].sort((a, b) => a.x - b.x);
            const axis = { stroke: colour('--plot-text'), grid: { stroke: colour('--plot-line'), width: 1 }, ticks: { stroke: colour('--plot-line'), width: 1 }, font: '12px sans-serif', labelFont: '12px sans-serif' };
            const room = (_: uPlot, min: number, max: number): [number, number] => {
                const pad = (max - min || Math.abs(max) || 1) * 0.12;
                return [Math.max(0, min - pad), max + pad];
            };
            plot = new uPlot({
                width: element.clientWidth, height: 300, legend: { show: false }, cursor: { show: false },
                scales: { x: { time: false, range: room }, y: { range: room } },
                axes: [{ ...axis, label: 'size', values: (_: uPlot, v: number[]) => v.map((n) => bytes(n)) }, { ...axis, label: yLabel, size: 70 }],
                series: [{}, { show: true, paths: () => null, points: { show: false } }],
                hooks: { draw: [nameDots(sorted)] },
            }, [sorted.map((p) => p.x), sorted.map((p) => p.y)], element);
        };
        draw();
        const watch = new ResizeObserver(() => plot && plot.width !== element.clientWidth && plot.setSize({ width: element.clientWidth, height: 300 }));
        watch.observe(element);
        const dark = matchMedia('(prefers-color-scheme: dark)');
        dark.addEventListener('change', draw);
        addEventListener('themechange', draw);
        return () => {
            watch.disconnect();
            dark.removeEventListener('change', draw);
            removeEventListener('themechange', draw);
            plot?.destroy();
        };
    }, [key]);
    return <figure class="plot"><div ref={box} role="img" aria-label={label} /></figure>;
}
