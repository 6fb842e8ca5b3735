// Numbers as people read them. Sizes are decimal, as disks and hubs give them.
const units = ['B', 'kB', 'MB', 'GB', 'TB'];

function three(x: number): string {
    return x >= 100 || x === Math.round(x) ? x.toFixed(0) : x >= 10 ? x.toFixed(1) : x.toFixed(2);
}

export function bytes(n: number | null | undefined): string {
    if (n === null || n === undefined || n < 0) return '–';
    let i = 0;
    while (n >= 1000 && i < units.length - 1) (n /= 1000), i++;
    return `${i === 0 ? n.toFixed(0) : three(n)} ${units[i]}`;
}

export function count(n: number | null | undefined): string {
    if (n === null || n === undefined) return '–';
    if (n >= 1e9) return `${three(n / 1e9)} B`;
    if (n >= 1e6) return `${three(n / 1e6)} M`;
    if (n >= 1e4) return `${three(n / 1e3)} k`;
    return n.toFixed(0);
}

export function duration(s: number | null | undefined): string {
    if (s === null || s === undefined || s < 0 || !Number.isFinite(s)) return '–';
    if (s < 1) return 'under 1 s';
    if (s < 90) return `${Math.round(s)} s`;
    if (s < 5400) return `${Math.round(s / 60)} min`;
    if (s < 172800) return `${Math.floor(s / 3600)} h ${Math.round((s % 3600) / 60)} min`;
    return `${Math.round(s / 86400)} days`;
}

export function rate(n: number, unit: string): string {
    if (!(n > 0)) return '';
    return unit === 'bytes' ? `${bytes(n)}/s` : `${count(n)} ${unit || 'weights'}/s`;
}

export const percent = (x: number) => `${x >= 100 ? 100 : x >= 10 ? Math.floor(x) : Math.floor(x * 10) / 10}`;
export const fixed = (x: number | null | undefined, digits: number) => (x === null || x === undefined ? '–' : x.toFixed(digits));

export function when(iso: string | null): string {
    if (!iso) return '–';
    const d = new Date(iso);
    if (Number.isNaN(d.getTime())) return iso;
    const same = d.toDateString() === new Date().toDateString();
    const time = d.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', hour12: false });
    return same ? time : `${d.toLocaleDateString([], { day: 'numeric', month: 'short' })} ${time}`;
}

export function between(a: string | null, b: string | null): number | null {
    if (!a) return null;
    return ((b ? Date.parse(b) : Date.now()) - Date.parse(a)) / 1000;
}

// "No jobs", "1 job", "12 jobs"; of a search: "3 jobs found".
export const amount = (n: number, what: string, found = false) => `${n === 0 ? 'No' : count(n)} ${what}${n === 1 ? '' : 's'}${found ? ' found' : ''}`;
